"""Crossover and mutation of categorical genomes ``[n, genes]``.

The public code of LINAS applies operators for real numbers to option numbers and rounds. Polynomial mutation
with a distribution index of 20 then changes a gene of two options with probability 7e-7, because the gene
must move by half of its range. An option that selection has dropped never returns. The operators here draw
other options uniformly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simq.genome import Array, Genes, Genomes

Rate = float | Array
"""Mutation probability of all genes, or an array that is broadcast against ``[n, genes]``."""

Vary = Callable[[Genes, Genomes, Genomes, np.random.Generator], Genomes]
"""``(genes, mothers, fathers, rng)`` -> one child of each pair."""


def uniform_crossover(mothers: Genomes, fathers: Genomes, rng: np.random.Generator) -> Genomes:
    """Take each gene from one of both parents with equal probability."""
    return np.where(rng.random(mothers.shape) < 0.5, mothers, fathers)


def random_reset(levels: Genomes, genomes: Genomes, rate: Rate, rng: np.random.Generator) -> Genomes:
    """Replace each gene of two or more options, with probability ``rate``, by another option, uniformly."""
    steps = 1 + np.floor(rng.random(genomes.shape) * np.maximum(levels - 1, 1)).astype(np.int64)
    hit = (rng.random(genomes.shape) < rate) & (levels > 1)
    return np.where(hit, (genomes + steps) % levels, genomes)


def vary(genes: Genes, mothers: Genomes, fathers: Genomes, rng: np.random.Generator) -> Genomes:
    """Cross nine pairs in ten uniformly, then reset one active gene of each child on average."""
    crossed = rng.random((len(mothers), 1)) < 0.9
    children = np.where(crossed, uniform_crossover(mothers, fathers, rng), mothers)
    active = genes.active(children).sum(axis=1, keepdims=True)
    return random_reset(genes.levels, children, 1 / np.maximum(active, 1), rng)
