"""What is read in a process of its own: kinds of files, how each is made wrong, and what then reads it."""

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import tarfile
import traceback
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import numpy as np
from mutate import HUGE, NAMES, changed, damaged, written
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.base.files import sha256_of
from seedwise.records.checksum import SEAL, seal

MEMORY_BYTES = 2 << 30
"""Beyond what the process has mapped before it reads anything."""
SECONDS = 60
"""For one file."""
Make = Callable[[Random], None]
Read = Callable[[Random], "int"]


@dataclass(frozen=True)
class Kind:
    """Files of one kind. Both functions work in the current folder; `read` returns an exit code or raises UserError."""

    make: Make
    read: Read
    of_a_run: str = ""
    """The folder of the template that is copied for it."""


def command(*arguments: Any) -> int:
    """`seedwise …` in this process."""
    from command_line import call

    return call(*arguments)


# ---------------------------------------------------------------------------------------------------- records, recipes


def _record(path: str) -> Make:
    def make(draws: Random) -> None:
        content = json.loads(Path(path).read_text())
        if draws.random() < 0.4:
            Path(path).write_bytes(damaged(Path(path).read_bytes(), draws))
            return
        del content[SEAL]
        found = changed(content, draws)
        if draws.random() < 0.3 and isinstance(found, dict):
            with contextlib.suppress(ValueError, RecursionError):
                found[SEAL] = seal(found)
        Path(path).write_bytes(written(found))

    return make


def _one_of(*commands: tuple[Any, ...]) -> Read:
    return lambda draws: command(*draws.choice(commands))


def _recipe(draws: Random) -> None:
    from seedwise.config.options import plain
    from seedwise.config.section import dump
    from seedwise.recipe import library

    recipe = library.read(draws.choice(("demo", "lite", "reference", "strong")))
    if draws.random() < 0.5:
        Path("r.yaml").write_bytes(damaged(dump(recipe).encode(), draws))
    else:
        Path("r.yaml").write_bytes(written(changed(plain(recipe), draws)))  # JSON is YAML


# ------------------------------------------------------------------------------------------------- checkpoints, weights


def _safetensors(content: bytes, draws: Random) -> bytes:
    """Bytes made wrong, or a header whose fields are."""
    if draws.random() < 0.4:
        return damaged(content, draws)
    size = int.from_bytes(content[:8], "little")
    header = written(changed(json.loads(content[8 : 8 + size]), draws))
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _checkpoint(draws: Random) -> None:
    pointer = Path("stopped/checkpoint.json")
    content = json.loads(pointer.read_text())
    tensors = Path("stopped") / content["file"]
    what = draws.random()
    if what < 0.2:
        pointer.write_bytes(damaged(pointer.read_bytes(), draws))
        return
    if what < 0.3:
        pointer.write_bytes(written(changed(content, draws)))
        return
    raw = tensors.read_bytes()
    if what < 0.7:  # the loop's own counters
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size])
        state = json.loads(header["__metadata__"]["state"])
        header["__metadata__"]["state"] = json.dumps(changed(state, draws))
        text = json.dumps(header).encode()
        raw = len(text).to_bytes(8, "little") + text + raw[8 + size :]
    else:
        raw = _safetensors(raw, draws)
    tensors.write_bytes(raw)
    if draws.random() < 0.9:
        pointer.write_text(json.dumps(content | {"sha256": sha256_of(tensors)}))


def _weights(draws: Random) -> None:
    Path("w.safetensors").write_bytes(_safetensors(Path("run/model.safetensors").read_bytes(), draws))


def _load_weights(draws: Random) -> int:
    from seedwise.models.build import build_model
    from seedwise.models.config import ModelConfig

    build_model(ModelConfig(name="small", weights="w.safetensors"), num_classes=10, seed=0)
    return 0


# ------------------------------------------------------------------------------------------------------------- images


def image(draws: Random, kind: str = "PNG", side: int = 12) -> bytes:
    """A sound image."""
    buffer = io.BytesIO()
    pixels = np.frombuffer(draws.randbytes(3 * side * side), np.uint8).reshape(side, side, 3)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def _photos(draws: Random) -> None:
    for label in ("a", "b"):
        Path("d", label).mkdir(parents=True)
        for number in range(2):
            Path("d", label, f"{number}.png").write_bytes(image(draws))


def _image(draws: Random) -> None:
    _photos(draws)
    kind, suffix = draws.choice((("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp"), ("WEBP", "webp"), ("GIF", "gif")))
    content = image(draws, kind, draws.choice((1, 12, 40)))
    if kind == "PNG" and draws.random() < 0.3:
        content = content[:16] + draws.choice((b"\xff" * 8, b"\0\0\xea\x60" * 2, b"\0" * 8)) + content[24:]
    Path("d/b", f"9.{suffix}").write_bytes(damaged(content, draws))


def _csv(draws: Random) -> None:
    _photos(draws)
    rows = [["path", "label", "split"]] + [[f"d/{c}/{n}.png", c, "train"] for c in "ab" for n in range(2)]
    if draws.random() < 0.6:
        for _ in range(draws.randint(1, 3)):
            row = draws.choice(rows)
            if row:
                row[draws.randrange(len(row))] = draws.choice((*NAMES, *HUGE, '"', "x" * 200_000, ",,,"))
            if draws.random() < 0.2:
                row.extend(draws.choice(([""], ["x"] * 1000, [])))
    text = "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")
    Path("d.csv").write_bytes(text if draws.random() < 0.5 else damaged(text, draws))


def _parquet(draws: Random) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images: list[Any] = [{"bytes": image(draws), "path": f"{n}.png"} for n in range(4)]
    columns: dict[str, list[Any]] = {"image": images, "label": [0, 1, 0, 1]}
    what = draws.random()
    if what < 0.2:
        images[1] = draws.choice((None, {"bytes": None, "path": draws.choice(NAMES)}, {"bytes": b"", "path": "1.png"}))
    elif what < 0.4:
        images[2]["bytes"] = damaged(images[2]["bytes"], draws)
    elif what < 0.6:
        column = draws.choice(sorted(columns))
        columns[column] = [draws.choice((None, "a", "b", draws.choice(NAMES)))] * 4
    elif what < 0.7:
        columns["label"] = [draws.choice((-1, 2**31, 2**62, -(2**62))), 1, 0, 1]
    elif what < 0.75:
        columns = {draws.choice(NAMES[:9]): values for values in columns.values()}
    with contextlib.suppress(pa.ArrowException, UnicodeError):
        pq.write_table(pa.table(columns), "d.parquet", compression=draws.choice(("none", "snappy", "zstd")))
    path = Path("d.parquet")
    if what > 0.6 and path.exists():
        path.write_bytes(damaged(path.read_bytes(), draws))


def _members(draws: Random) -> list[tuple[str, bytes]]:
    members = [(f"{label}/{number}.png", image(draws)) for label in ("a", "b") for number in range(2)]
    for _ in range(draws.choice((0, 0, 1, 2))):
        name = draws.choice(
            (*NAMES, f"{Path.cwd().parent}/evil.png", "../evil.png", "a/" * 400 + "x.png", "b/../0.png")
        )
        members.insert(draws.randrange(5), (name, draws.choice((image(draws), b"", bytes(1 << 20)))))
    if draws.random() < 0.1:
        members = [(("x/" * draws.choice((1, 50))) + name, content) for name, content in members]
    return members


def _archive(suffix: str) -> Make:
    def make(draws: Random) -> None:
        path = Path(f"d.{suffix}")
        if suffix == "zip":
            with zipfile.ZipFile(path, "w", draws.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as out:
                for name, content in _members(draws):
                    out.writestr(zipfile.ZipInfo(name.encode("utf-8", "replace").decode() or "x"), content)
        else:
            with tarfile.open(path, "w:gz" if suffix == "tar.gz" else "w", errors="surrogateescape") as tar:
                for name, content in _members(draws):
                    entry = tarfile.TarInfo(name)
                    entry.type = draws.choice(
                        (tarfile.REGTYPE,) * 12 + (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE)
                    )
                    entry.linkname = draws.choice(NAMES).replace("\0", "")
                    entry.size = len(content) if entry.type == tarfile.REGTYPE else 0
                    tar.addfile(entry, io.BytesIO(content))
        if draws.random() < 0.6:
            path.write_bytes(damaged(path.read_bytes(), draws))

    return make


def _open(path: str) -> Read:
    def read(draws: Random) -> int:
        if draws.random() < 0.1:
            return command("audit", path, "-o", "audit.html")
        from seedwise.data.config import DataConfig
        from seedwise.data.open import open_data

        data = open_data(path, DataConfig(val=0, test=0), short_side=16)
        data.train.gather(np.arange(len(data.train)))
        return 0

    return read


KINDS = {
    "record.json": Kind(
        _record("run/record.json"),
        _one_of(
            *(
                ("report", "run"),
                ("compare", "run", "other"),
                ("resume", "run"),
                ("ensemble", "run", "other", "-o", "e"),
            ),
            *(("evaluate", "run"), ("compare", "other", "run", "--json")),
        ),
        "run",
    ),
    "study.json": Kind(
        _record("study/study.json"),
        _one_of(("status", "study"), ("report", "study"), ("compare", "study"), ("ensemble", "study", "-o", "e")),
        "study",
    ),
    "bagging.json": Kind(_record("bagging/bagging.json"), _one_of(("resume", "bagging")), "bagging"),
    "recipe.yaml": Kind(
        _recipe, _one_of(("recipes", "validate", "r.yaml"), ("train", "digits", "-r", "r.yaml", "-s", "data.limit=3"))
    ),
    "checkpoint": Kind(_checkpoint, _one_of(("resume", "stopped")), "stopped"),
    "safetensors": Kind(_weights, _load_weights, "run"),
    "parquet": Kind(_parquet, _open("d.parquet")),
    "csv": Kind(_csv, _open("d.csv")),
    "zip": Kind(_archive("zip"), _open("d.zip")),
    "tar": Kind(_archive("tar"), _open("d.tar")),
    "tar.gz": Kind(_archive("tar.gz"), _open("d.tar.gz")),
    "image": Kind(_image, _open("d")),
}


# ------------------------------------------------------------------------------------------------ in the forked process


def batch(kind: str, numbers: list[int], seed: int, template: str) -> tuple[int, list[Any]]:
    """Make and read these files; a row each: number, verdict, words, and megabytes that reading took at most so far."""
    before, results = _peak_megabytes(), []
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES, resource.RLIM_INFINITY))
    for number in numbers:
        with _work(KINDS[kind], Path(template)) as root:
            verdict, words = _verdict(KINDS[kind], f"{seed} {kind} {number}", root)
        results.append((number, verdict, words, max(0, _peak_megabytes() - before)))
        print(json.dumps(results[-1]), flush=True)
    return 0, results


def _peak_megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


@contextlib.contextmanager
def _work(kind: Kind, template: Path) -> Iterator[Path]:
    """A fresh current folder, with sound runs in it; yields the one above, in which nothing else may appear."""
    root = Path.cwd()
    (root / "work").mkdir()
    for name in {kind.of_a_run, "other" if kind.of_a_run == "run" else ""} - {""}:
        shutil.copytree(template / name, root / "work" / name)
    os.chdir(root / "work")
    try:
        yield root
    finally:
        os.chdir(root)
        shutil.rmtree(root / "work", ignore_errors=True)
        for path in (root / "cache").iterdir():
            if path.name != "kernels":
                shutil.rmtree(path, ignore_errors=True)


def _verdict(kind: Kind, seed: str, root: Path) -> tuple[str, str]:
    kind.make(Random(seed))
    before = _outside(root)
    out, err = io.StringIO(), io.StringIO()
    old = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = kind.read(Random(f"{seed} read"))
    except UserError as error:
        code = error.exit_code
        print(*error.lines, sep="\n", file=err)
    except Exception:
        return "wrong", traceback.format_exc()[-1500:]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    said = err.getvalue()
    if code not in (0, 2) or "Traceback" in said or (code == 2 and not said.strip()):
        return "wrong", f"exit code {code}: {said[-1500:]}"
    if _outside(root) != before:
        return "wrong", f"files elsewhere: {sorted(set(_outside(root)) ^ set(before))}"
    return ("refused", said.strip().splitlines()[-1][:300]) if code else ("read", "")


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def _outside(root: Path) -> list[str]:
    """Names beside the folder that is worked in, the cache and what reading may write left out."""
    return sorted(path.name for path in root.iterdir() if path.name not in ("cache", "work"))
