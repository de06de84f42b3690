"""The command line: parses, calls, prints."""

import codecs
import errno
import io
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from seedwise.base.distribution import distribution
from seedwise.base.errors import Interrupted, UserError
from seedwise.base.machine import prepare_process

BEGAN = time.monotonic()
"""`time.monotonic()` at the program's start, after Python's own."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_RAW_BYTES = re.compile("[\udc80-\udcff]+")
"""Characters by which Python represents bytes of a name that are no text."""
_ESCAPING = "seedwise.escaping"
_TRAINING = {"torch", "torchvision", "timm", "safetensors", "huggingface_hub"}
"""What seedwise-stats does without."""
_ALWAYS = {
    **dict.fromkeys(("filelock", "jinja2", "numpy", "platformdirs", "pydantic", "rich", "scipy", "typer")),
    **{"PIL": "pillow", "markupsafe": "jinja2", "pydantic_core": "pydantic", "yaml": "pyyaml"},
}
"""Modules that all need, and their packages where these are called otherwise."""
_ADVICE = {
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOSPC: "free some space",
    errno.EACCES: "check its permissions",
    errno.EROFS: "give a place that can be written",
}


def main() -> None:
    """Run the command line; a UserError is printed in a line with exit code 2, a stop exits with 130."""
    global BEGAN  # noqa: PLW0603 -- one process may run several commands, as the tests do
    BEGAN = time.monotonic()
    prepare_process()
    _show_any_name()
    try:
        if sys.argv[1:2] != ["doctor"]:  # which says it among its findings
            _demand_folder()
        from seedwise.cli.app import run

        code = run()
        if sys.stdout is not None:  # closed by `>&-`
            sys.stdout.flush()
    except UserError as error:
        code = _say(error.lines, error.exit_code)
    except Interrupted as error:
        code = _say([str(error)], error.exit_code)
    except KeyboardInterrupt:
        code = _say(["stopped"], Interrupted.exit_code)
    except BrokenPipeError:  # `| head` has seen enough; what is left in the buffer must not be written at exit
        sys.stdout = None
        code = 141
    except ModuleNotFoundError as error:
        if (said := _missing(error.name or "")) is None:
            raise
        code = _say([said], UserError.exit_code)
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        said = f"torchvision doesn't fit torch ({error}); install both anew, from one index"  # the CPU's and the GPU's
        code = _say([said], UserError.exit_code)
    except OSError as error:  # the disk's or the terminal's fault, not the program's
        advice = f"; {_ADVICE[error.errno]}" if error.filename and error.errno in _ADVICE else ""
        code = _say([f"{error.filename or 'output'}: {error.strerror or error}{advice}"], UserError.exit_code)
    sys.exit(code)


def _missing(module: str) -> str | None:
    """What to install for a module that is not there; None for one that seedwise doesn't bring."""
    name, top = distribution()[0], module.partition(".")[0]
    if top in _TRAINING:
        install = name if name == "seedwise" else f'"{name}[train]"'
    elif top in _ALWAYS:
        install = _ALWAYS[top] or top
    else:
        return None
    verb = sys.argv[1] if len(sys.argv) > 1 else "seedwise"
    return f"{verb}: needs {top}, which is not installed here; pip install {install} brings it"


def _demand_folder() -> None:
    """Raise a UserError in a deleted working folder: libraries that look for files from there end the process."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("this folder was deleted meanwhile; cd to another one") from None


def _show_any_name() -> None:
    """Make stdout and stderr print any name, on any terminal and in any pipe; Python alone would fail at some.

    What an encoding lacks is escaped as in JSON, so that `--json` stays JSON. Names of files that aren't text go to
    stdout as the bytes that they are, for other programs to find, and are readable in messages. Who named a way of
    their own (PYTHONIOENCODING=ascii:replace) keeps it.
    """
    codecs.register_error(_ESCAPING, _escape)
    for stream, errors in ((sys.stdout, _ESCAPING), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors=errors)


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encoding error handler: escapes the characters that can't be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    rest = error.object[error.start : error.end]
    if raw := _RAW_BYTES.match(rest):
        return raw[0].encode("ascii", "surrogateescape"), error.start + raw.end()
    raw = _RAW_BYTES.search(rest)
    escaped = rest[: raw.start()] if raw else rest
    return json.dumps(escaped)[1:-1], error.start + len(escaped)


def _say(lines: Sequence[str], code: int) -> int:
    for line in lines:  # a name may hold anything but a slash and a zero
        print(_CONTROL.sub(lambda match: repr(match[0])[1:-1], line), file=sys.stderr)
    return code
