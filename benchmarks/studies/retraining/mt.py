"""Study ``mt-retraining``: training that inherited weights save in translation."""

from __future__ import annotations

from pathlib import Path

from benchmarks.records.study_files import StudyOutcome
from benchmarks.studies.retraining.study import outcome
from benchmarks.tasks.datasets import Say

SUMMARY = "how much training inherited weights save in translation; from mt-retraining-measure"
READS = "mt-retraining"


def run(folder: Path | None, say: Say = lambda line: None) -> StudyOutcome:
    """Run the study over the measurements in ``folder``.

    Raises:
        UsageError: there are none, or some are missing.
    """
    return outcome("mt-retraining", folder or Path(READS))
