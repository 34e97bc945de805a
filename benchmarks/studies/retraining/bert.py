"""Study ``bert-retraining``: training that inherited weights save in encoders which start from a parent."""

from __future__ import annotations

from pathlib import Path

from benchmarks.records.study_files import StudyOutcome
from benchmarks.studies.retraining.study import outcome
from benchmarks.tasks.datasets import Say

SUMMARY = "how much training inherited weights save in encoders; from bert-retraining-measure"
READS = "bert-retraining"


def run(folder: Path | None, say: Say = lambda line: None) -> StudyOutcome:
    """Run the study over the measurements in ``folder``.

    Raises:
        UsageError: there are none, or some are missing.
    """
    return outcome("bert-retraining", folder or Path(READS))
