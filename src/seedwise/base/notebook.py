"""Results in a notebook: rows as an HTML table, every name escaped."""

from collections.abc import Mapping, Sequence
from typing import Any


class Listing(list[dict[str, Any]]):
    """A list of rows, such as the recipes, that a notebook shows as a table."""

    def table(self) -> list[dict[str, Any]]:
        """The rows, ready for `pandas.DataFrame`."""
        return list(self)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The rows as a dict, keyed by the first column."""
        return {str(next(iter(row.values()))): row for row in self}

    def _repr_html_(self) -> str:
        return html_table(self.table())


def html_table(rows: Sequence[Mapping[str, Any]], title: str = "", lines: Sequence[str] = ()) -> str:
    """An HTML table of rows with the same columns, below a title and above lines of text.

    Fractions have four digits, None none; a column without any value is left out.
    """
    parts = [f"<p><b>{escaped(title)}</b></p>"] if title else []
    if rows:
        columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
        head = "".join(f"<th>{escaped(name)}</th>" for name in columns)
        cells = ("".join(f"<td>{_cell(row[name])}</td>" for name in columns) for row in rows)
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    return "\n".join([*parts, *(f"<p>{escaped(line)}</p>" for line in lines)])


def escaped(text: Any) -> str:
    """Text escaped for HTML, whatever a folder or a class is called: bytes that are no text become `?`."""
    from html import escape  # for which a start of the command line need not wait

    return escape(str(text)).encode(errors="replace").decode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else escaped(value)
