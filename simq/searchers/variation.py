"""Variation of genomes ``[n, genes]``: what the public code does, and what it should do.

The public code lets operators for real numbers loose on option numbers and rounds. Polynomial mutation
with a distribution index of 20 then changes a gene of two options with a chance of 7e-7: a gene would have to
move by half of its range. So an option that selection drops never comes back.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simq.genome import Array, Genes, Genomes

Rate = float | Array
"""A chance for all genes, or one for each that is broadcast against ``[n, genes]``."""

Vary = Callable[[Genes, Genomes, Genomes, np.random.Generator], Genomes]
"""``(genes, mothers, fathers, rng)`` -> one child of each pair."""


def uniform_crossover(mothers: Genomes, fathers: Genomes, rng: np.random.Generator) -> Genomes:
    """Each gene from one of both parents with equal chance."""
    return np.where(rng.random(mothers.shape) < 0.5, mothers, fathers)


def random_reset(levels: Genomes, genomes: Genomes, rate: Rate, rng: np.random.Generator) -> Genomes:
    """Each gene of two options or more becomes, with chance ``rate``, another option, uniformly."""
    steps = 1 + np.floor(rng.random(genomes.shape) * np.maximum(levels - 1, 1)).astype(np.int64)
    hit = (rng.random(genomes.shape) < rate) & (levels > 1)
    return np.where(hit, (genomes + steps) % levels, genomes)


def vary(genes: Genes, mothers: Genomes, fathers: Genomes, rng: np.random.Generator) -> Genomes:
    """Uniform crossover of nine pairs in ten, then one gene reset on average, of those that count."""
    crossed = rng.random((len(mothers), 1)) < 0.9
    children = np.where(crossed, uniform_crossover(mothers, fathers, rng), mothers)
    active = genes.active(children).sum(axis=1, keepdims=True)
    return random_reset(genes.levels, children, 1 / np.maximum(active, 1), rng)
