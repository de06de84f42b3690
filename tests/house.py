"""What no linter of ours checks: sizes of files and functions, one class for each name, and few rooms at the root.

python tests/house.py        # part of `make check`
"""

import ast
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINES, FUNCTION_LINES, ENTRIES = 400, 60, 22


def faults() -> list[str]:
    """Everything that is against the rules of CONTRIBUTING.md, a line each."""
    found: list[str] = []
    homes: dict[str, list[str]] = defaultdict(list)
    for folder in ("src", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text, place = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
            if (lines := text.count("\n")) > LINES:
                found.append(f"{place}: {lines} lines; {LINES} are enough")
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    length = (node.end_lineno or node.lineno) - node.lineno + 1
                    if length > FUNCTION_LINES:
                        found.append(
                            f"{place}:{node.lineno}: {node.name} has {length} lines; {FUNCTION_LINES} are enough"
                        )
                if isinstance(node, ast.ClassDef) and folder == "src":
                    homes[node.name].append(f"{place}:{node.lineno}")
    found += [
        f"{places[0]}: a second class {name} in {', '.join(places[1:])}" for name, places in homes.items() if places[1:]
    ]
    rooms = [path.name for path in (ROOT / "src/seedwise").iterdir() if path.name != "__pycache__"]
    if len(rooms) > ENTRIES:
        found.append(f"src/seedwise: {len(rooms)} entries; {ENTRIES} are enough")
    return found


if __name__ == "__main__":
    for fault in (all_faults := faults()):
        print(fault)
    sys.exit(bool(all_faults))
