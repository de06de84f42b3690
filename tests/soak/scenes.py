"""What is done on a failing disk: every verb that writes, and what it needs to be there before."""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from forks import Forks, Order
from parts import PLAIN, TINY, demand
from PIL import Image

Prepare = Callable[[Forks, Path], None]


@dataclass(frozen=True)
class Scene:
    """A command, or a function of direct.py, and how its folder is prepared, undisturbed."""

    command: Sequence[Any] = ()
    call: str = ""
    named: tuple[tuple[str, Any], ...] = ()
    prepare: Prepare = lambda lane, folder: None
    code: int = 0
    """The exit code where the disk does nothing wrong."""
    arrive: Callable[[Path], None] = lambda folder: None
    """What is done to a copy of the prepared folder."""
    once: bool = False
    """Refused where the file is there already: it may be, whole, when a folder can't be synced after its renaming."""

    def order(self, folder: Path, plan: Any) -> Order:
        """As one process."""
        call = ("direct", self.call, dict(self.named)) if self.call else None
        return Order(folder, self.command, call, plan)


def photos(folder: Path, count: int = 12) -> Path:
    """Three classes of images of different sizes and shapes."""
    root, draws = folder / "photos", Random(0)
    for color, name in enumerate(("apple", "pear", "plum")):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            height, width = draws.randint(18, 40), draws.randint(18, 40) * (3 if number == 5 else 1)
            pixels = np.random.default_rng(100 * color + number).integers(0, 90, (height, width, 3), np.uint8)
            pixels[..., color] += 150
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def did(lane: Forks, folder: Path, *arguments: Any) -> None:
    """A command that prepares."""
    ended = lane.run(Order(folder, arguments))
    demand(ended.code == 0, f"{' '.join(map(str, arguments))}: {ended}")


OF_PHOTOS = (
    "train",
    "photos",
    "-r",
    "demo",
    *TINY[1:],
    "-s",
    "data.limit=null",
    "-s",
    "data.val=9",
    "-s",
    "data.test=9",
)


def _a_run(lane: Forks, folder: Path) -> None:
    did(lane, folder, "train", *PLAIN, "--seed", 3, "-o", "run")


def _runs(lane: Forks, folder: Path) -> None:
    for seed in (3, 4):
        did(lane, folder, "train", *PLAIN, "--seed", seed, "-o", f"runs/{seed}")


def _photos(lane: Forks, folder: Path) -> None:
    photos(folder)


def _of_photos(lane: Forks, folder: Path) -> None:
    photos(folder)
    did(lane, folder, *OF_PHOTOS, "-o", "of photos")


def _older(lane: Forks, folder: Path) -> None:
    """Images that were decoded, and have changed since; and what a killed process left of decoding them."""
    _of_photos(lane, folder)
    (folder / "photos/pear/0.png").unlink()
    (kept,) = (path for path in (folder / "cache").glob("photos-*"))
    (kept / "building").mkdir()
    (kept / "building" / "train.pixels").write_bytes(b"half")


def _moved(folder: Path) -> None:
    """The cache's folder bears its source's path."""
    (kept,) = (folder / "cache").glob("photos-*")
    place = hashlib.sha256(os.fsencode(folder / "photos")).hexdigest()[:12]
    kept.rename(kept.with_name(f"photos-{place}"))


def _source(lane: Forks, folder: Path) -> None:
    (folder / "source").mkdir()
    (folder / "source/it.cpp").write_text('extern "C" int answer() { return 42; }\n')


def _begun(*arguments: Any) -> Prepare:
    """Killed at a write in the middle."""

    def prepare(lane: Forks, folder: Path) -> None:
        ended = lane.run(Order(folder, arguments, plan={"death": "after", "number": 400}))
        demand(ended.code == -9, f"{arguments}: {ended}")

    return prepare


def _hub(lane: Forks, folder: Path) -> None:
    (folder / "hub/blobs").mkdir(parents=True)
    (folder / "hub/blobs" / ("0" * 64)).write_bytes(b"damaged")
    (folder / "hub/model.safetensors").symlink_to(f"blobs/{'0' * 64}")


def _finished_with_checkpoint(lane: Forks, folder: Path) -> None:
    _a_run(lane, folder)
    for name in ("checkpoint-6-00000000.safetensors", "checkpoint.json"):
        shutil.copy(folder / "run/config.json", folder / "run" / name)


_STUDY = ("train", *PLAIN, "--seeds", "3,4", "-o", "out")
_BAGGING = ("train", *PLAIN, "--bagging", 2, "-o", "out")
_TYPO = ("-s", "data.limit=3")
SCENES = {
    "train": Scene(("train", *TINY, "--seed", 3, "-s", "optim.ema=default", "-s", "tta=default", "-o", "a/b/out")),
    "train, photos": Scene((*OF_PHOTOS, "-o", "out"), prepare=_photos),
    "train, photos that changed": Scene((*OF_PHOTOS, "-o", "out"), prepare=_older, arrive=_moved),
    "train, a typo": Scene(("train", *PLAIN, *_TYPO), code=2),
    "train --seeds": Scene(_STUDY),
    "train --seeds, a typo": Scene((*_STUDY[:-1], "a/study", *_TYPO), code=2),
    "train --bagging": Scene(_BAGGING),
    "train --bagging, a typo": Scene((*_BAGGING[:-1], "a/bagging", *_TYPO), code=2),
    "resume": Scene(("resume", "out"), prepare=_begun("train", *PLAIN, "--seed", 3, "-o", "out")),
    "resume, a study": Scene(("resume", "out"), prepare=_begun(*_STUDY)),
    "resume, bagging": Scene(("resume", "out"), prepare=_begun(*_BAGGING)),
    "resume, a finished run": Scene(("resume", "run"), prepare=_finished_with_checkpoint),
    "sweep": Scene(("sweep", *PLAIN, "-s", "optim.lr=1e-3,3e-3", "--seeds", "3,", "-o", "out")),
    "ablate": Scene(("ablate", *PLAIN, "--toggle", "smoothing", "--seeds", "3,", "-o", "out")),
    "ensemble": Scene(("ensemble", "runs", "-o", "out"), prepare=_runs),
    "ensemble, of nothing": Scene(("ensemble", "runs/3", "-o", "a/out"), prepare=_runs, code=2),
    "evaluate": Scene(("evaluate", "run", "-o", "found.json"), prepare=_a_run),
    "predict": Scene(("predict", "of photos", "photos/pear", "--explain", "-o", "seen"), prepare=_of_photos),
    "report": Scene(("report", "run", "-o", "page.html"), prepare=_a_run),
    "audit": Scene(("audit", "photos", "--labels", "--run", "of photos", "-o", "audit.html"), prepare=_of_photos),
    "audit, photos smaller than it stores": Scene(("audit", "photos", "-o", "audit.html"), prepare=_photos),
    "lr-find": Scene(("lr-find", "digits", "-s", "model.name=small", "--steps", 12, "-o", "lr.png")),
    "lr-find, as SVG": Scene(("lr-find", "digits", "-s", "model.name=small", "--steps", 12, "-o", "lr.svg")),
    "augment": Scene(("augment", "digits", "-o", "grid.png")),
    "recipes cp": Scene(("recipes", "cp", "lite", "mine.yaml"), once=True),
    "a download": Scene(call="download", named=(("sent", "right"),)),
    "a download of another file": Scene(call="download", named=(("sent", "wrong"),), code=2),
    "a download of too much": Scene(call="download", named=(("sent", "long"),), code=2),
    "a damaged file of the hub": Scene(call="damaged_hub_file", prepare=_hub),
    "a kernel": Scene(call="kernel", prepare=_source),
    "a run from a node": Scene(call="received", prepare=_a_run),
    "a run on a node": Scene(call="on_a_node", prepare=_of_photos),
}
