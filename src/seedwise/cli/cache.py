"""`seedwise cache`: lists and removes decoded data, downloads and kernels."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from seedwise.base.errors import UserError
from seedwise.cli.options import Json
from seedwise.cli.output import print_json

if TYPE_CHECKING:
    from seedwise.base.cache_contents import Stowed

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def cache_alone(context: typer.Context) -> None:
    """Show and clear the cache: decoded images, downloads, kernels. `seedwise cache` alone shows it.

    All in it is made again when it is needed; no run, study or report lies there.
    """
    if context.invoked_subcommand is None:
        ls()


@app.command(short_help="List what is in the cache: data sets, downloads, kernels.")
def ls(as_json: Json = False) -> None:
    """List what is in the cache: data sets with their source, size and last use, downloads, kernels, audits.

    Example: `seedwise cache ls`
    """
    from seedwise.base.cache_contents import stowed
    from seedwise.base.files import cache_root

    found = stowed()
    if as_json:
        rows = [
            {"name": it.name, "kind": it.kind, "source": it.source, "bytes": it.bytes, "last_use": _day(it.used)}
            for it in found
        ]
        print_json({"folder": str(cache_root()), "entries": rows})
        return
    width = max((len(it.name) for it in found), default=0)
    for it in found:
        print(f"{size(it.bytes):>8}  {_day(it.used)}  {it.name:<{width}}  {it.source}")
    print(f"{size(sum(it.bytes for it in found)):>8}  in {cache_root()}")


@app.command(short_help="Remove data sets or all from the cache.")
def clear(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME|DATA...", help="As `seedwise cache ls` names it, or the data's path."),
    ] = None,
    data: Annotated[bool, typer.Option("--data", help="All decoded data sets.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All that the cache holds.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Remove one data set, all of them, or all from the cache; it is decoded, fetched or compiled again when needed.

    Safe while runs use it: what they have open stays theirs, and what a process is just making is left.

    Examples:

        seedwise cache clear ./photos

        seedwise cache clear --data --yes
    """
    from seedwise.base.cache_contents import clear as remove
    from seedwise.base.cache_contents import named, stowed

    if (given := [bool(names), data, everything].count(True)) != 1:
        raise UserError(f"cache clear: give {'one of ' if given else ''}NAME, --data or --all")
    found = [it for it in stowed() if everything or it.kind == "data"] if not names else list(map(named, names))
    _demand_yes(found, yes)
    freed, busy = 0, []
    for it in found:
        try:
            freed += remove(it)
        except UserError as error:
            busy.append(str(error))
    print(f"freed {size(freed)}")
    if busy:
        raise UserError("; ".join(busy))


def _demand_yes(found: "list[Stowed]", yes: bool) -> None:
    """Ask a person to confirm; a script must give --yes."""
    if yes or not found:
        return
    what = f"{', '.join(it.name for it in found)} ({size(sum(it.bytes for it in found))})"
    if not (sys.stdin and sys.stdin.isatty()):
        raise UserError(f"cache clear: would remove {what}; add --yes")
    if not typer.confirm(f"remove {what}?", err=True):
        raise typer.Exit(1)


def size(count: int) -> str:
    """A size in bytes in words: `512 B`, `1.2 MB`, `3.4 GB`."""
    number, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
