"""Sequential search: architectures and then precisions, or the other way round, at equal total evaluations.

An ablation that neither the paper nor the public code has. The first half of the evaluations searches one
kind of genes with the other kind fixed. The second half searches the other kind, for each point of the first
half's front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from simq.archive import Archive
from simq.genome import Array, Genes, Genomes, JointSpace, Subspace
from simq.searchers.linas import Linas


class Searcher(Protocol):
    """A search that measures genomes through an archive until the archive allows no more."""

    def search(self, archive: Archive, rng: np.random.Generator) -> None: ...


class RecordingEvaluator:
    """Evaluator of a part of the space that records every row in the archive of the parent space."""

    def __init__(self, archive: Archive, part: Subspace) -> None:
        self.archive, self.part = archive, part
        self.genes: Genes = part
        self.objectives = archive.evaluator.objectives

    def __call__(self, genomes: Genomes) -> Array:
        return self.archive.measure(self.part.lift(genomes))

    def known(self, genomes: Genomes) -> Array:
        """Return the objectives that the evaluator of the parent space does not measure."""
        return self.archive.evaluator.known(self.part.lift(genomes))


@dataclass(frozen=True)
class Sequential:
    """Two searches in a row, the second around the front of the first.

    Attributes:
        first: genes that are searched first: ``architecture``, in float32, or ``precision``, of the largest
            architecture.
        searcher: of both halves.
    """

    first: str
    searcher: Searcher = Linas()

    def search(self, archive: Archive, rng: np.random.Generator) -> None:
        """Measure until the archive allows no more, or both parts are exhausted."""
        genes = archive.genes
        if not isinstance(genes, JointSpace):
            raise ValueError("a sequential search needs a joint space")
        architecture = np.arange(len(genes.levels)) < genes.architecture_genes
        free = architecture if self.first == "architecture" else ~architecture
        start = largest_genome(genes)
        half = archive.remaining // 2
        self.searcher.search(Archive(RecordingEvaluator(archive, Subspace(genes, free, start)), half), rng)
        bases = _distinct(genes, archive.genomes[archive.front()], free)
        second = RecordingEvaluator(archive, Subspace(genes, ~free, bases))
        self.searcher.search(Archive(second, archive.remaining, known=archive.known), rng)


def largest_genome(genes: JointSpace) -> Genomes:
    """Return the largest architecture in float32, or else in the first precision: ``[1, genes]``."""
    grown = genes.space.largest()
    row = [options.index(value) for options, value in zip(genes.space.allowed, grown.genes, strict=True)]
    genome = np.array([[*row, *[0] * len(genes.units)]], dtype=np.int64)
    return genes.uniform(genome, "fp32") if "fp32" in genes.alphabet else genome


def _distinct(genes: JointSpace, genomes: Genomes, free: np.ndarray) -> Genomes:
    """Return the first genome of each combination of the ``free`` genes."""
    genomes = genes.canonical(genomes)
    _, first = np.unique(genomes[:, free], axis=0, return_index=True)
    return genomes[np.sort(first)]
