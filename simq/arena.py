"""What a study of searches needs of this package: tables, searchers by name, one run at a time.

The harness reaches it through the entry point ``supernet_bench.searches``, as it reaches methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from simq import table
from simq.evaluator import Archive
from simq.genome import Array
from simq.search import SEARCHERS


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
        return table.read(path).head

    def whole(self, path: Path, columns: Sequence[str]) -> Array:
        """Columns ``[points, m]`` of all its points."""
        return table.read(path).whole(columns)

    def uniform(self, path: Path) -> dict[str, np.ndarray]:
        """Precision -> places of the points that have it everywhere."""
        return table.read(path).uniform

    def run(
        self,
        path: Path,
        objectives: Sequence[str],
        searcher: str,
        evaluations: int,
        seed: int,
        population: int,
        inner: int,
    ) -> np.ndarray:
        """Places of what one search measures, in order: ``[evaluations]``, fewer where it ends before."""
        whole = table.read(path)
        archive = Archive(table.Tabulated(whole, objectives), evaluations)
        found = SEARCHERS[searcher].make(population, inner)
        found.search(archive, np.random.default_rng(seed))
        return whole.places(archive.genomes)
