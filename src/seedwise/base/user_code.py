"""Finds a user's own code by import path, and says in one line how it failed."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from seedwise.base.errors import UserError, first_sentence
from seedwise.base.files import sha256_of


def _import_path(given: str) -> str:
    """Raise ValueError for text that can't be an import path; whether it exists shows when it is used."""
    module, colon, attribute = given.partition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        return given
    head, _, tail = given.rpartition(".")
    hint = f"did you mean '{head}:{tail}'?" if head and not colon else "for example my_pkg.code:name"
    raise ValueError(f"'{given}' is no import path; write module:callable, {hint}")


ImportPath = Annotated[str, AfterValidator(_import_path)]
"""A string `module:callable`."""


def find(option: str, path: str) -> Callable[..., Any]:
    """Import the callable at `module:callable`; the current folder is searched first, as `python -m` does.

    `option`: the option that names it, `model.factory`, for messages. A UserError where the import fails.
    """
    name, _, attributes = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    if name not in sys.modules:
        importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise fails(option, path, f"importing {name} raised", error) from error
        raise UserError(
            f"{option} {path}: there is no module '{error.name}' in {here} or on the Python path; start "
            "seedwise in the folder that holds it, or set PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:
        raise fails(option, path, f"importing {name} raised", error) from error
    for part in attributes.split("."):
        if not hasattr(found, part):
            close = get_close_matches(part, [own for own in vars(found) if not own.startswith("_")], n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"see {getattr(found, '__file__', name)}"
            raise UserError(f"{option} {path}: {name} has no '{part}'; {hint}")
        found = getattr(found, part)
    if not callable(found):
        raise UserError(f"{option} {path}: is {type(found).__name__}, which can't be called; name a function")
    made: Callable[..., Any] = found
    return made


def source(code: Callable[..., Any]) -> str:
    """The file in which a callable is defined, and that file's hash, for records."""
    try:
        file = Path(inspect.getfile(inspect.unwrap(code)))
        return f"{file.name} sha256 {sha256_of(file)}"
    except (TypeError, OSError):
        return "source unknown"


def fails(option: str, path: str, what: str, error: BaseException) -> UserError:
    """A UserError in one line with the user's own exception and where in their code it arose."""
    torch = getattr(sys.modules.get("torch"), "__file__", None)
    others = (str(Path(__file__).parents[1]), "<frozen", *([str(Path(torch).parent)] if torch else []))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(others)]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return UserError(f"{option} {path}: {what} {type(error).__name__}: {first_sentence(error)}{where}")
