"""The same images in every form in which they are read: a folder, archives, a table, Parquet, shards."""

import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ("ant", "bee")


def jpeg(number: int, size: tuple[int, int]) -> bytes:
    noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


SIZES = [(40, 30), (200, 160), (24, 24), (90, 30), (10, 12), (150, 30)]
"""Larger, four times as large, fitting, too long, smaller, and much too long ones."""


def encoded_images() -> dict[str, bytes]:
    """36 JPEG files by name in class folders."""
    return {f"{CLASSES[i % 2]}/{i:02d}.jpg": jpeg(i, SIZES[i % len(SIZES)]) for i in range(36)}


def write_folder(root: Path, images: dict[str, bytes]) -> Path:
    for name, data in images.items():
        (root / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "photos" / name).write_bytes(data)
    return root / "photos"


def _zip(kind: int) -> Callable[[Path, dict[str, bytes]], Path]:
    def write(root: Path, images: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(root / "photos.zip", "w", kind) as archive:
            for name, data in images.items():
                archive.writestr(name, data)
        return root / "photos.zip"

    return write


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, BytesIO(data))


def _tar(suffix: str) -> Callable[[Path, dict[str, bytes]], Path]:
    def write(root: Path, images: dict[str, bytes]) -> Path:
        with tarfile.open(root / f"photos{suffix}", "w:gz" if suffix.endswith("gz") else "w") as tar:
            for name, data in images.items():
                add_member(tar, name, data)
        return root / f"photos{suffix}"

    return write


def _csv(root: Path, images: dict[str, bytes]) -> Path:
    folder = write_folder(root, images)
    lines = [f"{name},{name.split('/')[0]}" for name in images]
    (folder / "labels.csv").write_text("\n".join(["image,label", *lines]))
    return folder / "labels.csv"


def _parquet(root: Path, images: dict[str, bytes]) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    cells = [{"bytes": data, "path": name} for name, data in images.items()]
    pq.write_table(pa.table({"image": cells, "label": [name.split("/")[0] for name in images]}), root / "p.parquet")
    return root / "p.parquet"


def write_shards(root: Path, images: dict[str, bytes]) -> Path:
    for shard in range(2):
        with tarfile.open(root / f"part-{shard:06d}.tar", "w") as tar:
            for name, data in list(images.items())[shard::2]:
                key = name.replace("/", "-").removesuffix(".jpg")
                add_member(tar, f"{key}.jpg", data)
                add_member(tar, f"{key}.cls", str(CLASSES.index(name.split("/")[0])).encode())
    (root / "classnames.txt").write_text("\n".join(CLASSES))
    return root


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "folder": write_folder,
    "stored zip": _zip(zipfile.ZIP_STORED),
    "deflated zip": _zip(zipfile.ZIP_DEFLATED),
    "tar": _tar(".tar"),
    "tar.gz": _tar(".tar.gz"),
    "csv": _csv,
    "parquet": _parquet,
    "webdataset": write_shards,
}
