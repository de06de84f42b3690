"""Every line of seedwise that writes, found in its source: what must be met by a full disk at least once."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hooks import SOURCE, Place

WRITERS = {
    *("mkstemp", "mkdir", "make_folder", "make_new_folder", "atomic_path", "rename", "unlink", "rmdir", "rmtree"),
    *("fsync", "touch", "chmod", "save", "save_file", "savefig", "savez", "extractall", "FileHandler", "writelines"),
    *(
        "truncate",
        "sole_writer",
        "alone",
        "discard",
        "logging_to",
        "symlink_to",
        "hardlink_to",
        "ftruncate",
        "copyfile",
    ),
    *("copytree", "move", "tofile", "write", "mkdtemp", "copy2", "flush", "append_evaluation", "keep", "receive"),
    "unpack",
}
"""Names of functions that write, whoever's they are; beside them whatever is called write_… or _write…."""
NO_FILE = {
    *("write_inline", "write_error", "_write_label", "_write_caption"),
    *(
        "config.py write",
        "augment/cutmix.py alone",
        "engine/step.py alone",
        "run/report_images.py save",
        "base/files.py _made.discard",
    ),
    *("reports/audit_page.py save", "study/execute.py write"),
}
"""Those of seedwise that bear such a name and write no file: they make text, draw, compute or fill memory."""


@dataclass(frozen=True)
class Site:
    """A call that writes."""

    file: str
    first: int
    last: int
    """Its lines."""
    name: str

    def has(self, places: set[Place]) -> bool:
        """Whether one of these lines is its."""
        return any(file == self.file and self.first <= line <= self.last for file, line in places)

    def __str__(self) -> str:
        return f"{self.file}:{self.first} {self.name}"


def sites(source: Path = Path(SOURCE)) -> list[Site]:
    """All of them, in order."""
    found = []
    for path in sorted(source.rglob("*.py")):
        file = path.relative_to(source).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (name := _writes(node)) and not _of_no_file(file, name, node):
                found.append(Site(file, node.lineno, node.end_lineno or node.lineno, name))
    return sorted(found, key=lambda site: (site.file, site.first, site.name))


def _writes(call: ast.Call) -> str | None:
    """The called function's name, if it writes."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
    if name == "open":
        return name if any(_is_mode(text) for text in _texts(call)) or "O_CREAT" in ast.unparse(call) else None
    if name == "replace":  # a path's has one argument, a text's two
        return name if owner and len(call.args) == 1 and not call.keywords else None
    if name == "dump":
        return name if owner == "json" else None
    if name in ("write", "flush") and owner in ("sys.stdout", "sys.stderr"):
        return None
    return name if name in WRITERS or name.startswith(("write_", "_write")) else None


def _of_no_file(file: str, name: str, call: ast.Call) -> bool:
    return bool({name, f"{file} {name}", f"{file} {ast.unparse(call.func)}"} & NO_FILE)


def _texts(call: ast.Call) -> Iterator[str]:
    for argument in (*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")):
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value


def _is_mode(text: str) -> bool:
    return set(text) <= set("rwxabt+") and bool(set(text) & set("wxa+"))
