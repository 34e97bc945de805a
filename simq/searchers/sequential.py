"""One after the other: architectures and then precisions, or the other way round, at equal total evaluations.

The ablation that neither paper nor public code has. The first half of the evaluations searches one kind of
genes while the other stands still; the second half the other kind, for each point of the front of the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from simq.archive import Archive
from simq.genome import Array, Genes, Genomes, JointSpace, Slice
from simq.searchers.linas import Linas


class Searcher(Protocol):
    """What measures genomes through an archive until that allows no more."""

    def search(self, archive: Archive, rng: np.random.Generator) -> None: ...


class Through:
    """An evaluator of a part of the space that books every row in the archive of the whole."""

    def __init__(self, archive: Archive, part: Slice) -> None:
        self.archive, self.part = archive, part
        self.genes: Genes = part
        self.objectives = archive.evaluator.objectives

    def __call__(self, genomes: Genomes) -> Array:
        return self.archive.measure(self.part.lift(genomes))

    def known(self, genomes: Genomes) -> Array:
        """Return the objectives that the evaluator of the whole space does not measure."""
        return self.archive.evaluator.known(self.part.lift(genomes))


@dataclass(frozen=True)
class Sequential:
    """Two searches, the second over what the first has found.

    Attributes:
        first: which genes are searched first: ``architecture``, in float32, or ``precision``, of the largest
            architecture.
        searcher: of both halves.
    """

    first: str
    searcher: Searcher = Linas()

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more, or both parts are used up."""
        genes = archive.genes
        if not isinstance(genes, JointSpace):
            raise ValueError("a sequential search needs a joint space")
        architecture = np.arange(len(genes.levels)) < genes.architecture_genes
        free = architecture if self.first == "architecture" else ~architecture
        start = largest(genes)
        half = archive.left // 2
        self.searcher.search(Archive(Through(archive, Slice(genes, free, start)), half), rng)
        bases = _once(genes, archive.genomes[archive.front()], free)
        second = Through(archive, Slice(genes, ~free, bases))
        self.searcher.search(Archive(second, archive.left, known=archive.known), rng)


def largest(genes: JointSpace) -> Genomes:
    """The largest architecture, in float32 or the first letter: ``[1, genes]``."""
    grown = genes.space.largest()
    row = [options.index(value) for options, value in zip(genes.space.allowed, grown.genes, strict=True)]
    whole = np.array([[*row, *[0] * len(genes.units)]], dtype=np.int64)
    return genes.uniform(whole, "fp32") if "fp32" in genes.alphabet else whole


def _once(genes: JointSpace, found: Genomes, free: np.ndarray) -> Genomes:
    """Genomes that differ in the genes that were searched, each once."""
    found = genes.canonical(found)
    _, first = np.unique(found[:, free], axis=0, return_index=True)
    return found[np.sort(first)]
