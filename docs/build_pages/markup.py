"""Markdown of generated pages: tables, code, escaped text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def text(value: object) -> str:
    """Return text for a cell or paragraph; what Markdown or HTML would read as markup is escaped."""
    escaped = str(value).replace("\\", "\\\\")
    for sign in "|<>*_[]`$#{}":
        escaped = escaped.replace(sign, "\\" + sign)
    return " ".join(escaped.split())


def code(value: object) -> str:
    """Return one line of code in backticks; empty for an empty value."""
    line = " ".join(str(value).split()).replace("|", "\\|")
    if not line:
        return ""
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose cells are Markdown already."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return ["| " + " | ".join(columns) + " |", "|" + " :-- |" * len(columns), *lines, ""]
