"""Recognizes parts and classes in folders of images, on disk or in an archive.

What is unmistakable is used, what is not is refused with the option that decides it, and what is passed over is
counted. docs/data.md shows every layout that is understood, made from the inputs of the tests.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from seedwise.base.errors import UserError
from seedwise.data.classfolders import Classes, ClassFolders, Laid
from seedwise.data.config import DataConfig
from seedwise.data.formats import advice
from seedwise.data.labels import some
from seedwise.data.naming import MAYBE, exact_part, listed, named_part, parts_among, twice
from seedwise.data.source import PARTS, Survey, printable
from seedwise.data.tree import Node, Tree

KNOWN_LAYOUTS = "known are <class>/, train/<class>/ with val/ and test/, and <class>/train/ with <class>/test/"
FORCE_CLASSES = "; -s data.class_level=1 takes these folders as classes"

Places = dict[str, tuple[Node, str]]
"""The folder of each part, and its place from the root on."""


def understand(tree: Tree, root: Path, config: DataConfig) -> Laid:
    """Find parts and classes in a listing; a UserError where that isn't certain. `root`: its name in messages."""
    return _Layout(tree, root, config, ClassFolders(config, tree.tally)).read()


@dataclass
class _Layout:
    tree: Tree
    root: Path
    config: DataConfig
    classes: ClassFolders

    def read(self) -> Laid:
        top, way = self._inside(self.tree.root, "")
        if places := self._parts(top, way):
            made = {part: self.classes.of(places[part][0]) for part in PARTS if part in places}
            where = {part: inside for part, (_, inside) in places.items()}
        else:
            made = self._class_first(top, way) or {"train": self.classes.of(top)}
            where = dict.fromkeys(made, way)
        self._demand_classes(made["train"], places["train"][0] if places else top, where["train"])
        for table in self.tree.tables:
            self.tree.tally.add("files", "a table that is not read", table)
        return Laid(made, where, Survey(self.tree.tally.passed_over(), tuple(self.classes.doubts)))

    def _inside(self, node: Node, way: str, part: str | None = None, known: tuple[str, ...] = ()) -> tuple[Node, str]:
        """Descend through folders that only hold one other folder, which is neither a part nor a class.

        `part`: of which the node is the folder already, so that train/train/ and train/training_set/ wrap, too.
        """
        while len(filled := node.filled) == 1:
            ((name, child),) = filled.items()
            its = exact_part(name)
            wraps_parts = "train" in {exact_part(each) for each in child.filled}
            if not child.filled or child.images or name in known or (its and its != part and not wraps_parts):
                break
            self.classes.loose(node)
            for other in node.folders:
                if other != name:
                    self.tree.tally.add("folders", "no images", f"{way}{other}")
            node, way = child, f"{way}{name}/"
        return node, way

    # --- train/<class>, test/<class> ---

    def _parts(self, top: Node, way: str) -> Places:
        """The folder of each part; empty when the folders are something else."""
        filled = top.filled
        parts = parts_among(filled)
        others = [name for name in filled if name not in parts]
        train = [name for name, part in parts.items() if part == "train"]
        classy = any(filled[name].filled for name in train)
        exact = any(map(exact_part, parts))
        if self.config.class_level == 1 and self._can_be_classes(top):
            return {}
        if not parts:
            alone = [name for name in filled if named_part(name) == "train" and filled[name].filled]
            if alone and others and not any(filled[name].filled for name in filled if name not in alone):
                raise self._looks_like_a_part(top, way, alone, [name for name in filled if name not in alone])
            return {}
        if not classy:
            return self._without_train(top, way, parts, others) if exact or not others else {}
        if names := twice(parts):
            word = {"train": "training", "val": "validation", "test": "test"}[parts[names[0]]]
            raise self._wrong(way, f"{listed(names)} both look like the {word} part: keep one")
        if others and len(parts) == 1:
            raise self._looks_like_a_part(top, way, train, others)
        return self._checked(parts, top, way)

    def _can_be_classes(self, top: Node) -> bool:
        """Whether the topmost folders may be the classes, rather than those in the parts."""
        filled = top.filled
        parts = parts_among(filled)
        both = len(set(parts.values())) > 1 and any(filled[name].filled for name in parts)
        return len(filled) > 1 and not both

    def _force(self, top: Node) -> str:
        return FORCE_CLASSES if self._can_be_classes(top) else ""

    def _looks_like_a_part(self, top: Node, way: str, parts: list[str], others: list[str]) -> UserError:
        look = "looks like a part" if len(parts) == 1 else "look like parts"
        return self._wrong(
            way,
            f"{listed(parts)} {look}, but {listed(others)} beside {'it' if len(parts) == 1 else 'them'} "
            f"{'holds' if len(others) == 1 else 'hold'} images, too: move {listed(others)} away{self._force(top)}",
        )

    def _without_train(self, top: Node, way: str, parts: dict[str, str], others: list[str]) -> Places:
        """Parts of a layout with folders called like parts, but without one to train on that has classes."""
        filled = top.filled
        held_out = [name for name, part in parts.items() if part != "train"]
        if all(named_part(name) for name in others):
            raise self._all_parts(way, list(filled), top)
        if not held_out:  # train/ is a class of railway pictures
            self.classes.doubts[
                f"class '{printable(next(iter(parts)))}' is called like a part: it is taken for one"
            ] = None
            return {}
        rest = Node(top.name, [], {name: node for name, node in top.folders.items() if name not in held_out})
        places: Places = {"train": (rest, way)}
        for name in held_out:
            part, node = parts[name], filled[name]
            if len(held_out) < len(parts) or not (node.filled and set(node.filled) <= set(others)):
                if part == "test" and self.config.test == "none" and len(held_out) == len(parts):
                    self._leave_out(part, node, f"{way}{name}")
                    continue
                raise self._looks_like_a_part(top, way, held_out, others)
            places[part] = (node, f"{way}{name}/")
        self.classes.loose(top)
        return places

    def _all_parts(self, way: str, names: list[str], top: Node) -> UserError:
        """A UserError for folders that are called like parts and hold no classes to train on."""
        are = f"{listed(names)} {'is a part' if len(names) == 1 else 'are parts'}, not classes"
        if any(top.folders[name].images for name in names):
            what = f"{are}, and images lie there without class folders"
        else:
            what = f"{are}, and there is no train/ with images"
        give = self._table(way) or f"{KNOWN_LAYOUTS}, or a table of images and labels{self._force(top)}"
        return self._wrong(way, f"{what}: {give}")

    def _checked(self, parts: dict[str, str], top: Node, way: str) -> Places:
        """The parts, each at the level of its classes; held-out ones without labels are left out or refused."""
        self.classes.loose(top)
        folder_of = {part: name for name, part in parts.items()}
        for name, node in top.folders.items():
            if (part := exact_part(name)) is not None and not node.has_images:
                folder_of.setdefault(part, name)  # val/ without an image is a mistake
            elif name not in parts and node.has_images:
                count = sum(1 for _ in node.all_images())
                self.tree.tally.add("images", f"{printable(name)}/, beside the parts", f"{way}{name}", count)
                if named_part(name) or MAYBE.search(name.lower()):
                    self.classes.doubts[f"{printable(name)}/ beside the parts may be one, and is not used"] = None
            elif name not in parts:
                self.tree.tally.add("folders", "no images", f"{way}{name}")
        train, train_way = self._inside(top.folders[folder_of["train"]], f"{way}{folder_of['train']}/", "train")
        self._demand_no_parts_in(train, train_way)
        found = {"train": (train, train_way)}
        for part, name in folder_of.items():
            if part != "train":
                node, inside = self._inside(top.folders[name], f"{way}{name}/", part, tuple(train.folders))
                if not self._left_out(part, node, inside, set(train.filled)):
                    found[part] = (node, inside)
        return found

    def _demand_no_parts_in(self, train: Node, way: str) -> None:
        """Raise a UserError where a training part holds a folder called like another part, beside classes."""
        filled = train.filled
        odd = [name for name in filled if exact_part(name)]
        if odd and len(odd) < len(filled) and self.config.class_level is None:
            raise self._wrong(
                way,
                f"{listed(odd)} is called like a part, beside classes: move it out of here, or, if it is a class, "
                "say so with -s data.class_level=1",
            )

    def _left_out(self, part: str, node: Node, way: str, known: set[str]) -> bool:
        """Whether the user excluded a part; a UserError for one whose images have no labels."""
        name = way.rstrip("/")
        option = "data.test=none" if part == "test" else "data.val=0"
        off = self.config.test == "none" if part == "test" else self.config.val == 0
        level_1 = self.config.class_level in (None, 1)
        foreign = [name for name in node.filled if name not in known]
        unknown = level_1 and len(foreign) == len(node.filled) and all(map(_says_no_class, foreign))
        unlabeled = node.has_images and (not node.filled or unknown)
        if off and (unlabeled or not node.has_images):
            self._leave_out(part, node, name)
            return True
        if not unlabeled:
            return False
        table = next((table for table in self.tree.tables if table.startswith(way)), None)
        beside = f" ({printable(table)} is not read here)" if table else ""
        count = sum(1 for _ in node.all_images())
        folders = "without class folders" if not node.filled else f"in {listed(node.filled)}, which no class is called"
        raise self._wrong(
            "",
            f"{printable(name)}/ holds {count} images {folders}{beside}, so no labels: put them into folders called "
            f"like the classes, or leave them out with -s {option}; seedwise predict takes them",
        )

    def _leave_out(self, part: str, node: Node, name: str) -> None:
        option = "data.test=none" if part == "test" else "data.val=0"
        if count := sum(1 for _ in node.all_images()):
            self.tree.tally.add("images", f"{printable(name)}/, by {option}", name, count)

    # --- <class>/train, <class>/test ---

    def _class_first(self, top: Node, way: str) -> dict[str, Classes]:
        """Images by part and class, when every class folder holds only parts; else empty."""
        if self.config.class_level is not None:
            return {}
        filled = {name: _unwrapped(node) for name, node in top.filled.items()}
        inside = {name: parts_among(node.filled) for name, node in filled.items()}
        split = [name for name, parts in inside.items() if "train" in parts.values() or len(set(parts.values())) > 1]
        if not split:
            return {}
        first = split[0]
        holds = f"{printable(first)}/ has parts in it ({listed(inside[first])})"
        force = FORCE_CLASSES
        for name, node in filled.items():
            odd = [each for each in node.filled if each not in inside[name]]
            if name not in split or odd or node.images or twice(inside[name]):
                beside = f"beside {listed(odd)}" if name == first and odd else f"and {printable(name)}/ something else"
                raise self._wrong(way, f"{holds}, {beside}: give every class the same parts{force}")
            if any(node.folders[each].filled and not node.folders[each].images for each in inside[name]):
                raise self._wrong(
                    way,
                    f"{holds}, and these hold folders again: {listed(filled)} are no classes, so give one of them "
                    f"({self.root / way / first}){force}",
                )
        if not any("train" in parts.values() for parts in inside.values()):
            raise self._wrong(
                way, f"no class has train/ in it, only {listed(inside[first])}: add the images to train on"
            )
        self.classes.loose(top)
        made: dict[str, Classes] = {}
        for part in PARTS:
            of = {
                name: node.folders[each]
                for name, node in filled.items()
                for each, its in inside[name].items()
                if its == part
            }
            if of:
                made[part] = {self.classes.name(name): self.classes.below(node) for name, node in of.items()}
        return made

    # --- what to say where nothing is found ---

    def _table(self, way: str) -> str:
        """Advice on the tables that lie there, the likeliest first; empty without any."""
        tables = [table for table in self.tree.tables if table.startswith(way)]
        if not tables:
            return ""

        def unlikely(table: str) -> tuple[bool, bool, str]:
            return "train" not in table.lower(), not re.search("label|class|meta", table.lower()), table

        likely, *others = sorted(tables, key=unlikely)
        more = f" (or {some(map(printable, others))})" if others else ""
        if not self.root.is_dir():
            return f"if {printable(likely)} has the labels, unpack it all and give that table{more}"
        return f"if {printable(likely)} has the labels, give it: seedwise train {self.root / likely}{more}"

    def _demand_classes(self, classes: Classes, part: Node, way: str) -> None:
        """Raise a UserError, with what may be meant, where the training part has no class folders, or only one."""
        having = [name for name, images in classes.items() if images]
        table = self._table(way)
        if len(having) == 1 and table:
            raise self._wrong(way, f"only the class '{having[0]}' was found in class folders: {table}")
        if having:
            return
        count = sum(1 for _ in part.all_images())
        level = self.config.class_level
        if count and level not in (None, 1):
            raise self._wrong(
                way, f"no images in class folders at data.class_level={level}, but {count} above: lower it"
            )
        outside = f", but {count} outside of them" if count else ""
        looked = f"no images in class folders (looked for <class>/*.jpg, *.png, …){outside}"
        unread = "; ".join(advice({each.reason: each.count for each in self.tree.tally.passed_over()}))
        packed = f"unpack {some(map(printable, self.tree.archives))}, or give one of them" if self.tree.archives else ""
        raise self._wrong(way, f"{looked}: {table or packed or unread or 'add some'}")

    def _wrong(self, way: str, what: str) -> UserError:
        place = self.root / way if way else self.root
        return UserError(f"{printable(str(place))}: {what}")


_NO_CLASS = re.compile(
    r"(images?|imgs?|pics|pictures|photos|unknown|unlabell?ed|all|data|files|jpe?gs?|pngs?)[ _-]*\d*"
)


def _says_no_class(name: str) -> bool:
    """Whether a folder of held-out images has a name that is no class."""
    return bool(_NO_CLASS.fullmatch(name.lower()) or named_part(name))


def _unwrapped(node: Node) -> Node:
    """The folder itself, or the only one inside it."""
    while len(filled := node.filled) == 1 and not node.images:
        (child,) = filled.values()
        if not child.filled or child.images or exact_part(child.name):
            break
        node = child
    return node
