"""Turns the folders of a part into classes and images, and these into the contents of a source."""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.labels import as_in_train, label_doubts, other_spelling
from seedwise.data.naming import listed
from seedwise.data.source import (
    Contents,
    Located,
    RawImage,
    SourcePart,
    Survey,
    Tally,
    class_order,
    printable,
)
from seedwise.data.tree import Node

Classes = dict[str, list[str]]
"""The images of each class, by name; a class may have none."""
Reader = Callable[[list[str]], Iterator[RawImage]]
"""Opens the images of these files, in this order."""
Places = Callable[[list[str]], Iterator[Located]]
"""Says where these files lie, in this order."""


@dataclass(frozen=True)
class Laid:
    """Images by part and class. `where`: the folder of each part, relative to the root, for messages."""

    parts: dict[str, Classes]
    where: dict[str, str]
    survey: Survey


@dataclass
class ClassFolders:
    """Collects the images of class folders, and what is skipped or doubtful in them."""

    config: DataConfig
    tally: Tally
    doubts: dict[str, None] = field(default_factory=dict)

    def of(self, part: Node) -> Classes:
        """The images of each class of a part, by class name."""
        level = self.config.class_level or 1
        found: Classes = {}
        if level == "leaf":
            self._leaves(part, found, at_top=True)
            return found
        self._level(part, level, found)
        if self.config.class_level is None:
            self._doubt_level(part)
        return found

    def loose(self, node: Node) -> None:
        """Note images that lie where folders are expected."""
        for image in node.images:
            self.tally.add("files", "beside the class folders", image)

    def below(self, folder: Node) -> list[str]:
        """All images of a class folder, without those in hidden folders."""
        images = list(folder.images)
        for name, inside in folder.folders.items():
            if name.startswith("."):
                self.tally.add("folders", "hidden", name)
            else:
                images += self.below(inside)
        return images

    def name(self, folder: str) -> str:
        """The class name of a folder's name."""
        text = unicodedata.normalize("NFC", printable(folder))
        if folder.startswith("."):
            self.doubts[f"class '{text}' begins with a dot: is it meant to be seen?"] = None
        return text

    def _level(self, node: Node, level: int, found: Classes) -> None:
        self.loose(node)
        for name, folder in node.folders.items():
            if level > 1:
                self._level(folder, level - 1, found)
            elif folder.has_images or self.config.min_per_class is None:
                found.setdefault(self.name(name), []).extend(self.below(folder))
            else:
                self.tally.add("classes", f"fewer than {self.config.min_per_class} images", name)

    def _leaves(self, node: Node, found: Classes, *, at_top: bool) -> None:
        if at_top:
            self.loose(node)
        elif node.images:
            found.setdefault(self.name(node.name), []).extend(node.images)
        for folder in node.folders.values():
            self._leaves(folder, found, at_top=False)

    def _doubt_level(self, part: Node) -> None:
        """Add a doubt where the classes, or parts, may be meant to lie a level deeper."""
        filled = part.filled
        deep = {name: set(node.filled) for name, node in filled.items() if len(node.filled) > 1 and not node.images}
        again = {name: set(node.filled) & set(filled) for name, node in filled.items()}
        if several := [name for name, inside in again.items() if len(inside) > 1]:
            self.doubts[f"{listed(several)} holds {listed(sorted(again[several[0]]))}, which are classes beside it"] = (
                None
            )
            return
        if not deep:
            return
        common = set.intersection(*deep.values())
        inside = sorted(set().union(*deep.values()))
        if len(deep) > 1 and len(deep) == len(filled) and len(common) > 1:
            self.doubts[
                f"each of the classes {listed(filled)} holds {listed(sorted(common))}: if these are parts, call them "
                "train/, val/ and test/; if the classes lie in them, data.class_level=2 takes those"
            ] = None
        elif len(deep) == len(filled) or len(filled) <= len(deep) + 2:
            self.doubts[
                f"the classes are {listed(filled)}, and folders lie in {listed(deep)} ({listed(inside)}): "
                "-s data.class_level=2 takes those"
            ] = None


def contents(
    laid: Laid,
    root: Path,
    read: Reader,
    places: Places | None = None,
    order: list[str] | None = None,
    *,
    join: bool = False,
) -> Contents:
    """Build the contents: classes from the training part, and the images of every part, which `read` opens, and
    `places` finds.

    `order`: all images as they should be read when that matters. `join`: a folder of another part that is spelled
    otherwise there is the same class.
    """
    if join:
        laid = replace(laid, parts={name: _as_in_train(laid.parts["train"], part) for name, part in laid.parts.items()})
    _check(laid, root)
    classes = tuple(class_order(laid.parts["train"]))
    index = {name: number for number, name in enumerate(classes)}
    made = {}
    for part, files_of in laid.parts.items():
        label_of = {file: index[name] for name, files in files_of.items() for file in files}
        files = list(label_of) if order is None else [file for file in order if file in label_of]
        labels = np.array([label_of[file] for file in files], np.int64)
        made[part] = SourcePart(labels, partial(read, files), None if places is None else partial(places, files))
    doubts = label_doubts(classes, np.bincount(made["train"].labels, minlength=len(classes)).tolist(), join=join)
    return Contents(classes, made, survey=laid.survey + Survey(doubts=doubts))


def _as_in_train(train: Classes, part: Classes) -> Classes:
    to, found = as_in_train(train, part), Classes()
    for name, files in part.items():
        found.setdefault(to.get(name, name), []).extend(files)
    return found


def _check(laid: Laid, root: Path) -> None:
    known = laid.parts["train"]
    for part, files_of in laid.parts.items():
        where = root / laid.where[part]
        if not any(files_of.values()):
            raise UserError(f"{where}: no images in class folders (looked for <class>/*.jpg, *.png, …): add some")
        for name, files in files_of.items():
            place = printable(str(where / name))
            if part == "train" and not files:
                raise UserError(f"{place}: this class has no images: add some or remove the folder")
            if name not in known and files:
                mend = f"{other_spelling(known, name)}add it there or remove it here"
                raise UserError(f"{place}: class '{printable(name)}' is not in train/: {mend}")
