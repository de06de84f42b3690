"""Finds the columns of a table that hold images, labels and parts: by name, in any spelling, or by option."""

import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.naming import MAYBE
from seedwise.data.source import PART_OF

LABELS = (
    *("finelabel", "label", "labels", "class", "target", "classid", "labelid", "targetid", "categoryid"),
    *("classindex", "labelindex", "classidx", "labelidx", "classname", "labelname", "category", "categoryname"),
    *("classlabel", "species", "speciesname"),
)
IMAGES = (
    *("image", "img", "picture", "photo", "images"),
    *("path", "file", "filename", "filepath", "imagepath", "imagefile", "imgpath", "imgfile", "imagefilename"),
    *("imagename", "imgname", "imagefilepath", "photopath", "photofile"),
    *("imageid", "imgid", "photoid", "pictureid", "id"),
)
COARSE = "coarselabel"
KINDS = ("breed", "variety", "subspecies", "genus", "kind")
"""Names of columns that are labels too, finer or coarser than a column beside them that is named like labels."""
NAMES = ("name", "names", "text", "title", "description", "breed", "variety", "kind", "type")
"""Names of columns that may spell out a number beside them, and often hold something else."""
SPELLED = re.compile(r"(\w*)(names?|text|str|string|words?)")
"""Names of columns that spell out the numbers of another one with a similar name."""
_PART = "|".join(PART_OF)
FLAG = re.compile(rf"i[sn](?P<part>{_PART})(set|image|img|data|split|part)?|(?P<set>{_PART})set")
"""Names of columns that say whether a row belongs to one part."""
HELD_OUT = re.compile(rf"(i[sn])?(holdout|heldout)({_PART})?(set|data|split)?")
"""Names of columns that say whether a row was held out, but not what for."""
SPLIT = re.compile(
    r"(data|dataset|traintest|trainval|trainvaltest)?splits?(names?|ids?|sets?)?\d*|sets?|subsets?|usage|phase"
    rf"|partitions?(ids?|no|numbers?)?|\d*(k|cv|crossval(idation)?|{_PART})?folds?(ids?|no|numbers?|idx|index)?\d*"
    r"|(cv|crossval(idation)?)(ids?|no|numbers?|idx|index|sets?|splits?|groups?)?\d*"
)
"""Names of columns that say each row's part."""


def key(name: str) -> str:
    """Normalize a name: `Image ID`, `image_id` and `imageId` become `imageid`."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", name).casefold())


def says_parts(name: str) -> bool:
    """Whether a column may name the parts by its own name alone; `test` and the like are flags to ask about."""
    return any(kind.fullmatch(key(name)) for kind in (SPLIT, FLAG, HELD_OUT)) or key(name) in PART_OF


def tells_parts(values: Iterable[Any]) -> bool:
    """Whether values name both a training and a held-out part, among others or not."""
    words = {word(value) for value in set(values)}
    if not any(PART_OF.get(each) == "train" for each in words):
        return False
    return any(PART_OF.get(each, "train") != "train" or MAYBE.search(each) for each in words)


def word(value: Any) -> str:
    """A value of a column as text, stripped and in lower case; empty for a missing one."""
    return "" if value is None else str(value).strip().casefold()


def part_if_true(name: str, asked: bool) -> str | None:
    """The part that true stands for in a column: by its name, or where that is less clear, if it was asked for."""
    if flag := FLAG.fullmatch(key(name)):
        return PART_OF[flag["part"] or flag["set"]]
    if not asked:
        return None
    return "test" if HELD_OUT.fullmatch(key(name)) else PART_OF.get(key(name))


def find_column(names: Sequence[str], wanted: str, option: str, file: Path) -> str:
    """The column that an option names: by its exact name, else in any spelling if only one matches; or a UserError."""
    if wanted in names:
        return wanted
    alike = [name for name in names if key(name) == key(wanted)]
    if len(alike) == 1:
        return alike[0]
    listed, problem = ", ".join(names), "several are called so" if alike else "no such column"
    raise UserError(f"{file}: data.{option}={wanted}: {problem}; there are {listed}: name one of them")


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read. `coarse`: of superclasses; `split`: of the parts, if an option names one. `others`:
    further columns that look like labels; `spelled`: columns that may hold the names of labels."""

    image: str
    label: str
    coarse: str | None = None
    others: tuple[str, ...] = ()
    spelled: tuple[str, ...] = ()
    split: str | None = None


@dataclass(frozen=True)
class Header:
    """A table's columns, and which of them could hold images or labels. `stated`: class labels by the file's own
    metadata. `only_parts`: whether all values of a column are names of parts. `lead`: for the column of images (None:
    unknown), the column that leads to image files, and the options for it."""

    names: Sequence[str]
    images: Sequence[str]
    labels: Sequence[str]
    stated: Sequence[str] = ()
    only_parts: Callable[[str], bool] = lambda _name: False
    lead: Callable[[str | None], tuple[str, str] | None] = lambda _image: None

    def choose(self, config: DataConfig, file: Path) -> Columns:
        """Choose the named columns, or those that are certain by name and type; a UserError otherwise."""
        asked = {
            option: None if wanted is None else find_column(self.names, wanted, option, file)
            for option, wanted in (("image_column", config.image_column), ("label_column", config.label_column))
        }
        split = None
        if config.split_column not in (None, "none"):
            split = find_column(self.names, config.split_column, "split_column", file)
        coarse = next((name for name in self.names if key(name) == COARSE and name != asked["label_column"]), None)
        image = asked["image_column"] or self._image({asked["label_column"], split})
        label = asked["label_column"] or self._label({image, coarse, split})
        if image is None or label is None:
            raise self._unclear(file, image, label, {coarse, split})
        if asked["label_column"]:
            return Columns(image, label, coarse, split=split)
        taken = {image, label, coarse, split}
        others = self._others(label, taken)
        spelled = [name for name in self.labels if key(name) in NAMES and name not in (*taken, *others)]
        return Columns(image, label, coarse, others, tuple(it for it in spelled if not self.only_parts(it)), split)

    def _unclear(self, file: Path, image: str | None, label: str | None, taken: set[str | None]) -> UserError:
        """A UserError with every option that is needed: for the columns, and from the names to the images."""
        lead = self.lead(image)
        if image is None and lead is not None:
            label = label or self._label({lead[0], *taken})
        kinds = ["an image"] * (image is None) + ["a label"] * (label is None)
        options = [f"-s data.image_column={shlex.quote(lead[0]) if lead else 'NAME'}"] * (image is None)
        options += ["-s data.label_column=NAME"] * (label is None) + ([lead[1]] if lead and lead[1] else [])
        both = len(kinds) > 1
        return UserError(
            f"{file}: which column holds {', and which '.join(kinds)}{',' * both} cannot be told from their names: "
            f"{', '.join(self.names)}; name {'them' if both else 'it'}: {' '.join(options)}"
        )

    def _image(self, taken: set[str | None]) -> str | None:
        free = [name for name in self.images if name not in taken and key(name) not in (*LABELS, COARSE)]
        return _first(free, IMAGES) or _only([name for name in free if not says_parts(name)])

    def _label(self, taken: set[str | None]) -> str | None:
        free = [name for name in self.labels if name not in taken]
        if known := _first(free, LABELS) or next((name for name in self.stated if name in free), None):
            return known
        free = [name for name in free if not says_parts(name)]
        return _only(free) or _only([name for name in free if not self.only_parts(name)])

    def _others(self, label: str, taken: set[str | None]) -> tuple[str, ...]:
        """Further columns named like labels, and those called like this label (`breed` and `breed_name`)."""
        free = [name for name in self.labels if name not in taken]
        spelled = [
            match for name in free if (match := SPELLED.fullmatch(key(name))) and key(label).startswith(match[1])
        ]
        alike = {match.string for match in spelled if match[1]}
        named = [name for name in free if key(name) in (*LABELS, *KINDS) or key(name) in alike]
        return tuple(name for name in named if not self.only_parts(name))


def _first(names: Sequence[str], known: Sequence[str]) -> str | None:
    """The column with the first of the known names; none when two spell the same one."""
    for each in known:
        if alike := [name for name in names if key(name) == each]:
            return _only(alike)
    return None


def _only(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None
