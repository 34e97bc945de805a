"""Settings of the study of searches: objectives, arms, planned comparisons, cases and amounts of work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.stats import intervals
from simq.searchers.search import SEQUENTIAL
from simq.tabular.latency import load_table

OBJECTIVES = (("loss", "bytes"), ("loss", "latency"))
"""Pairs of objectives. The first pair decides claims; the second is searched on tables with latencies."""
DYNAMIC = ("simq-resnet",)
"""Tables that are not searched for latency until INT8 is static. Their INT8 convolutions compute ranges from
each input, which no deployment does."""
PAPER = ("fp32", "int8")
"""Precisions of the paper."""
ADDED = "w4"
"""Precision that is this project's addition; ResNet's tables have no such layer."""
BUDGETS = (50, 100, 200)
"""Evaluations after which the front of a search is scored."""
DECIDES = 200
"""Evaluations after which searches are compared."""
SEEDS = 20
"""Search seeds of each table."""
FULL_SEEDS = 1
"""Seeds of searches with ``SearchPlan.full`` predictions."""
MARGIN = 0.1
"""Distance of the reference point beyond the worst of the true front, as a share of the front's range."""
REACHED = 0.95
"""Share of the true front's hypervolume whose first evaluation is reported."""

Run = tuple[str, int, int]
"""Arm, seed and evaluations of one search."""


@dataclass(frozen=True)
class Arm:
    """A searcher with its settings.

    Attributes:
        searcher: a name of ``simq.searchers.search.SEARCHERS``.
        population: points of the first batch, random in every search.
        predict_all: predict also the objectives that can be counted, as the public code does.
    """

    searcher: str
    population: int = 50
    predict_all: bool = False


ARMS: dict[str, Arm] = {
    "random-joint": Arm("random-joint"),
    **{f"nsga2-joint, population {n}": Arm("nsga2-joint", n) for n in (50, 20, 10)},
    "linas-as-published": Arm("linas-as-published"),
    "linas": Arm("linas", 25),
    "linas, batches of 50": Arm("linas"),
    "linas, bytes predicted": Arm("linas", 25, predict_all=True),
    "linas, bytes predicted, batches of 50": Arm("linas", predict_all=True),
    "bayes-joint": Arm("bayes-joint"),
    "sensitivity-ilp": Arm("sensitivity-ilp"),
    "pruned-joint": Arm("pruned-joint", 25),
    "arch-then-quant": Arm("arch-then-quant", 25),
    "quant-then-arch": Arm("quant-then-arch", 25),
}
"""Name -> searcher and settings. ``bayes-joint`` starts from half of its population, as ``linas`` does."""
LATENCY_ARMS = (
    *("random-joint", "nsga2-joint, population 50", "nsga2-joint, population 10", "linas", "bayes-joint"),
    *("sensitivity-ilp", "pruned-joint", "arch-then-quant", "quant-then-arch"),
)
"""Arms on objectives with latency."""
PAPER_ARMS = ("random-joint", "nsga2-joint, population 10", "linas", "sensitivity-ilp")
"""Arms in the paper's alphabet, where one precision has nearly all of the front."""
FULL_ARMS = ("linas", "linas-as-published")
"""Arms that are also run with as many predictions as the public code makes at most."""
COMPARISONS = (
    ("linas", "nsga2-joint, population 10"),
    ("linas", "nsga2-joint, population 20"),
    ("linas", "nsga2-joint, population 50"),
    ("linas, batches of 50", "nsga2-joint, population 50"),
    ("linas, batches of 50", "linas-as-published"),
    ("linas, bytes predicted, batches of 50", "linas-as-published"),
    ("linas", "linas, bytes predicted"),
    ("linas-as-published", "nsga2-joint, population 50"),
    ("nsga2-joint, population 10", "nsga2-joint, population 50"),
    ("nsga2-joint, population 50", "random-joint"),
    ("linas", "arch-then-quant"),
    ("linas", "quant-then-arch"),
    ("bayes-joint", "linas"),
    ("linas", "sensitivity-ilp"),
    ("linas", "pruned-joint"),
)
"""Pairs of arms, stated before the study ran, when an audit had computed some figures with fewer seeds."""

EXPLORATORY = (
    ("linas-as-published", "nsga2-joint, population 10", 200),
    ("linas", "arch-then-quant", 100),
    ("linas", "quant-then-arch", 100),
    ("linas", "sensitivity-ilp", 50),
)
"""Pairs of arms and evaluations that the rule does not name; added after the study had been seen."""

RULE = (
    f"of two searches one is better where Student's t-test over supernets, of the difference after {DECIDES}"
    f" evaluations, is below {intervals.ALPHA:g} after Holm over the comparisons. The value of"
    f" a supernet is the"
    " mean over the seeds of the search on its table: more seeds say more of the search on that table and"
    " nothing of another supernet. The supernets are of four families, which are no exchangeable draws, so"
    " that the intervals are the least doubt there is."
)


@dataclass(frozen=True)
class Case:
    """A search problem: a table, its objectives and its allowed precisions.

    Attributes:
        alphabet: the allowed precisions; empty: all of the table.
    """

    path: Path
    objectives: tuple[str, ...]
    alphabet: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [] if self.objectives == OBJECTIVES[0] else [", ".join(self.objectives)]
        parts += ["in " + " and ".join(self.alphabet)] if self.alphabet else []
        return " ".join([load_table(self.path).name, *(f"({part})" for part in parts)])

    def arms(self, plan: SearchPlan) -> tuple[str, ...]:
        """Return the names of the arms that run on this case."""
        names = PAPER_ARMS if self.alphabet else tuple(ARMS)
        if "latency" in self.objectives and not self.alphabet:
            names = LATENCY_ARMS
        return tuple(name for name in names if not plan.arms or name in plan.arms)


@dataclass(frozen=True)
class SearchPlan:
    """Amounts of work; tests use less than the defaults.

    Attributes:
        seeds: search seeds, averaged within a supernet.
        population: of all arms; 0: each arm's own.
        inner: predictions between two batches. The public code makes 5,000 to 20,000, for spaces of 10**20
            points and more; these have 24,000.
        full, full_seeds: predictions between two batches, and seeds, of the further runs of ``FULL_ARMS``.
        arms: names of ``ARMS``; empty: all.
        jobs: processes; 0: as many as there are cores.
    """

    seeds: int = SEEDS
    budgets: tuple[int, ...] = BUDGETS
    decides: int = DECIDES
    population: int = 0
    inner: int = 2_000
    full: int = 20_000
    full_seeds: int = FULL_SEEDS
    arms: tuple[str, ...] = ()
    jobs: int = 0

    def first_batch(self, arm: str) -> int:
        """Return the number of evaluations of which a search may have drawn all at random.

        A sequential search draws a first batch for each half of the genes, and the integer programme none: it
        changes layers of the largest network by turns.
        """
        population = self.population or ARMS[arm].population
        searcher = ARMS[arm].searcher
        if searcher in SEQUENTIAL:
            return 2 * population
        return {"bayes-joint": population // 2, "sensitivity-ilp": 0}.get(searcher, population)
