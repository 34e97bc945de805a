"""Styles of methods: equal in all company, different from one another, and best from worst."""

import json

import pytest
from matplotlib.colors import to_rgb

from benchmarks.report.method_styles import COLOURS, method_styles
from tests import ROOT

BOARD = json.loads((ROOT / "results" / "leaderboard.json").read_text())


def key(style):
    return style.colour_number, style.marker_number, style.fill


def test_the_style_of_a_method_is_independent_of_other_methods():
    everyone = method_styles(["mine", "scratch", "hat", "mos-neuron", "hat (after=continue)"])
    for name in everyone:
        assert key(method_styles([name, "hat"])[name]) == key(everyone[name])


def test_default_options_keep_the_style_of_a_method_and_others_share_colour_and_shape():
    styles = method_styles(
        ["hat", "hat (default options)", "hat (after=continue)", "hat, inherited", "hat+int8"]
    )
    assert key(styles["hat"]) == key(styles["hat (default options)"])
    assert len({key(style)[:2] for style in styles.values()}) == 1
    assert len({key(style) for style in styles.values()}) == 4


@pytest.mark.parametrize("count", [1, 40, 150])
def test_no_two_styles_are_alike(count):
    names = [f"many-{i}" for i in range(count)]
    assert len({key(style) for style in method_styles(names).values()}) == count


@pytest.mark.parametrize("group", BOARD["groups"], ids=lambda group: group["title"])
def test_on_the_board_no_two_look_alike_and_the_best_is_never_like_the_worst(group):
    rows = [row for row in group["rows"] if row["compared"] and row["quality"] is not None]
    styles = method_styles({row["method"] for row in rows})
    assert len({key(style) for style in styles.values()}) == len(styles)
    for limit in {row["limit"] for row in rows}:
        here = sorted((row for row in rows if row["limit"] == limit), key=lambda row: row["quality"])
        if len({row["method"] for row in here}) > 2:
            worst, best = (styles[here[i]["method"]] for i in (0, -1))
            assert best.colour != worst.colour and best.marker != worst.marker


@pytest.mark.parametrize("colour", COLOURS)
def test_no_colour_is_too_pale_for_white_paper(colour):
    red, green, blue = to_rgb(colour)
    assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.75
