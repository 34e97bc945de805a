"""Run a searcher on a table, without training or measuring a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simq.archive import Archive
from simq.searchers.search import SEARCHERS
from simq.tabular.table import COUNTED, RestrictedEvaluator, Table, TabularEvaluator


def search_table(
    table: Table,
    objectives: Sequence[str],
    searcher: str,
    evaluations: int,
    seed: int,
    population: int,
    inner: int,
    *,
    predict_all: bool = False,
    alphabet: Sequence[str] = (),
) -> NDArray[np.int64]:
    """Return the rows that one search evaluates, in order: ``[evaluations]``, fewer if it ends early.

    Args:
        searcher: a name of ``SEARCHERS``.
        population: points of a batch or generation.
        inner: predictions between two batches.
        predict_all: also predict the counted objectives, as the public code does.
        alphabet: the only precisions; empty: all of the table.
    """
    counted = () if predict_all else COUNTED
    evaluator = (
        RestrictedEvaluator(table, objectives, alphabet, counted)
        if alphabet
        else TabularEvaluator(table, objectives, counted)
    )
    archive = Archive(evaluator, evaluations)
    SEARCHERS[searcher].make(population, inner).search(archive, np.random.default_rng(seed))
    return table.indices(evaluator.lift(archive.genomes))
