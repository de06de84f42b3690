"""Images in folders, on disk or in an archive: which folders are parts, and which are classes.

What is unmistakable is used, what is not is refused with the option that decides it, and what is passed over is
counted. docs/data.md shows every layout that is understood, made from the inputs of the tests.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from seedwise.data.config import DataConfig
from seedwise.data.formats import advice
from seedwise.data.labels import label_doubts, some
from seedwise.data.source import (
    EXAMPLES,
    PART_OF,
    PARTS,
    Contents,
    Int64Array,
    Part,
    RawImage,
    Survey,
    Tally,
    class_order,
    printable,
)
from seedwise.data.tree import Node, Tree
from seedwise.errors import UserError

KNOWN_LAYOUTS = "known are <class>/, train/<class>/ with val/ and test/, and <class>/train/ with <class>/test/"
FORCE_CLASSES = "-s data.class_level=1 takes these folders as classes"

Classes = dict[str, list[str]]
"""The images of each class, by name; a class may have none."""
Reader = Callable[[list[str]], Iterator[RawImage]]
"""Images of these files, in this order."""


@dataclass(frozen=True)
class Laid:
    """Images by part and class. `where`: the folder of each part, from the root on, for messages."""

    parts: dict[str, Classes]
    where: dict[str, str]
    survey: Survey


def understand(tree: Tree, root: Path, config: DataConfig) -> Laid:
    """Parts and classes of a listing; a UserError where they can't be told. `root` names it in messages."""
    return _Reader(tree, root, config).read()


def contents(laid: Laid, root: Path, read: Reader, order: list[str] | None = None) -> Contents:
    """Classes from the training part, and the images of every part, read by `read`.

    `order`: all images as they should be read when that matters.
    """
    _check(laid, root)
    classes = tuple(class_order(laid.parts["train"]))
    index = {name: number for number, name in enumerate(classes)}
    made = {}
    for part, files_of in laid.parts.items():
        label_of = {file: index[name] for name, files in files_of.items() for file in files}
        files = list(label_of) if order is None else [file for file in order if file in label_of]
        made[part] = _part(files, np.array([label_of[file] for file in files], np.int64), read)
    doubts = label_doubts(classes, np.bincount(made["train"].labels, minlength=len(classes)).tolist())
    return Contents(classes, made, survey=laid.survey + Survey(doubts=doubts))


def _part(files: list[str], labels: Int64Array, read: Reader) -> Part:
    return Part(labels, lambda: read(files))


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
                raise UserError(f"{place}: class '{printable(name)}' is not in train/: add it there or remove it here")


def exact_part(name: str) -> str | None:
    """The part that a folder's whole name says: train, Valid, TESTING."""
    return PART_OF.get(name.lower())


def named_part(name: str) -> str | None:
    """The part that is a word of a name: test1, training_set, seg_train."""
    parts = {PART_OF[word] for word in re.split(r"[^a-z]+", name.lower()) if word in PART_OF}
    joined = re.fullmatch(rf"({'|'.join(PART_OF)})(set|data|images|imgs)", name.lower())
    if joined:
        parts.add(PART_OF[joined[1]])
    return parts.pop() if len(parts) == 1 else None


def listed(names: Iterable[str], last: str = "and") -> str:
    """Names in a row: "a/, b/ and c/"; of many the first few and how many more."""
    shown = [f"{printable(name)}/" for name in names]
    if len(shown) > EXAMPLES + 1:
        return f"{', '.join(shown[:EXAMPLES])} {last} {len(shown) - EXAMPLES} more"
    return f" {last} ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


@dataclass
class _Reader:
    tree: Tree
    root: Path
    config: DataConfig
    tally: Tally = field(init=False)
    doubts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tally = self.tree.tally

    def read(self) -> Laid:
        top, way = self._inside(self.tree.root, "")
        if folders := self._parts(top, way):
            made = {part: self._classes(folders[part][0]) for part in PARTS if part in folders}
            where = {part: inside for part, (_, inside) in folders.items()}
        else:
            made = self._class_first(top) or {"train": self._classes(top)}
            where = dict.fromkeys(made, way)
        self._demand_classes(made["train"], folders["train"][0] if folders else top, where["train"])
        for table in self.tree.tables:
            self.tally.add("files", "a table that is not read", table)
        return Laid(made, where, Survey(self.tally.passed_over(), tuple(self.doubts)))

    # --- where the classes begin ---

    def _inside(self, node: Node, way: str, known: Iterable[str] = ()) -> tuple[Node, str]:
        """Down through folders that only wrap one other folder, which is neither a part nor a class."""
        while len(filled := node.filled) == 1:
            ((name, child),) = filled.items()
            if not child.filled or name in known or exact_part(name) or child.images:
                break
            if self.config.class_level is not None and not any(map(exact_part, child.filled)):
                break
            self._loose(node)
            for other in node.folders:
                if other != name:
                    self.tally.add("folders", "no images", other)
            node, way = child, f"{way}{name}/"
        return node, way

    def _loose(self, node: Node) -> None:
        for image in node.images:
            self.tally.add("files", "beside the class folders", image)

    # --- parts ---

    def _parts(self, top: Node, way: str) -> "dict[str, tuple[Node, str]]":
        """The folder of each part and its place; none when the folders are something else."""
        filled = top.filled
        exact = {name: part for name in filled if (part := exact_part(name))}
        if self.config.class_level == 1 and self._could_be_classes(filled, exact):
            return {}
        if not exact:
            return self._loosely_named(top, way)
        others = [name for name in filled if name not in exact]
        train = [name for name, part in exact.items() if part == "train"]
        if not any(filled[name].filled for name in train):
            return self._without_train(top, way, exact, others, train)
        self._demand_one_each(exact)
        if others and len(exact) == 1:
            raise self._looks_like_a_part(way, train, others)
        return self._checked(exact, top, way)

    def _could_be_classes(self, filled: dict[str, Node], parts: dict[str, str]) -> bool:
        """Whether somebody who says that the top folders are classes can't mean those in the parts."""
        both = len(set(parts.values())) > 1 and any(filled[name].filled for name in parts)
        return len(filled) > 1 and not both

    def _demand_one_each(self, parts: dict[str, str]) -> None:
        for part, word in (("train", "training"), ("val", "validation"), ("test", "test")):
            names = sorted((name for name, its in parts.items() if its == part), key=str.lower)
            if len(names) > 1:
                raise self._wrong("", f"{listed(names)} both look like the {word} part: keep one")

    def _loosely_named(self, top: Node, way: str) -> "dict[str, tuple[Node, str]]":
        """Parts from names such as training_set and seg_test, where two parts are called so."""
        filled = top.filled
        parts = {name: part for name in filled if (part := named_part(name))}
        others = [name for name in filled if name not in parts]
        train = [name for name, part in parts.items() if part == "train"]
        classy = any(filled[name].filled for name in train)
        if len(set(parts.values())) > 1 and (classy or not others):
            if not classy:
                raise self._all_parts(way, list(filled), top)
            self._demand_one_each(parts)
            return self._checked(parts, top, way)
        if classy and others and not any(filled[name].filled for name in others):
            raise self._looks_like_a_part(way, train, others)
        return {}  # train_station/ and bus_stop/ are classes

    def _looks_like_a_part(self, way: str, parts: list[str], others: list[str]) -> UserError:
        return self._wrong(
            way,
            f"{listed(parts)} looks like a part, but {listed(others)} beside it holds images too: move it away; "
            f"{FORCE_CLASSES}",
        )

    def _without_train(
        self, top: Node, way: str, parts: dict[str, str], others: list[str], train: list[str]
    ) -> "dict[str, tuple[Node, str]]":
        """There are folders called like parts, but none to train on with classes in it."""
        filled = top.filled
        held_out = [name for name in parts if name not in train]
        if all(named_part(name) for name in others):
            raise self._all_parts(way, list(filled), top)
        if not held_out:  # train/ is a class of railway pictures
            self.doubts.append(f"class '{printable(train[0])}' is called like a part: it is taken for one")
            return {}
        classy = all(set(filled[name].filled) <= set(others) and filled[name].filled for name in held_out)
        if not train and classy:
            self._demand_one_each(parts)
            rest = Node(top.name, [], {name: node for name, node in top.folders.items() if name not in held_out})
            self._loose(top)
            return {"train": (rest, way)} | {parts[name]: (filled[name], f"{way}{name}/") for name in held_out}
        raise self._looks_like_a_part(way, held_out, others)

    def _all_parts(self, way: str, names: list[str], top: Node) -> UserError:
        """For folders that are called like parts and hold no classes to train on."""
        are = f"{listed(names)} {'is a part' if len(names) == 1 else 'are parts'}, not classes"
        if any(top.folders[name].images for name in names):
            what = f"{are}, and images lie there without class folders"
        else:
            what = f"{are}, and there is no train/"
        give = self._table(way) or f"{KNOWN_LAYOUTS}, or a table of images and labels; {FORCE_CLASSES}"
        return self._wrong(way, f"{what}: {give}")

    def _table(self, way: str) -> str:
        """What to do with the tables that lie there, the likeliest first; nothing without any."""
        tables = [table for table in self.tree.tables if table.startswith(way)]
        if not tables:
            return ""
        likely = sorted(tables, key=lambda table: (not re.search("train|label|class|meta", table.lower()), table))
        others = (
            f" (there {'is' if len(likely) == 2 else 'are'} {some(map(printable, likely[1:]))} too)"
            if likely[1:]
            else ""
        )
        give = f"{'' if self.root.is_dir() else 'unpack it and '}give it: seedwise train {self.root / likely[0]}"
        return f"if {printable(likely[0])} has the labels, {give}{others}"

    def _demand_classes(self, classes: Classes, part: Node, way: str) -> None:
        """Say what may be meant where the training part has no images in class folders, or those of one class alone."""
        having = [name for name, images in classes.items() if images]
        table = self._table(way)
        if len(having) == 1 and table:
            raise self._wrong(way, f"only the class '{having[0]}' was found in class folders: {table}")
        if not having:
            loose = sum(1 for _ in part.all_images())
            outside = f", but {loose} outside of them" if loose else ""
            unread = "; ".join(advice({each.reason: each.count for each in self.tally.passed_over()}))
            looked = f"no images in class folders (looked for <class>/*.jpg, *.png, …){outside}"
            raise self._wrong(way, f"{looked}: {table or unread or 'add some'}")

    def _checked(self, parts: dict[str, str], top: Node, way: str) -> "dict[str, tuple[Node, str]]":
        """The parts, each down to where its classes begin; held-out ones without labels are left out or refused."""
        self._loose(top)
        folder_of = {part: name for name, part in parts.items()}
        for name, node in top.folders.items():
            if (part := exact_part(name)) is not None and not node.has_images:
                folder_of.setdefault(part, name)  # val/ without an image is a mistake
            elif name not in parts:
                self.tally.add("folders", "beside the parts" if node.has_images else "no images", f"{way}{name}")
        train, train_way = self._inside(top.folders[folder_of["train"]], f"{way}{folder_of['train']}/")
        found = {"train": (train, train_way)}
        for part, name in folder_of.items():
            if part != "train" and not self._left_out(part, top.folders[name], f"{way}{name}"):
                found[part] = self._inside(top.folders[name], f"{way}{name}/", known=train.folders)
        return found

    def _left_out(self, part: str, node: Node, name: str) -> bool:
        """Whether the user said that a part shall not count; a UserError for one whose images have no labels."""
        images = list(node.all_images())
        unlabeled = bool(node.images) and not node.filled
        if part == "test" and self.config.test == "none":
            self.tally.add("images", f"{name}/, by data.test=none", name, len(images))
            return True
        if part == "val" and self.config.val == 0 and unlabeled:
            self.tally.add("images", f"{name}/, by data.val=0", name, len(images))
            return True
        if not unlabeled:
            return False
        table = next((table for table in self.tree.tables if table.startswith(f"{name}/")), None)
        option = "data.test=none" if part == "test" else "data.val=0"
        beside = f" ({printable(table)} is not read here)" if table else ""
        raise self._wrong(
            "",
            f"{printable(name)}/ holds {len(node.images)} images without class folders{beside}, so no labels: put them "
            f"into class folders, or leave them out with -s {option}; seedwise predict takes them",
        )

    # --- <class>/train, <class>/test ---

    def _class_first(self, top: Node) -> dict[str, Classes]:
        """The images of each part and class, when every class has nothing but parts in it; else nothing."""
        filled = top.filled
        inside = {name: {exact_part(each): each for each in node.filled} for name, node in filled.items()}
        split = [name for name, parts in inside.items() if "train" in parts or len(parts.keys() - {None}) > 1]
        if not split or self.config.class_level == 1:
            return {}
        for name, node in filled.items():
            if name not in split or None in inside[name] or len(inside[name]) < len(node.filled) or node.images:
                raise self._wrong(
                    "",
                    f"{printable(split[0])}/ has parts in it ({listed(filled[split[0]].filled)}), and "
                    f"{printable(name)}/ holds something else: give every class the same parts; {FORCE_CLASSES}",
                )
        if not any("train" in parts for parts in inside.values()):
            raise self._wrong(
                "", f"no class has train/ in it, only {listed(filled[split[0]].filled)}: add the images to train on"
            )
        self._loose(top)
        made: dict[str, Classes] = {}
        for part in PARTS:
            having = [name for name in filled if part in inside[name]]
            if having and not (part == "test" and self.config.test == "none"):
                made[part] = {
                    self._class_name(name): self._below(filled[name].folders[inside[name][part]]) for name in having
                }
        return made

    # --- classes ---

    def _classes(self, part: Node) -> Classes:
        """The images of each class of a part."""
        level = self.config.class_level or 1
        found: Classes = {}
        if level == "leaf":
            self._leaves(part, found, at_top=True)
        else:
            self._level(part, level, found)
            if self.config.class_level is None:
                self._doubt_level(part)
        return found

    def _level(self, node: Node, level: int, found: Classes) -> None:
        self._loose(node)
        for name, folder in node.folders.items():
            if level > 1:
                self._level(folder, level - 1, found)
            else:
                found.setdefault(self._class_name(name), []).extend(self._below(folder))

    def _leaves(self, node: Node, found: Classes, *, at_top: bool) -> None:
        if at_top:
            self._loose(node)
        elif node.images:
            found.setdefault(self._class_name(node.name), []).extend(node.images)
        for folder in node.folders.values():
            self._leaves(folder, found, at_top=False)

    def _below(self, folder: Node) -> list[str]:
        """All images of a class, without those in hidden folders."""
        images = list(folder.images)
        for name, inside in folder.folders.items():
            if name.startswith("."):
                self.tally.add("folders", "hidden", name)
            else:
                images += self._below(inside)
        return images

    def _class_name(self, name: str) -> str:
        text = unicodedata.normalize("NFC", printable(name))
        if name.startswith(".") and (doubt := f"class '{text}' begins with a dot: is it meant to be seen?") not in (
            self.doubts
        ):
            self.doubts.append(doubt)
        return text

    def _doubt_level(self, part: Node) -> None:
        """Say so where the classes might be meant to lie a level deeper, where other tools look for them."""
        filled = part.filled
        deeper = [inside for node in filled.values() for inside in node.filled]
        if len(deeper) > len(filled) and all(node.filled and not node.images for node in filled.values()):
            doubt = (
                f"the classes are {listed(filled)}; {len(deeper)} folders lie in them ({listed(deeper)}): "
                "-s data.class_level=2 takes those"
            )
            if doubt not in self.doubts:
                self.doubts.append(doubt)

    def _wrong(self, way: str, what: str) -> UserError:
        place = self.root / way if way else self.root
        return UserError(f"{printable(str(place))}: {what}")
