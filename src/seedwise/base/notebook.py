"""Results as a notebook shows them: rows as an HTML table, every name escaped."""

from collections.abc import Mapping, Sequence
from typing import Any


class Listing(list[dict[str, Any]]):
    """Rows that a notebook shows as a table, such as the recipes."""

    def table(self) -> list[dict[str, Any]]:
        """The rows, ready for `pandas.DataFrame`."""
        return list(self)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The rows by their first column."""
        return {str(next(iter(row.values()))): row for row in self}

    def _repr_html_(self) -> str:
        return html_table(self.table())


def html_table(rows: Sequence[Mapping[str, Any]], title: str = "", lines: Sequence[str] = ()) -> str:
    """A title, a table of rows with the same columns, and lines below it. Fractions have four digits, None none.

    A column without any value is left out.
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
    """Text that HTML can hold, whatever a folder or a class is called: bytes that are no text become `?`."""
    from html import escape  # for which a start of the command line need not wait

    return escape(str(text)).encode(errors="replace").decode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else escaped(value)
