"""A GPU whose memory runs out: one line with what fits, which then does; evaluation makes do with less."""

import re
from pathlib import Path
from typing import Any

import pytest
from null_driver import Machine, NullDriver, Question
from test_precision import commands

MIB = 2**20
BATCH = 128
TRAIN = (
    *("train", "digits", "-m", "small", "--epochs", "1", "--img-size", "48", "-b", str(BATCH), "--seed", "3"),
    *("-s", "data.limit=256", "-s", "data.val=50", "-s", "data.test=50", "-s", "train.insight=false"),
)


def peak(folder: str, *words: str) -> int:
    """Bytes that a command asks of a GPU with plenty of them."""
    import null_counts

    commands(folder, list(words))
    return null_counts.counts()["peak_bytes"]


def test_the_line_names_a_batch_that_fits_and_a_larger_one_does_not(null_driver: NullDriver, tmp_path: Path) -> None:
    place = str(tmp_path)
    (measured,) = null_driver.ask([Question(peak, (place, *TRAIN, "-o", "plenty"))])
    little = Machine((80,), gpu_bytes=measured.demand() // 2)
    (short,) = null_driver.ask([Question(commands, (place, [*TRAIN, "-o", "short"]), little)])
    code, said = short.demand()[0]
    line = " ".join(said.split())
    assert code == 2 and "Traceback" not in said
    named = re.search(r"train.batch_size=(\d+) with train.accumulate=(\d+) fits here", line)
    assert named is not None, said
    batch, accumulate = int(named[1]), int(named[2])
    assert batch * accumulate == BATCH and f"BatchNorm sees {batch} at a time" in line
    fitting = [*TRAIN, "-b", str(batch), "-s", f"train.accumulate={accumulate}"]
    fitting.remove(str(BATCH))
    fitting.remove("-b")
    larger = [str(2 * batch) if word == str(batch) else word for word in fitting]
    (answer,) = null_driver.ask(
        [Question(commands, (place, [*fitting, "-o", "fits"], [*larger, "-o", "larger"]), little)]
    )
    (fits, why), (too_large, _) = answer.demand()
    assert fits == 0, why
    assert too_large == 2


def dry_run(folder: str) -> tuple[float, int]:
    """The memory in GB that a dry run tells, and the device's own peak of it, in bytes."""
    import contextlib
    import io
    import json

    import null_counts

    with contextlib.redirect_stdout(io.StringIO()) as out:
        ((code, said),) = commands(folder, [*TRAIN, "-o", "run", "--dry-run", "--json"])
    assert code == 0, said
    return json.loads(out.getvalue())["memory_gb"], null_counts.counts()["peak_bytes"]


def test_a_dry_run_tells_all_that_the_device_gives(null_driver: NullDriver, tmp_path: Path) -> None:
    """What torch holds, not only what tensors fill: a GPU with less would not do."""
    (answer,) = null_driver.ask([Question(dry_run, (str(tmp_path),))])
    told, peak_bytes = answer.demand()
    assert told == pytest.approx(peak_bytes / 2**30, rel=0.02)


def in_pieces() -> list[Any]:
    """Logits of more images than fit at once, and the lines that were logged."""
    import logging

    import numpy as np
    import torch

    from seedwise.engine.evaluate import predict
    from seedwise.engine.placement import Placement

    class Hungry(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.empty(len(x), MIB, dtype=torch.uint8, device=x.device)
            sizes.append(len(x))
            return x.flatten(1)[:, :4]

    class Images:
        ids, targets = np.arange(300), np.zeros(300, np.int64)

        def expect(self, positions: Any) -> None:
            pass

        def gather(self, positions: Any) -> Any:
            return np.zeros((len(positions), 3, 8, 8), np.uint8), None

    class Plain:
        def evaluate(self, images: torch.Tensor, sizes: Any, *, size: int) -> torch.Tensor:
            return images.float()

    sizes: list[int] = []
    lines: list[str] = []
    logging.getLogger("seedwise").setLevel(logging.INFO)
    logging.getLogger("seedwise").addFilter(lambda record: lines.append(record.getMessage()) or True)
    placement = Placement(torch.device("cuda", 0), "fp32", channels_last=False)
    found = predict(Hungry(), Images(), Plain(), size=8, placement=placement)  # type: ignore
    return [list(found.logits.shape), sizes, lines]


def test_evaluation_makes_do_with_the_memory_that_there_is(null_driver: NullDriver) -> None:
    little, tiny = null_driver.ask(
        [Question(in_pieces, machine=Machine((80,), gpu_bytes=size * MIB)) for size in (100, 1)]
    )
    shape, sizes, lines = little.demand()
    assert shape == [300, 4] and sum(sizes) >= 300 and max(sizes) == 64
    assert any("no memory for 256 images at once: evaluates them in 4 parts" in line for line in lines)
    assert tiny.error is not None and "out of memory" in tiny.error


@pytest.mark.slow
def test_a_study_does_not_try_again_what_had_no_memory(null_driver: NullDriver, tmp_path: Path) -> None:
    alike = [word for word in TRAIN[1:] if word not in ("--seed", "3")]
    words = ["ablate", *alike, "--toggle", "flip", "--seeds", "2", "-o", "study"]
    (answer,) = null_driver.ask([Question(commands, (str(tmp_path), words), Machine((80,), gpu_bytes=4 * MIB))])
    code, said = answer.demand()[0]
    assert code == 2 and "out of memory" in said, said
    logs = [*tmp_path.glob("study/runs/*/*/train.log")]
    assert len(logs) == 4
    assert all(log.read_text().count("no memory left") == 1 for log in logs)
