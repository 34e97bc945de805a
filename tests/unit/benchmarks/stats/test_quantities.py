"""Quantities: ranges with their ends, words for them, and the direction that is better."""

import math

import pytest

from benchmarks.stats import quantities
from benchmarks.stats.quantities import FIGURES, METRICS, Quantity, of_metric


def test_the_ends_of_a_range_belong_to_it():
    percent = METRICS["bleu"]
    assert percent.holds(0) and percent.holds(100) and not percent.holds(-0.01) and not percent.holds(100.01)
    assert percent.holds(100 * (1 + 1e-9)) and percent.holds(-1e-9), "rounding apart"
    assert FIGURES["p50"].holds(1e12) and not FIGURES["p50"].holds(-0.01)


@pytest.mark.parametrize(
    ("quantity", "words"),
    [(METRICS["mcc"], "-100 to 100"), (FIGURES["p50"], "not below 0"), (Quantity("x"), "any number")],
)
def test_the_range_of_a_quantity_is_worded(quantity: Quantity, words: str):
    assert quantity.span == words


def test_the_first_impossible_figure_is_named():
    latency = FIGURES["p50"]
    assert latency.trespass(1.0, None, math.nan) == ""
    assert latency.trespass(1.0, -2.0, -3.0) == "-2 ms is impossible: median latency is not below 0 ms"
    assert METRICS["f1"].trespass(101.0) == "101 is impossible: F1 % is 0 to 100"


def test_more_is_better_for_every_metric_and_less_for_every_cost():
    assert [name for name, metric in METRICS.items() if not metric.higher_is_better] == ["ter"]
    assert of_metric("their-score").higher_is_better and of_metric("their-score").name == "their-score"
    assert [name for name, figure in FIGURES.items() if figure.higher_is_better] == ["volume"]
    assert {name for name, figure in FIGURES.items() if figure.counted} >= {"params", "macs", "bytes"}
    assert not FIGURES["p50"].counted and quantities.PROBABILITY.high == 1


def test_a_column_has_the_quantity_of_its_figure_or_metric():
    assert quantities.of_column("quality", METRICS["ter"]) is METRICS["ter"]
    assert quantities.of_column("p50", METRICS["ter"]) is FIGURES["p50"]
    assert quantities.of_column("chrf", METRICS["ter"]) is METRICS["chrf"]
