"""Study ``bert-retraining``: training that inherited weights save in encoders which start from a parent."""

from __future__ import annotations

from functools import partial

from benchmarks.studies.retraining.study import run_study

SUMMARY = "how much training inherited weights save in encoders; from bert-retraining-measure"
READS = "bert-retraining"
run = partial(run_study, READS)
