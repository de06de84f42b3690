"""Training images on a GPU: they stay there if they fit a third of its memory, else a thread brings one batch ahead."""

from pathlib import Path
from typing import Any

import pytest
from null_driver import Machine, NullDriver, Question
from test_steps import BASE


def fed(folder: str, share: int) -> dict[str, Any]:
    """Bytes and copies that go to the GPU in the steps of a training between two looks, who read, and threads left."""
    import threading

    import null_counts

    from seedwise.data.dataset import Subset
    from seedwise.engine import feed, loop
    from seedwise.engine.control import RunControl
    from seedwise.engine.protocols import Observer
    from seedwise.recipe import library
    from seedwise.run.train import train

    loop.REPORT_SECONDS, feed.RESIDENT_SHARE = 1e9, share
    readers: list[str] = []
    gather, found = Subset.gather, {}

    def noting(self: Subset, positions: Any) -> Any:
        readers.append(threading.current_thread().name)
        return gather(self, positions)

    Subset.gather = noting  # type: ignore[method-assign]

    class Looking(Observer):
        seen = 0

        def on_step(self, epoch: int, step: int, *rest: float) -> None:
            if self.seen == 1:
                found.update(null_counts.counts(), readers=sorted(set(readers)))
            self.seen += 1
            readers.clear()
            null_counts.reset()

    control = RunControl(Looking())
    train(library.read("demo", [*BASE]), "digits", seed=3, out=Path(folder) / "run", control=control)
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("feed")]
    return {name: found[name] for name in ("h2d_pinned", "h2d_pageable", "h2d_bytes", "readers")} | {"left": left}


def test_they_stay_where_they_fit_and_else_are_brought_one_batch_ahead(null_driver: NullDriver, tmp_path: Path) -> None:
    questions = []
    for name, share in (("stay", 3), ("ahead", 10**12)):  # no GPU has so many times as much memory
        (tmp_path / name).mkdir()
        questions.append(Question(fed, (str(tmp_path / name), share), Machine((80,))))
    stay, ahead = (answer.demand() for answer in null_driver.ask(questions))
    assert stay["readers"] == [] and {name.partition("_")[0] for name in ahead["readers"]} == {"feed"}
    pixels = 10 * 20 * 3 * 8 * 8  # of ten steps
    assert stay["h2d_bytes"] < pixels < ahead["h2d_bytes"]
    assert stay["h2d_pageable"] == ahead["h2d_pageable"] == 0 and stay["left"] == ahead["left"] == []


@pytest.mark.slow
def test_encoded_images_are_never_kept_there(null_driver: NullDriver, tmp_path: Path) -> None:
    """The first step would wait for the last image."""
    import numpy as np
    from PIL import Image

    for number in range(40):
        place = tmp_path / "photos" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    (answer,) = null_driver.ask([Question(of_photos, (str(tmp_path),), Machine((80,)))])
    assert answer.demand() is None


def of_photos(folder: str) -> Any:
    """What stays on the GPU of encoded photos."""
    import numpy as np
    import torch

    from seedwise.data.config import DataConfig
    from seedwise.data.open import open_data
    from seedwise.engine.feed import Feed
    from seedwise.engine.placement import Placement

    config = DataConfig(storage="encoded", workers=1)
    images = open_data(f"{folder}/photos", config, short_side=32).train
    feed = Feed(images, Placement(torch.device("cuda", 0), "fp32", True))
    feed.expect([np.arange(4), np.arange(4, 8)])
    found = feed._resident
    feed.close()
    images.images._decoding._prefetch.close()  # type: ignore[attr-defined, union-attr]
    return found
