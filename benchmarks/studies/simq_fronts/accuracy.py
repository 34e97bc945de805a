"""Study of fronts again, searched for accuracy instead of loss, as the paper's searches are.

Added after the fronts of losses had been seen: the largest Vision Transformer has the higher accuracy and
the higher loss, so a search for loss excludes the networks that this question is about. The rule is the
same, with the share of wrong items on the search's data in the place of the loss.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.records.study_files import StudyOutcome
from benchmarks.studies.simq_fronts import study
from benchmarks.studies.simq_fronts.rejudge import rejudge as rejudge
from benchmarks.tasks.datasets import Say

SUMMARY = "the same fronts, searched for accuracy"
READS = study.READS
PLAN = study.FrontsPlan(quality="error", items=1000, shown=2)
"""Fewer points than the study of losses, and the held-out items of the tables."""


def run(folder: Path, say: Say = lambda line: None) -> StudyOutcome:
    """Run the study over the shipped tables whose supernets are in ``folder``.

    Raises:
        UsageError: no supernet is there, or a table has no latencies.
    """
    return study.run(folder, say, PLAN)
