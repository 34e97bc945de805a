"""What a study of searches needs of this package: tables, searchers by name, one run at a time.

The harness reaches it through the entry point ``supernet_bench.searches``, as it reaches methods.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from simq.archive import Archive
from simq.genome import Array
from simq.searchers.search import SEARCHERS
from simq.tabular import latency, table
from supernet.quantization.rounding import stored_bytes


class Arena:
    """Tables and searchers."""

    name: ClassVar[str] = "simq"
    searchers: ClassVar[Mapping[str, str]] = {name: made.summary for name, made in SEARCHERS.items()}
    """Name -> what it is."""
    planned: ClassVar[frozenset[str]] = frozenset({"arch-then-quant", "quant-then-arch"})
    """Those that divide their evaluations beforehand: under way they are not what they would be at an end."""

    def tables(self) -> dict[str, Path]:
        """Name -> file of the tables that come along."""
        return table.shipped()

    def head(self, path: Path) -> dict[str, Any]:
        """What a table says of itself."""
        return _read(path)[0].head

    def latency(self, path: Path) -> dict[str, Any]:
        """What is known of its predicted latencies, which are then a column ``latency``; empty: nothing."""
        return _read(path)[1]

    def whole(self, path: Path, columns: Sequence[str]) -> Array:
        """Columns ``[points, m]`` of all its points."""
        return _read(path)[0].whole(columns)

    def uniform(self, path: Path) -> dict[str, np.ndarray]:
        """Precision -> places of the points that have it everywhere."""
        return _read(path)[0].uniform

    def within(self, path: Path, alphabet: Sequence[str]) -> np.ndarray:
        """Return the places of the points that have no precision outside of ``alphabet``."""
        table_ = _read(path)[0]
        first = table_.space.architecture_genes
        letters = [table_.space.alphabet.index(name) for name in alphabet]
        there = table_.space.active(table_.points)[:, first:]
        return np.flatnonzero((np.isin(table_.points[:, first:], letters) | ~there).all(axis=1))

    def networks(self, path: Path, places: Sequence[int]) -> list[tuple[dict[str, Any], dict[str, str]]]:
        """Architecture and policy of some of its points."""
        found = _read(path)[0]
        decoded = (found.space.decode(found.points[place]) for place in places)
        return [(architecture.to_dict(), policy) for architecture, policy in decoded]

    def words(self, path: Path) -> dict[str, int]:
        """Return the bytes of the table of words, fp32 in every network, in ``fp32`` and ``int8``.

        None where the inputs are images alone or the table has no latencies.
        """
        file = latency.beside(path)
        spec = json.loads(file.read_text("utf-8"))["spec"] if file.is_file() else {"config": {}}
        if "vocab" not in spec["config"]:
            return {}
        shape = spec["config"]["vocab"], spec["space"]["constants"]["hidden"]
        return {name: stored_bytes(name, shape) for name in ("fp32", "int8")}

    def largest(self, path: Path) -> dict[str, int]:
        """Precision -> place of the largest network that has it everywhere."""
        found = _read(path)[0]
        return {
            name: int(places[found.columns["macs"][places].argmax()])
            for name, places in found.uniform.items()
        }

    def run(
        self,
        path: Path,
        objectives: Sequence[str],
        searcher: str,
        evaluations: int,
        seed: int,
        population: int,
        inner: int,
        *,
        predict_all: bool = False,
        alphabet: Sequence[str] = (),
    ) -> np.ndarray:
        """Return the places that one search measures, in order: ``[evaluations]``, fewer where it ends
        before.

        Args:
            predict_all: predict also the objectives that need no measurement, as the public code does.
            alphabet: the only precisions; empty: all of the table.
        """
        whole = _read(path)[0]
        evaluator = table.Tabulated(whole, objectives, () if predict_all else table.COUNTED)
        if alphabet:
            evaluator = table.Restricted(evaluator, alphabet)
        archive = Archive(evaluator, evaluations)
        found = SEARCHERS[searcher].make(population, inner)
        found.search(archive, np.random.default_rng(seed))
        return whole.places(evaluator.lift(archive.genomes))


@lru_cache(maxsize=8)
def _read(path: Path) -> tuple[table.Table, dict[str, Any]]:
    """A table with its latencies, where it has some, and what is known of them."""
    found = table.read(path)
    return found, latency.attach(found, path)
