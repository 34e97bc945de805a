"""Digests of sources, kept between commands in one JSON file of the cache folder.

Each entry is under the sha256 of the source that it was computed from, so that a changed file has another.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks import identity
from benchmarks.records.folders import cache_folder

LARGEST = 4096
"""Number of entries above which those that this command did not compute are dropped."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def memo_file() -> Path:
    """Return the file of this Python and of this version of the digests' rules."""
    rules = hashlib.sha256(Path(identity.__file__).read_bytes()).hexdigest()[:16]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cache_folder() / f"source-digests-{python}-{rules}.json"


@contextmanager
def kept() -> Iterator[None]:
    """Fill ``identity.MEMO`` from the file, and write the file anew if entries were added.

    A file that cannot be read or written costs time and nothing else.
    """
    file = memo_file()
    stored = _read(file)
    before = set(identity.MEMO) | set(stored)
    identity.MEMO.update(stored)
    try:
        yield
    finally:
        if added := identity.MEMO.keys() - before:
            few = len(identity.MEMO) <= LARGEST
            _write(file, identity.MEMO if few else {key: identity.MEMO[key] for key in added})


def _read(file: Path) -> dict[str, object]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    entries = content.items() if isinstance(content, dict) else ()
    return {key: value for key, value in entries if _SHA256.fullmatch(key) and _is_result(value)}


def _is_result(value: object) -> bool:
    """Return whether a value may be a digest, the lack of one, or a list of modules."""
    if isinstance(value, list):
        return all(isinstance(name, str) for name in value)
    return value is None or (isinstance(value, str) and _SHA256.fullmatch(value) is not None)


def _write(file: Path, entries: dict[str, object]) -> None:
    from benchmarks.records.store import write_text

    with suppress(OSError):
        write_text(file, json.dumps(entries))
