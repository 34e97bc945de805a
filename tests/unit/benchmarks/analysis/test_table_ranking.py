"""Networks that have learnt little but word frequencies: shown, and neither ranked nor tested."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.analysis.table import build_table
from benchmarks.claims import judge
from benchmarks.records import integrity, selection
from tests.fake_records import fake

FIRST, SECOND = 0.6, 0.8


def learnt(method: str, seed: int, *nats: float | None) -> dict[str, Any]:
    """Return a record whose candidates' losses lie so far below that of word frequencies."""
    record = fake(method, seed, limits=(FIRST, SECOND))
    for candidate, below in zip(record["candidates"], nats, strict=True):
        if below is not None:
            figure = {"value": below, "low": below, "high": below, "signature": "unigram-loss-minus-loss|x"}
            candidate["test"]["pooled"]["below_frequencies"] = figure
    return integrity.seal(record)


def six(method: str, *nats: float | None, odd: float | None = None) -> list[dict[str, Any]]:
    """Return six seeds of a method; ``odd`` replaces the first limit's figure of the last seed."""
    records = [learnt(method, seed, *nats) for seed in range(1, 6)]
    return [*records, learnt(method, 6, odd if odd is not None else nats[0], *nats[1:])]


@pytest.mark.parametrize(
    ("below", "ranked"), [(0.099, False), (0.1, True), (-0.3, False), (1.0, True), (None, True)]
)
def test_a_network_within_a_tenth_of_a_nat_of_word_frequencies_is_not_ranked(
    below: float | None, ranked: bool
) -> None:
    table = build_table([*six("hat", 1.0, 1.0), *six("mos-layer", below, 1.0)])
    row = next(r for r in table.each if (r["method"], r["limit_share"]) == ("mos-layer", FIRST))
    assert row["compared"] == ranked and ("not ranked" in row["status"]) == (not ranked)
    tested = {(line["method"], line["limit"]) for line in table.comparisons.to_dict("records")}
    first, second = (str(selection.Limit(1, share)) for share in (FIRST, SECOND))
    assert (("mos-layer", first) in tested) == ranked and ("mos-layer", second) in tested
    assert (("mos-layer", "all") in tested) == ranked, "a hypervolume over the other limit alone is too low"
    assert any(text.startswith("Not ranked") for text in table.notes) == (not ranked)
    assert not math.isnan(row["tokens"]), "its cost is shown"


def test_one_seed_that_did_not_learn_takes_its_row_with_it() -> None:
    """Otherwise the mean would be one over the seeds that went well."""
    table = build_table([*six("hat", 1.0, 1.0), *six("mos-layer", 1.0, 1.0, odd=0.01)])
    row = next(r for r in table.each if (r["method"], r["limit_share"]) == ("mos-layer", FIRST))
    assert row["n"] == 6 and not row["compared"]
    assert row["status"] == "6 seeds; not ranked: seed 6 within 0.1 nats of word frequencies"


def test_rows_that_are_not_ranked_stand_below_those_that_are() -> None:
    table = build_table([*six("hat", 0.0, 1.0), *six("mos-layer", 1.0, 1.0), *six("scratch", 1.0, 1.0)])
    order = [r["method"] for r in table.each if r["limit_share"] == FIRST]
    assert order[-1] == "hat" and table.baseline == "hat", "it is compared at the other limit"


@pytest.mark.parametrize(("below", "has"), [(0.0, False), (0.5, True)])
def test_a_claim_has_no_figure_of_a_run_with_such_a_network(below: float, has: bool) -> None:
    record = learnt("mos-neuron", 1, 1.0, below)
    record["spec"]["task"], record["spec"]["tier"] = "mt-multi30k-en-de", "small"
    figures = judge.measured(integrity.seal(record))
    assert figures is not None and figures
    quality = [value for (name, _), value in figures.items() if name == "quality"]
    assert quality and any(value is not None for value in quality) == has
    assert any(value is not None for value in figures.values()) == has
