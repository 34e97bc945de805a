"""Site of the records of this machine: the pages of the leaderboard for tables that nobody has published."""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.analysis.attachment_columns import Attached
from benchmarks.analysis.run_page import run_page
from benchmarks.analysis.table import Table
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.leaderboard.site import pages
from benchmarks.leaderboard.site.run_files import RUNS_A_FILE, RunFile
from benchmarks.leaderboard.tables import identity_of
from benchmarks.report import figure_texts
from benchmarks.report.files import title_of

ATTEMPTS = 20
"""Attempts to replace a site while other commands replace it too."""


@dataclass(frozen=True)
class ShownTable:
    """A group of comparable runs with its table and plots."""

    runs: Sequence[RunSummary]
    table: Table
    images: Mapping[str, bytes]
    """``pareto.svg``... -> image."""


def write_site(
    folder: Path, runs: Sequence[RunSummary], comparisons: Sequence[ShownTable], records_root: str
) -> Path:
    """Write the site of some comparisons in one step; an earlier one is replaced as a whole.

    Args:
        folder: of the site.
        runs: all runs with their records, each at its ``place``.
        comparisons: of these runs.
        records_root: folder of the records, as commands name it.

    Returns:
        Path of the first page.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        new = Path(scratch) / "new"
        for first in range(0, len(runs), RUNS_A_FILE):
            file = RunFile(new, first)
            for run in runs[first : first + RUNS_A_FILE]:
                assert run.record is not None, "a local board keeps its records"
                file.add(run_page(run, run.record, Attached(), records_root))
            file.write()
        pages.write_pages(new, [_write_table(new, part) for part in comparisons], len(runs), [])
        for attempt in itertools.count():
            with suppress(FileNotFoundError):
                os.replace(folder, Path(scratch) / f"old-{attempt}")
            try:
                os.replace(new, folder)
                break
            except OSError as error:  # another command was faster, and its site is replaced next
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or attempt >= ATTEMPTS:
                    raise
    return folder / "index.html"


def _write_table(folder: Path, part: ShownTable) -> pages.SiteTable:
    identity = identity_of(part.runs)
    pictures = {
        name: (part.images[f"{name}.svg"], figure_texts.alternative(name, part.table))
        for name in pages.PICTURES
        if f"{name}.svg" in part.images
    }
    slug = "-".join(part.table.shared[k] for k in ("task", "tier", "profile"))
    return pages.write_table(folder, part.table, identity, title_of(part.table), slug, pictures)
