"""The searchers by name: how a method, a study or a notebook gets one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from simq.searchers.bayes import Bayes
from simq.searchers.linas import Linas
from simq.searchers.linas_published import LinasAsPublished
from simq.searchers.nsga2 import NSGA2, Random
from simq.searchers.sequential import Searcher, Sequential


def silent(count: int) -> None:
    """Told of predictor fits or calls, forgets them."""


@dataclass(frozen=True)
class Named:
    """A searcher of ``SEARCHERS``.

    Attributes:
        summary: what it is.
        build: makes it; see ``make``.
    """

    summary: str
    build: Callable[[int, int, Callable[[int], None], Callable[[int], None]], Searcher]

    def make(
        self,
        population: int = 50,
        inner: int = 20_000,
        fitted: Callable[[int], None] = silent,
        called: Callable[[int], None] = silent,
    ) -> Searcher:
        """The searcher.

        Args:
            population: points of a batch or of a generation; Bayesian optimisation starts from half as many
                and has batches of a fifth.
            inner: predictions between two batches; of Bayesian optimisation a fifth, for it has more batches.
            fitted, called: told of predictor fits and predictions.
        """
        return self.build(population, inner, fitted, called)


def _published(
    exchange: float, population: int, inner: int, fitted: Callable[[int], None], called: Callable[[int], None]
) -> Searcher:
    return LinasAsPublished(population, inner, exchange, fitted=fitted, called=called)


def _sequential(
    first: str, population: int, inner: int, fitted: Callable[[int], None], called: Callable[[int], None]
) -> Searcher:
    return Sequential(first, Linas(population, inner, fitted=fitted, called=called))


SEARCHERS = {
    "random-joint": Named("uniform over genes, no point twice", lambda *given: Random()),
    "nsga2-joint": Named("NSGA-II with our operators, measured points alone", lambda p, *given: NSGA2(p)),
    "linas-as-published": Named("LINAS as coded, pymoo since 0.6.1", partial(_published, 1.0)),
    "linas-as-published-0.5": Named("LINAS as coded, pymoo up to 0.6.0.1", partial(_published, 0.5)),
    "linas": Named("LINAS corrected", lambda p, i, f, c: Linas(p, i, fitted=f, called=c)),
    "bayes-joint": Named(
        "Bayesian optimisation, expected hypervolume improvement",
        lambda p, i, f, c: Bayes(max(p // 2, 2), max(p // 5, 1), i // 5, fitted=f, called=c),
    ),
    "arch-then-quant": Named(
        "architectures in float32, then precisions", partial(_sequential, "architecture")
    ),
    "quant-then-arch": Named(
        "precisions of the largest network, then architectures", partial(_sequential, "precision")
    ),
}
"""Name -> searcher, the same for tables and trained networks."""
SEQUENTIAL = frozenset({"arch-then-quant", "quant-then-arch"})
"""Searchers that divide their evaluations in advance, so that each budget is a search of its own."""
