"""Lists folders of images, on disk or from an archive's names, with what is passed over."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from seedwise.base.errors import UserError
from seedwise.base.files import LOCK, OUTPUT_MARK, cache_root
from seedwise.data.formats import IMAGE, file_head, kind_of
from seedwise.data.source import Tally, printable
from seedwise.records.run import BAGGING, PREDICTIONS, RECIPE, RECORD, STUDY

SYSTEM_FOLDERS = frozenset(
    (
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "#recycle", "#snapshot", ".snapshot"),
        *("lost+found", "$recycle.bin", "recycler", "system volume information", "found.000", ".trash", ".trashes"),
        *(".snapshots", ".zfs", ".appledouble", ".appledb", ".appledesktop", ".spotlight-v100", ".fseventsd"),
        *(".temporaryitems", ".documentrevisions-v100", ".@__thumb", ".@upload_cache", ".picasaoriginals"),
        *(".thumbnails", ".thumbs", "__macosx", "__pycache__", "node_modules", ".ipynb_checkpoints", ".git", ".svn"),
        *(".hg", ".bzr", ".dvc", ".cache", ".huggingface", ".idea", ".vscode", ".venv", ".tox", ".mypy_cache"),
        *("network trash folder", "temporary items", "~snapshot", "recycled", "lost.dir", "_gsdata_", "wandb"),
        *("mlruns", "lightning_logs", ".tmp.driveupload", ".tmp.drivedownload", ".thumb"),
        *(".ruff_cache", ".pytest_cache", ".sync", ".stfolder", ".stversions", ".dropbox", ".dropbox.cache"),
    )
)
"""Names of folders that systems and programs leave beside people's files, in lower case."""

OUTPUT_FILES = (LOCK, OUTPUT_MARK, STUDY, BAGGING)
"""Files that mark a folder as our own output; so does a record beside a recipe or predictions."""
TABLE_SUFFIXES = (".csv", ".tsv")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""Archives that are read."""
MAX_DEPTH = 100


@dataclass
class Node:
    """A folder: its images and folders. `images`: names from the root on, "a/b/1.jpg", in order."""

    name: str
    images: list[str] = field(default_factory=list)
    folders: dict[str, "Node"] = field(default_factory=dict)

    @property
    def filled(self) -> dict[str, "Node"]:
        """The folders with images somewhere below, by name."""
        return {name: self.folders[name] for name in sorted(self.folders) if self.folders[name].has_images}

    @property
    def has_images(self) -> bool:
        """Whether an image lies in the folder or below."""
        return bool(self.images) or any(folder.has_images for folder in self.folders.values())

    def all_images(self) -> Iterator[str]:
        """Yield its images and those of all folders below."""
        yield from self.images
        for name in sorted(self.folders):
            yield from self.folders[name].all_images()


@dataclass
class Tree:
    """A listing of everything below a folder. `tables`: CSV files, by their name from the root on, which the tally
    leaves out; `archives` likewise, which it counts."""

    root: Node = field(default_factory=lambda: Node(""))
    tables: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def hidden(self, name: str) -> None:
        """Note a hidden file; a cloud's placeholder is an image that is missing here."""
        self.tally.add("files", "not downloaded" if name.endswith(".icloud") else "hidden", name)

    def add(self, folder: Node, name: str, read_head: Callable[[], bytes]) -> None:
        """Add a file that isn't hidden to its folder: as an image, a table, or as passed over."""
        reason = kind_of(name.rpartition("/")[2], read_head)
        if reason == IMAGE:
            folder.images.append(name)
            return
        if name.lower().endswith(TABLE_SUFFIXES):
            self.tables.append(name)
            return
        if name.lower().endswith((*ARCHIVE_SUFFIXES, ".7z", ".rar")):
            self.archives.append(name)
            reason = "an archive"
        self.tally.add("files", reason, name)


def is_system(name: str) -> bool:
    """Whether a folder is a system's or a program's own, never somebody's photos."""
    return name.lower() in SYSTEM_FOLDERS or name.lower().startswith(".trash-")


def is_hidden(name: str) -> bool:
    """Whether a folder or file is a system's own or hidden."""
    return is_hidden_file(name) or is_system(name)


def is_hidden_file(name: str) -> bool:
    """Whether a file is hidden: .DS_Store, ._photo.jpg."""
    return name.startswith(".")


@contextmanager
def entries(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Entries of a folder as they come, since a class folder may have a million; a UserError if it can't be listed."""
    try:
        with os.scandir(folder) as found:
            yield found
    except OSError as error:
        raise _not_listed(folder, error) from error


def names_in(folder: Path) -> list[str]:
    """Names in a folder, sorted, without hidden ones."""
    with entries(folder) as found:
        return sorted(entry.name for entry in found if not is_hidden(entry.name))


def folders_in(folder: Path) -> list[Path]:
    """Folders in a folder, sorted, without hidden ones."""
    with entries(folder) as found:
        return sorted(folder / entry.name for entry in found if not is_hidden(entry.name) and _is_folder(entry))


def _not_listed(folder: object, error: OSError) -> UserError:
    return UserError(f"{folder}: cannot be listed ({error.strerror}): check its permissions")


def list_folder(root: Path, note: Callable[[OSError], None] | None = None) -> Tree:
    """List everything below a folder; follows links except in circles, and passes over seedwise's own output.

    `note` is told of folders that can't be listed; without it they are a UserError.
    """

    def refuse(error: OSError) -> None:
        raise _not_listed(error.filename, error) from error

    tree = Tree()
    _Walk(tree, note or refuse).into(tree.root, str(root), "", ())
    return tree


@dataclass
class _Walk:
    tree: Tree
    note: Callable[[OSError], None]
    cache: str = field(default_factory=lambda: os.path.realpath(cache_root()))

    def into(self, node: Node, path: str, prefix: str, above: tuple[tuple[int, int], ...]) -> None:
        """Fill the node of the folder at `path`; `above`: device and inode of the folders on the way."""
        try:
            with os.scandir(path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            status = os.stat(path)  # noqa: PTH116 -- paths stay strings: 100,000 Path objects take a second
        except OSError as error:
            self.note(error)
            return
        way = (*above, (status.st_dev, status.st_ino))
        if len(way) > MAX_DEPTH:
            raise UserError(f"{printable(path)}: lies {MAX_DEPTH} folders deep: give the folder that holds the classes")
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if is_hidden_file(entry.name) and not _is_folder(entry):
                self.tree.hidden(name)
            elif not _is_folder(entry):
                self.tree.add(node, name, partial(file_head, entry.path))
            elif self.wanted(entry, name, way):
                child = node.folders[entry.name] = Node(entry.name)
                self.into(child, entry.path, f"{name}/", way)
                if _is_only_output(entry.path, child):
                    del node.folders[entry.name]
                    self.tree.tally.add("folders", "seedwise's output", name)

    def wanted(self, entry: "os.DirEntry[str]", name: str, way: tuple[tuple[int, int], ...]) -> bool:
        """Whether to descend into a folder; counts those passed over."""
        if is_system(entry.name):
            self.tree.tally.add("folders", entry.name, name)
            return False
        status = entry.stat()
        if (status.st_dev, status.st_ino) in way:
            self.tree.tally.add("folders", "link to a folder above", name)
            return False
        if _is_output(entry.path) or os.path.realpath(entry.path) == self.cache:
            self.tree.tally.add("folders", "seedwise's output", name)
            return False
        return True


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry leads to a folder; a link to itself leads nowhere."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_output(path: str) -> bool:
    """Whether seedwise wrote a folder: a run, a study, an ensemble, pictures."""

    def has(name: str) -> bool:
        return os.path.exists(f"{path}/{name}")  # noqa: PTH110

    return any(map(has, OUTPUT_FILES)) or (has(RECORD) and (has(RECIPE) or has(PREDICTIONS)))


def _is_only_output(path: str, node: Node) -> bool:
    """Whether a folder holds only folders that were passed over as output, as `runs/` does."""
    if node.images or node.folders:
        return False
    try:
        with os.scandir(path) as found:
            inside = [entry.path for entry in found if not is_hidden_file(entry.name)]
    except OSError:
        return False
    return bool(inside) and all(os.path.isdir(each) and _is_output(each) for each in inside)  # noqa: PTH112


def tree_of_names(names: Iterable[tuple[str, Callable[[], bytes]]]) -> Tree:
    """List an archive's members: (name, how to read its first bytes). A UserError for too many nested folders."""
    tree = Tree()
    for name, read_head in names:
        *folders, file = name.split("/")
        if len(folders) > MAX_DEPTH:
            raise UserError(f"{printable(name)[:80]}…: lies {MAX_DEPTH} folders deep: pack the folder of the classes")
        if (system := next((folder for folder in folders if is_system(folder)), None)) is not None:
            tree.tally.add("files", f"in {system}", name)
            continue
        if is_hidden_file(file):
            tree.hidden(name)
        else:
            tree.add(_node(tree.root, folders), name, read_head)
    return tree


def _node(root: Node, folders: list[str]) -> Node:
    for folder in folders:
        if folder not in root.folders:
            root.folders[folder] = Node(folder)
        root = root.folders[folder]
    return root
