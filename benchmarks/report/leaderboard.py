"""The leaderboard, rebuilt from ``results/records`` alone: the same bytes every time.

Records are apart by task, tier, profile, allowance, settings and data; a table never mixes them.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from benchmarks import records as store
from benchmarks.api import UsageError
from benchmarks.records import Record, write_text

SCHEMA = "supernet-bench/leaderboard/1"
COMMAND = "supernet-bench leaderboard"
JSON, PAGE, CLAIMS = "leaderboard.json", "LEADERBOARD.md", "CLAIMS.md"
_PLOT = re.compile(r"plots/[A-Za-z0-9._-]+\.(svg|png)")

_HEAD = f"""# Leaderboard

Generated from `records/` by `{COMMAND}`; do not edit. Each table holds runs with equal allowances on
the same declared hardware and data; figures from different tables are not comparable.
"""
_EMPTY = """
There are no result records yet. Make one with `supernet-bench run mt`, then add its file under `records/`.
"""


def _contents(results_dir: Path) -> dict[str, bytes]:
    """Every generated file, by its path under the results folder."""
    from benchmarks import claims
    from benchmarks.report import formats, plots, rows, tables, verdicts

    found = store.load_all(results_dir / "records")
    files: dict[str, bytes] = {}
    boards: list[dict[str, Any]] = []
    parts = [_HEAD if found else _HEAD + _EMPTY]
    for group, mark in _named(rows.groups(found)):
        table = tables.build(group)
        shared = table.shared
        title = f"{shared['task']}, {shared['tier']}, {shared['profile']}" + (f" ({mark})" if mark else "")
        slug = "-".join([shared["task"], shared["tier"], shared["profile"], *([mark] if mark else [])])
        drawn = {f"plots/{slug}-{file}": data for file, data in plots.images(group, table).items()}
        files |= drawn
        parts.append(formats.markdown(table, title, level=2))
        parts += [f"![{_alt(file)}]({file})\n" for file in sorted(drawn) if file.endswith(".svg")]
        boards.append({"title": title, **formats.as_json(table), "records": [_entry(r) for r in group]})
    board = {
        "schema": SCHEMA,
        "version": rows.results_version(),
        "records": len(found),
        "groups": boards,
        "files": sorted([JSON, PAGE, CLAIMS, *files]),
    }
    files[JSON] = formats.json_text(board).encode()
    files[PAGE] = "\n".join(parts).encode()
    files[CLAIMS] = verdicts.markdown(claims.judge(found)).encode()
    return files


def _named(groups: list[list[Record]]) -> list[tuple[list[Record], str]]:
    """Each group with a mark: empty for the largest of a task, tier and profile, so that a later group
    with another allowance takes no one's file names."""
    from benchmarks.report import rows

    found: list[tuple[list[Record], str]] = []
    for group in groups:
        facts = rows.facts(group[0])
        place = [facts[k] for k in ("task", "tier", "profile")]
        rivals = [g for g in groups if [rows.facts(g[0])[k] for k in ("task", "tier", "profile")] == place]
        mark = "" if group is max(rivals, key=len) else hashlib.sha256(store.canonical(facts)).hexdigest()[:6]
        found.append((group, mark))
    return found


def _alt(file: str) -> str:
    return file.removeprefix("plots/").removesuffix(".svg")


def _entry(record: Record) -> dict[str, str]:
    return {"path": store.relative_path(record).as_posix(), "digest": record["digest"]}


def build(results_dir: Path) -> dict[str, Path]:
    """Write ``leaderboard.json``, ``LEADERBOARD.md``, ``CLAIMS.md`` and ``plots/`` next to ``records/``.

    Plots that an earlier build made and this one does not are removed; nothing else is.

    Returns:
        Path under the results folder -> full path.

    Raises:
        InvalidRecord: a record file is not valid; nothing is written.
    """
    root = Path(results_dir)
    files = _contents(root)
    stale = _made_before(root) - set(files)
    for name, data in files.items():
        if _read(root / name) != data:
            write_text(root / name, data)
    for name in stale:
        (root / name).unlink(missing_ok=True)
    return {name: root / name for name in files}


def _made_before(root: Path) -> set[str]:
    """The plots that the leaderboard now in place lists as its own; hostile names are ignored."""
    try:
        listed = json.loads((root / JSON).read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in listed if isinstance(name, str) and _PLOT.fullmatch(name)}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def check(results_dir: Path) -> list[str]:
    """The generated files that are missing, out of date or left over; empty when all is current.

    Plots drawn by another matplotlib release have other bytes: then only that they exist is checked.
    """
    root = Path(results_dir)
    files = _contents(root)
    differing = sorted(_made_before(root) - set(files))
    for name, data in files.items():
        there = _read(root / name)
        if there is None or (there != data and not (_PLOT.fullmatch(name) and _other_release(there, data))):
            differing.append(name)
    return sorted(differing)


def _other_release(ours: bytes, theirs: bytes) -> bool:
    pattern = re.compile(rb"Matplotlib v(?:ersion)?([0-9][0-9.a-z+]*)")
    found = [pattern.search(data) for data in (ours, theirs)]
    return all(found) and found[0].group(1) != found[1].group(1)  # type: ignore[union-attr]


def require_current(results_dir: Path) -> None:
    """Raise UsageError, naming the files and the command, where the leaderboard is out of date."""
    differing = check(results_dir)
    if differing:
        listed = "\n".join(f"  {name}" for name in differing[:20])
        more = f"\n  ... and {len(differing) - 20} more" if len(differing) > 20 else ""
        raise UsageError(
            f"the leaderboard does not follow from the records; differing:\n{listed}{more}\n"
            f"rebuild it: {COMMAND}"
        )
