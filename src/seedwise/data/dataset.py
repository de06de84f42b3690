"""A data set for training: its classes, and subsets of the stored parts."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seedwise.data.config import Storage
from seedwise.data.describe import bytes_in_words, data_lines
from seedwise.data.originals import Prints
from seedwise.data.source import Int64Array, Survey, UInt8Array
from seedwise.data.storage import Names, StoredImages


@dataclass(frozen=True)
class Subset:
    """Some images of a stored part, with ids and targets.

    `ids`: int64[m], ascending rows in the stored part, which stands in canonical order (see build): image i of a part
    is the same one wherever the images come from, whatever is held out or limited, and at any stored size. `targets`:
    int64[m], class indices. `rows_in_part`: rows of the whole part, the height of a table of random draws that is
    indexed by id. `copies`: in a sample with replacement, the most copies of an image in it; copy c of image i then has
    the id i + c * rows_in_part, and so draws of its own. `names`: of the stored part's images in the source. `prints`:
    uint64[rows_in_part], hashes of their originals.
    """

    ids: Int64Array
    targets: Int64Array
    rows_in_part: int
    images: StoredImages
    copies: int = 1
    names: Names | None = None
    prints: Prints | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def decoded(self) -> bool:
        """Whether the pixels of all images are stored; else they are decoded when they are read."""
        return self.images.decoded

    def gather(self, positions: Int64Array) -> tuple[UInt8Array, Int64Array | None]:
        """Read `positions` int64[b] in [0, m): images uint8[b, 3, h, w], channels last, and sizes int64[b, 2] or None.

        Images of different sizes lie at the top left of a canvas as large as the largest of them, zero elsewhere, and
        sizes holds their (height, width); None says that every stored image has the same size.
        """
        return self.images.gather(self.ids[positions] % self.rows_in_part)

    def expect(self, positions: Int64Array) -> None:
        """Hear that `positions` int64[n] will be gathered in this order, so that they are decoded ahead where that is
        still to do."""
        self.images.expect(self.ids[positions] % self.rows_in_part)

    @property
    def files(self) -> npt.NDArray[np.str_] | None:
        """str[m]: each image's file, relative to the data's folder, or its row in a table; None where unknown."""
        return None if self.names is None else self.names.take(self.ids % self.rows_in_part)

    @property
    def originals(self) -> Prints | None:
        """uint64[m]: hash of each image's original; None where unknown."""
        return None if self.prints is None else self.prints[self.ids % self.rows_in_part]

    @property
    def draw_rows(self) -> int:
        """Rows of a table of random draws, one for each copy of each image of the part."""
        return self.rows_in_part * self.copies

    @property
    def short_side(self) -> int:
        """Short side of every stored image, in pixels."""
        return min(int(side) for side in self.gather(np.zeros(1, np.int64))[0].shape[2:])

    def take(self, positions: Int64Array) -> "Subset":
        """The images at positions int64[b] in [0, m) as a smaller subset with the same ids."""
        return replace(self, ids=self.ids[positions], targets=self.targets[positions])


@dataclass(frozen=True)
class Dataset:
    """Classes, and the images to train on, to select by and to score once.

    `fingerprint`: sha256 over class names, labels and stored pixels; the same for a folder, a table or an archive of
    the same images, whatever their names and order. `originals`: the same over the images before they were resized, so
    that it does not depend on the stored size. `superclass_of`: int64[k], the index into `superclasses` of each class.
    `path`: absolute folder or file of the source, None when it comes inside a package. `oob`: with a bootstrap sample,
    the training images that are not in it. `given`: the parts that the source itself has; others were drawn. `survey`:
    what was passed over, and what is doubtful. `pixel_range`: black and white in images of more than 8 bits, None
    without any. `storage`: how the images are kept, and `disk_bytes` that they take in the cache.
    """

    name: str
    path: Path | None
    fingerprint: str
    classes: tuple[str, ...]
    superclasses: tuple[str, ...] | None
    superclass_of: Int64Array | None
    train: Subset
    val: Subset | None
    test: Subset | None
    oob: Subset | None = None
    given: tuple[str, ...] = ("train",)
    survey: Survey = field(default_factory=Survey)
    pixel_range: tuple[float, float] | None = None
    originals: str = ""
    storage: Storage = "decoded"
    disk_bytes: int = 0

    @property
    def splits(self) -> dict[str, int]:
        """Number of images in each split."""
        subsets = {"train": self.train, "val": self.val, "test": self.test}
        return {name: 0 if subset is None else len(subset) for name, subset in subsets.items()}

    def lines(self) -> list[str]:
        """Describe the data before training, in lines of at most 100 columns."""
        return data_lines(self.classes, self.splits, self.given, self.survey)

    def storage_line(self) -> str:
        """How the images are kept, and what that takes of the disk, in a line."""
        how = {
            "decoded": "decoded, all of them before the first step",
            "encoded": "encoded where they are, and decoded as they are trained on",
        }[self.storage]
        return f"images: {how}; {bytes_in_words(self.disk_bytes)} in the cache"

    def summary(self) -> dict[str, Any]:
        """The data for a run's record; `image_size` is [h, w] in pixels, or null when sizes differ."""
        size = self.train.images.size
        return {
            "name": self.name,
            "path": None if self.path is None else str(self.path),
            "fingerprint": self.fingerprint,
            "splits": self.splits,
            "classes": len(self.classes),
            "superclasses": None if self.superclasses is None else len(self.superclasses),
            "image_size": None if size is None else [int(side) for side in size],
        }
