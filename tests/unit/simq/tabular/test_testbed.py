"""The tables by ask and tell: answers of the table, a budget, curves as the study computes them, examples."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies.simq_search.score import anytime, reference_volume
from simq.tabular.search import search_table
from simq.tabular.testbed import names, open_testbed, ours
from tests import ROOT


def test_the_testbed_opens_each_of_seven_tables() -> None:
    assert len(names()) == 7
    rng = np.random.default_rng(1)
    for name in names():
        bed = open_testbed(name, evaluations=3)
        values = [bed.tell(bed.ask(rng)) for _ in range(3)]
        assert np.isfinite(values).all() and bed.remaining == 0
        assert len(bed.curve()) == 3 and (np.diff(bed.curve()) >= 0).all()


def test_answers_are_those_of_the_table_and_known_ones_are_free() -> None:
    bed = open_testbed("simq-vit", ("loss", "latency"), evaluations=2)
    genome = bed.ask(np.random.default_rng(0))
    row = int(bed.table.indices(np.array([genome]))[0])
    assert bed.tell(genome) == bed.table.values(("loss", "latency"))[row].tolist()
    assert bed.tell(genome) == bed.tell(genome) and bed.remaining == 1
    architecture, policy = bed.describe(genome)
    assert architecture and set(policy.values()) <= set(bed.table.space.alphabet)


def test_mistakes_are_refused() -> None:
    bed = open_testbed("simq-vit", evaluations=1)
    for genome in ([], [0] * (len(bed.levels) + 1), [*bed.levels], [-1] * len(bed.levels)):
        with pytest.raises(ValueError, match="option numbers below"):
            bed.tell(genome)
    rng = np.random.default_rng(0)
    bed.tell(bed.ask(rng))
    with pytest.raises(ValueError, match="budget of 1 evaluations is spent"):
        bed.tell(bed.ask(rng))
    with pytest.raises(ValueError, match="no table 'x': choose one of simq-resnet"):
        open_testbed("x")
    with pytest.raises(ValueError, match="has no 'speed'"):
        open_testbed("simq-vit", ("loss", "speed"))


@pytest.mark.parametrize("gene", [0.9, -0.5, float("nan"), "0", None])
def test_genes_must_be_integers(gene: object) -> None:
    bed = open_testbed("simq-vit", evaluations=1)
    for ask in (bed.tell, bed.describe):
        with pytest.raises(ValueError, match="option numbers below"):
            ask([*[0] * (len(bed.levels) - 1), gene])  # type: ignore[operator]
    assert bed.remaining == 1
    assert bed.tell([0.0] * len(bed.levels)) == bed.tell([0] * len(bed.levels))  # type: ignore[list-item]


def test_a_curve_is_the_one_of_the_study() -> None:
    bed = open_testbed("simq-text", evaluations=60)
    rows = search_table(bed.table, bed.objectives, "random-joint", 60, 3, 20, 50)
    for row in rows:
        bed.tell(bed.table.points[row].tolist())
    values = bed.table.values(bed.objectives)
    reference, volume = reference_volume(values)
    assert bed.curve() == pytest.approx(anytime(values[rows], reference, 60) / volume)
    curves = ours("simq-text", evaluations=60, seeds=1, searchers=("random-joint",))
    assert curves["random-joint"].shape == (60,)


@pytest.mark.parametrize("example", ["with_pymoo.py", "with_optuna.py"])
def test_an_example_runs_and_draws(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(example.removeprefix("with_").removesuffix(".py"))
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "testbed" / example))
    (image,) = tmp_path.glob("*.png")
    assert image.stat().st_size > 10_000
