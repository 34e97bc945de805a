"""Write all generated pages."""

from __future__ import annotations

from pathlib import Path

from build_pages import commands, errors, methods, schema, tiers

PAGES = {
    "commands.md": commands.page,
    "errors.md": errors.page,
    "methods.md": methods.page,
    "schema.md": schema.page,
    "tiers.md": tiers.page,
}
"""File -> function that returns its Markdown."""


def write_all(folder: Path) -> None:
    """Write every generated page into ``folder``; an unchanged page keeps its time."""
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        text, path = page(), folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
