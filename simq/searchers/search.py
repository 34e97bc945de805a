"""Registry of searchers by name, for methods and studies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from simq.searchers.bayes import Bayes
from simq.searchers.linas import Linas
from simq.searchers.linas_published import LinasAsPublished
from simq.searchers.nsga2 import NSGA2, RandomSearch
from simq.searchers.sensitivity import PrunedSearch, SensitivityILP
from simq.searchers.sequential import Searcher, Sequential

Count = Callable[[int], None]
"""Receives a number of predictor fits or of predictions."""


def ignore_count(count: int) -> None:
    """Ignore a number of predictor fits or of predictions."""


@dataclass(frozen=True)
class SearcherFactory:
    """Constructor of a searcher.

    Attributes:
        summary: one line of description.
        build: constructs the searcher from the arguments of ``make``.
    """

    summary: str
    build: Callable[[int, int, Count, Count], Searcher]

    def make(
        self,
        population: int = 50,
        inner: int = 20_000,
        on_fit: Count = ignore_count,
        on_predict: Count = ignore_count,
    ) -> Searcher:
        """Return a searcher.

        Args:
            population: points of a batch or of a generation; Bayesian optimisation starts from half as many
                and has batches of a fifth.
            inner: predictions between two batches; Bayesian optimisation, with more batches, uses a fifth.
            on_fit, on_predict: called with the number of predictor fits and of predictions.
        """
        return self.build(population, inner, on_fit, on_predict)


def _published(exchange: float, population: int, inner: int, on_fit: Count, on_predict: Count) -> Searcher:
    return LinasAsPublished(population, inner, exchange, on_fit=on_fit, on_predict=on_predict)


def _sequential(first: str, population: int, inner: int, on_fit: Count, on_predict: Count) -> Searcher:
    return Sequential(first, Linas(population, inner, on_fit=on_fit, on_predict=on_predict))


SEARCHERS = {
    "random-joint": SearcherFactory("uniform over genes, no point twice", lambda *sizes: RandomSearch()),
    "nsga2-joint": SearcherFactory(
        "NSGA-II with our operators, measured points alone", lambda p, *_: NSGA2(p)
    ),
    "linas-as-published": SearcherFactory("LINAS as coded, pymoo since 0.6.1", partial(_published, 1.0)),
    "linas-as-published-0.5": SearcherFactory(
        "LINAS as coded, pymoo up to 0.6.0.1", partial(_published, 0.5)
    ),
    "linas": SearcherFactory("LINAS corrected", lambda p, i, f, c: Linas(p, i, on_fit=f, on_predict=c)),
    "bayes-joint": SearcherFactory(
        "Bayesian optimisation, expected hypervolume improvement",
        lambda p, i, f, c: Bayes(max(p // 2, 2), max(p // 5, 1), i // 5, on_fit=f, on_predict=c),
    ),
    "sensitivity-ilp": SearcherFactory(
        "one evaluation an option, then integer programmes", lambda *sizes: SensitivityILP()
    ),
    "pruned-joint": SearcherFactory(
        "space without outlying precisions, from a proxy's front on",
        lambda p, i, f, c: PrunedSearch(p, i, on_fit=f, on_predict=c),
    ),
    "arch-then-quant": SearcherFactory(
        "architectures in float32, then precisions", partial(_sequential, "architecture")
    ),
    "quant-then-arch": SearcherFactory(
        "precisions of the largest network, then architectures", partial(_sequential, "precision")
    ),
}
"""Name -> searcher, the same for tables and trained networks."""
SEQUENTIAL = frozenset({"arch-then-quant", "quant-then-arch"})
"""Searchers that divide their evaluations in advance, so that each budget is a search of its own."""
