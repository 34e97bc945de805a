"""Links to files of the repository that are no pages: they work in the repository, and as downloads here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\[([^\]\n]+)\]\((\.\./[^)#\s]+)\)")


def adapt(app: Any, name: str, source: list[str]) -> None:
    """Turn links to files outside the pages into downloads, and links to folders into their names."""
    here = Path(app.env.doc2path(name)).parent

    def replaced(match: re.Match[str]) -> str:
        target = (here / match[2]).resolve()
        if target.is_relative_to(app.srcdir):
            return match[0]
        if target.is_dir():
            return match[1]
        return f"{{download}}`{match[1].strip('`')} <{match[2]}>`"

    source[0] = LINK.sub(replaced, source[0])
