"""A fault made by hand: one slip of the pen in src, and the tests that have to notice it."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = Path("src/seedwise")


@dataclass(frozen=True)
class Fault:
    """A text of a file, what it is replaced by, and what must fail then."""

    name: str
    file: str
    """Below src/seedwise."""
    old: str
    """Occurs there once."""
    new: str
    tests: str
    """Arguments of pytest, below tests/: files, or single tests of slow files."""

    def text(self) -> str:
        """The whole file with the fault in it; a ValueError when the old text isn't there exactly once."""
        right = (ROOT / SOURCE / self.file).read_text(encoding="utf-8")
        if right.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.file} has {right.count(self.old)} times {self.old!r}")
        return right.replace(self.old, self.new)
