"""Study ``mt-retraining``: training that inherited weights save in translation."""

from __future__ import annotations

from functools import partial

from benchmarks.studies.retraining.study import run_study

SUMMARY = "how much training inherited weights save in translation; from mt-retraining-measure"
READS = "mt-retraining"
run = partial(run_study, READS)
