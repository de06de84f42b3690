"""What a run says before it trains, on every way in, by every verb that trains; its record and report say it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import Cli

SMALL = ("-m", "small", "--img-size", 16, "--epochs", 1, "-b", 20, "--threads", 1)
FIRST = "36 images in 3 classes (birne, Äpfel rot, 강아지 #3), parts train 26 / val 3 / test 7 (val and test"


def folder(photos: Path) -> Path:
    return photos


def table(photos: Path) -> Path:
    rows = [f"{image.relative_to(photos.parent)}\t{image.parent.name}" for image in sorted(photos.rglob("*.png"))]
    (photos.parent / "d.tsv").write_text("\n".join(["Image\tLabel", *rows]), encoding="utf-8")
    return photos.parent / "d.tsv"


def parquet(photos: Path) -> Path:
    images = sorted(photos.rglob("*.png"))
    columns = {"image": [image.read_bytes() for image in images], "label": [image.parent.name for image in images]}
    pq.write_table(pa.table(columns), photos.parent / "d.parquet")
    return photos.parent / "d.parquet"


def archive(photos: Path) -> Path:
    return Path(shutil.make_archive(str(photos.parent / "d"), "zip", photos))


@pytest.mark.parametrize("way_in", [folder, table, parquet, archive])
def test_a_dry_run_says_it_on_every_way_in(cli: Cli, photos: Path, way_in: Any) -> None:
    answer = cli("train", way_in(photos), *SMALL, "--dry-run")
    said = [line for line in answer.out.splitlines() if line.startswith("# ")]
    assert answer.code == 0 and said[0] == f"# {FIRST}", answer
    assert max(map(len, said)) <= 100


def test_a_run_says_it_first_and_keeps_it(cli: Cli, photos: Path) -> None:
    (photos / "birne/IMG_1.cr2").write_bytes(b"raw")
    (photos / "birne/@eaDir").mkdir()
    (photos / "notes.txt").write_text("")
    answer = cli("train", photos, *SMALL, "-o", "run")
    assert answer.code == 0
    first, _, passed, *then = answer.err.splitlines()
    assert first == FIRST and passed == "passed over: 2 files (.cr2 1, no image 1), 1 folder (@eaDir)"
    assert then and "doubt" not in answer.err
    data = json.loads(Path("run/record.json").read_text())["data"]
    assert data["parts"] == {
        "train": {"images": 26, "given": True},
        "val": {"images": 3, "given": False},
        "test": {"images": 7, "given": False},
    }
    assert [(each["reason"], each["count"], each["examples"]) for each in data["passed_over"]] == [
        (".cr2", 1, ["birne/IMG_1.cr2"]),
        ("no image", 1, ["notes.txt"]),
        ("@eaDir", 1, ["birne/@eaDir"]),
    ]
    assert data["doubts"] == [] and len(data["classes"]) == 3 and data["splits"]["train"] == 26
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "birne/IMG_1.cr2" in page and "drawn from train" in page


def test_a_study_says_it_once(cli: Cli, photos: Path) -> None:
    twin = photos / "birne/twin.png"
    twin.write_bytes(next((photos / "Äpfel rot").glob("*.png")).read_bytes())
    answer = cli("ablate", photos, "--toggle", "flip", "--seeds", "2", *short(), "-o", "study")
    assert answer.code in (0, 3), answer
    lines = answer.err.splitlines()
    assert sum(line.startswith("37 images in 3 classes") for line in lines) == 1
    assert sum(line.startswith("doubt: 1 picture stands under two labels") for line in lines) == 1
    page = Path("study/report.html").read_text(encoding="utf-8")
    assert "1 picture stands under two labels" in page


def short() -> list[str]:
    settings = ("model.name=small", "model.weights=none", "train.image_size=16", "train.epochs=1", "compute.threads=1")
    return [word for setting in settings for word in ("-s", setting)]


def test_audit_says_it(cli: Cli, photos: Path) -> None:
    (photos / "notes.txt").write_text("")
    answer = cli("audit", photos, "-o", "audit.html")
    assert answer.code == 0
    first, _, passed, *_ = answer.out.splitlines()
    assert first == FIRST and passed == "passed over: 1 file (no image)"
    assert "notes.txt" in Path("audit.html").read_text(encoding="utf-8")
