"""Figures in sentences carry no mark that could be read as a unit."""

import pytest

from benchmarks.analysis.number_format import OVER, ranged, unmarked


@pytest.mark.parametrize("over", [*OVER, "seeds"])
def test_a_figure_in_a_sentence_has_no_mark(over: str) -> None:
    assert unmarked(ranged(71.4, 69.8, 73.2, ".1f", over)) == "71.4 [69.8, 73.2]"


def test_other_text_stays() -> None:
    assert unmarked("22.0 s") == "22.0 s"
    assert unmarked("-") == "-"
