"""The real command line on tiny runs: in this process where that is enough (importing torch takes seconds)."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import LEAN, TINY, Answer, Cli, call
from PIL import Image

from own_cache import cache

__all__ = ["cache"]


@pytest.fixture(autouse=True)
def elsewhere(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test stands in a folder of its own, with the images decoded once for all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEDWISE_CACHE", str(cache))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)
    yield


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: Any) -> Answer:
        capsys.readouterr()
        code = call(*arguments)
        answer = Answer(code, *capsys.readouterr())
        assert "Traceback" not in answer.err
        return answer

    return run


@pytest.fixture
def signal_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, signal.Signals], None]:
    """Send this process a real signal at an optimizer step of the next run; needs train.checkpoint_every=1."""
    from seedwise.cli import progress

    def arrange(at: int, number: signal.Signals) -> None:
        pending = [at]

        def on_step(self: object, epoch: int, step: int, *rest: float) -> None:
            if [step] == pending:
                pending.clear()
                os.kill(os.getpid(), number)

        monkeypatch.setattr(progress._Plain, "on_step", on_step)

    return arrange


@pytest.fixture(scope="session")
def finished_once(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        assert call("train", "digits", *TINY, "--seed", 3, "-o", folder) == 0
    return folder


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Path:
    """A finished run of TINY on digits with seed 3, to be damaged at will."""
    return Path(shutil.copytree(finished_once, tmp_path / "finished run"))


@pytest.fixture(scope="session")
def whole_once(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of LEAN; not to be touched."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        assert call("train", *LEAN, "-o", folder) == 0
    return folder


@pytest.fixture(scope="session")
def halfway_once(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, stopped in its second epoch; not to be touched."""
    from seedwise.cli import progress

    def on_step(self: object, epoch: int, step: int, *rest: float) -> None:
        if step == 4:  # the next step asks
            os.kill(os.getpid(), signal.SIGINT)

    folder = tmp_path_factory.mktemp("halfway") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        patch.setattr(progress._Plain, "on_step", on_step)
        assert call("train", *LEAN, "-o", folder) == 130
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of twelve photos of different sizes, in names with spaces, quotes and no ASCII."""
    root = tmp_path / "meine fotos, 'neu'"
    rng = np.random.default_rng(0)
    for color, name in enumerate(("Äpfel rot", "birne", "강아지 #3")):
        (root / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 90, (int(rng.integers(20, 40)), int(rng.integers(20, 40)), 3), np.uint8)
            pixels[..., color] += 150
            Image.fromarray(pixels).save(root / name / f"bild {number}ä.png")
    return root
