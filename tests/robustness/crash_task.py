"""Translation of the grammar's sentences, smaller than ``smoke``: a chain of three runs takes seconds."""

from __future__ import annotations

from benchmarks.tasks import corpus
from benchmarks.tasks.mt import MTTask
from benchmarks.tasks.tiers import Tier, merged, tier_of, tier_table

BUDGET = {"tokens": 24_000, "evaluations": 12, "probes": 8, "seconds": 3600}
SMALLER = {
    "data": {"seed": 3, "train": 1500, "valid": 60, "test": 40},
    "budget": {"cpu": BUDGET, "cuda": BUDGET},
    "decode": {"beam": 1},
    "limits": [0.8],
    "workload": {"source_len": 6, "steps": 4, "beam": 1, "energy_seconds": 0.0},
    "vocab": 500,
    "settings": {
        "parents": 2,
        "mutants": 2,
        "crossovers": 2,
        "generations": 10,
        "predictor_probes": 8,
    },
}
"""Settings in place of those of the tier ``smoke``, whose counted latencies repeat to the bit."""


class Grammar(MTTask):
    """The grammar's task at a size at which hundreds of interrupted runs are affordable."""

    def __init__(self) -> None:
        super().__init__("mt-crash-en-de", corpus.synthetic)

    def tiers(self) -> tuple[str, ...]:
        """Return the only tier."""
        return ("smoke",)

    def tier(self, tier: str, device: str) -> Tier:
        """Return the settings of the only tier."""
        full = tier_table(self.tables, "mt-synthetic-en-de", "smoke")
        return tier_of(self.name, tier, device, merged(full, SMALLER))
