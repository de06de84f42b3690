"""What a new user waits for: the first text, the first optimizer step, the whole run, and what the dry run promised.

    python benchmarks/first_minute.py DATA        # with an empty cache, as after an installation

Both commands run on a terminal of 80 columns; a mistyped path is timed, too. docs/commands.md shows the output.
"""

import argparse
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def main() -> None:
    """Time both commands, each with a cache of its own."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("data", type=Path)
    data = str(made.parse_args().data.resolve())
    with tempfile.TemporaryDirectory() as folder:
        promised = " ".join(seen := [text for _, text in lines_of(["train", data, "--dry-run"], folder, "dry")])
        print("dry run: ", next(line for line in "\n".join(seen).split("\n") if "# time:" in line).strip())
        said = lines_of(["train", data, "-o", "run"], folder, "first")
        total = re.search(r"# steps:\s+(\d+)", promised)
        step = re.compile(rf"\b[1-9]\d*/{total[1] if total else ''}\b.*epoch")
        print(f"first text         {said[0][0]:6.1f} s")
        print(f"first step shown   {next(at for at, text in said if step.search(text)):6.1f} s")
        print(f"all of it          {said[-1][0]:6.1f} s")
        wrong = lines_of(["train", data[:-1]], folder, "first")
        print(f"a mistyped path    {wrong[-1][0]:6.1f} s  {wrong[-1][1].strip()[-60:]}")


def lines_of(words: list[str], folder: str, cache: str) -> list[tuple[float, str]]:
    """What a command writes to its terminal, and after how many seconds; the last is its end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = os.environ | {"SEEDWISE_CACHE": f"{folder}/{cache}"}
    began = time.monotonic()
    command = [sys.executable, "-m", "seedwise", *words]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment)
    os.close(theirs)
    found: list[tuple[float, str]] = []
    while written := _read(ours):
        found.append((time.monotonic() - began, CODES.sub("", written.decode(errors="replace"))))
    process.wait()
    return [*found, (time.monotonic() - began, found[-1][1])]


def _read(terminal: int) -> bytes:
    """What there is; nothing once the command has ended."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux says so when the other end is closed
        return b""


if __name__ == "__main__":
    main()
