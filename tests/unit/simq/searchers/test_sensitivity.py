"""Integer programmes against brute force, and the pruned search against its rule."""

from __future__ import annotations

import numpy as np
import pytest

from simq import pareto
from simq.archive import Archive
from simq.genome import Array, Genomes
from simq.searchers.search import SEARCHERS
from simq.searchers.sensitivity import (
    Programme,
    SensitivityILP,
    depth_combinations,
    measure_sensitivities,
    pruned_space,
)
from simq.tabular.table import enumerate_points
from tests.unit.simq.problems import Sized, Toy, space


class Additive(Sized):
    """Loss and size are sums over genes, so that the assumption of the integer programme holds."""

    def __call__(self, genomes: Genomes) -> Array:
        x = self.genes.features(genomes)
        return np.column_stack([20 - x @ self.gain, x @ self.cost])


class Unknown(Additive):
    """The same, with a size that must be measured."""

    def known(self, genomes: Genomes) -> Array:
        return np.full((len(genomes), 2), np.nan)


@pytest.mark.parametrize("kind", [Additive, Unknown])
def test_optima_are_those_of_brute_force(kind: type[Toy]) -> None:
    toy = kind(space(3, 2), seed=1)
    archive = Archive(toy, 100)
    measured = measure_sensitivities(archive, np.random.default_rng(0))
    assert measured is not None
    assert len(archive.rows) == 1 + sum(toy.genes.levels) - len(toy.genes.levels)
    points = enumerate_points(toy.genes)
    solved = 0
    for depths in depth_combinations(toy.genes):
        programme = Programme(archive, measured, 0, 1, depths)
        ((gene, option),) = depths.items()
        of_depth = points[points[:, gene] == option]
        rows = toy(of_depth)
        # Single changes of the largest network state the loss of a shallower one only up to a constant.
        for limit in np.linspace(rows[:, 1].min(), rows[:, 1].max(), 7):
            genome = programme.solve(limit + 1e-9 - toy(programme.base[None])[0, 1])
            allowed = rows[rows[:, 1] <= limit + 1e-9]
            if genome is None:
                assert not len(allowed)
                continue
            solved += 1
            loss, size = toy(toy.genes.canonical(genome[None]))[0]
            if kind is Additive:
                assert size <= limit + 1e-6 and loss == pytest.approx(allowed[:, 0].min(), abs=1e-6)
    assert solved >= 12


def test_where_losses_add_up_every_point_after_the_single_changes_is_optimal() -> None:
    toy = Additive(space(4, 4), seed=2)
    archive = Archive(toy, 150)
    SensitivityILP().search(archive, np.random.default_rng(0))
    singles = 1 + int((toy.genes.levels - 1).sum())
    assert singles < len(archive.rows) <= 150
    every = toy(enumerate_points(toy.genes))
    front = every[pareto.front(every)]
    for row in archive.rows[singles:]:
        assert not ((front < row - 1e-6).all(axis=1)).any()
    assert len(set(toy.genes.keys(archive.genomes))) == len(archive.genomes)


def test_sensitivity_stops_at_the_allowance_even_amid_the_single_changes() -> None:
    for allowed in (1, 5, 30):
        archive = Archive(Toy(space()), allowed)
        for name in ("sensitivity-ilp", "pruned-joint"):
            archive = Archive(Toy(space()), allowed)
            SEARCHERS[name].make(population=8, inner=64).search(archive, np.random.default_rng(0))
            assert len(archive.rows) == allowed


class Outlying(Additive):
    """One unit loses ten times as much in int8 as any other."""

    def __init__(self) -> None:
        super().__init__(space(6, 3), seed=3)
        first = int(self.genes.levels[:-7].sum())
        self.gain[first::2], self.gain[first + 1 :: 2] = 1.0, 0.9
        self.gain[first + 1] = 0.0


def test_outlying_options_leave_the_space_and_others_stay() -> None:
    toy = Outlying()
    archive = Archive(toy, 200)
    measured = measure_sensitivities(archive, np.random.default_rng(0))
    assert measured is not None
    part = pruned_space(toy.genes, measured, 0)
    first = toy.genes.architecture_genes
    assert [len(own) for own in part.options[first:]] == [1, *[2] * 6]
    assert (
        part.options[first].tolist() == [0]
        and [len(x) for x in part.options[:first]] == toy.genes.levels[:first].tolist()
    )
    singles = len(archive.rows)
    archive = Archive(Outlying(), 120)
    SEARCHERS["pruned-joint"].make(population=20, inner=400).search(archive, np.random.default_rng(1))
    assert (archive.genomes[singles:, first] == 0).all()
    assert len(set(toy.genes.keys(archive.genomes))) == len(archive.genomes) == 120


def test_sensitivity_finds_most_of_the_front_despite_interactions() -> None:
    toy = Sized(space(5, 3), seed=0)
    every = toy(enumerate_points(toy.genes))
    reference = every.max(axis=0) * 1.1
    share = {}
    for name in ("random-joint", "sensitivity-ilp", "pruned-joint"):
        archive = Archive(toy, 80)
        SEARCHERS[name].make(population=20, inner=400).search(archive, np.random.default_rng(0))
        share[name] = pareto.hypervolume(archive.rows, reference) / pareto.hypervolume(every, reference)
    assert min(share["sensitivity-ilp"], share["pruned-joint"]) > share["random-joint"]
