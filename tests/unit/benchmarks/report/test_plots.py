"""The figures: the same bytes every time, nothing clipped, readable without colour."""

import io
import itertools
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from benchmarks.analysis.table import build_table
from benchmarks.records import integrity
from benchmarks.report.files import write_report
from benchmarks.report.plots import gallery, header, style
from tests.fake_records import fake, study
from tests.unit.benchmarks.analysis.test_table import hostile

LONG = "a-method-with-a-name-of-many-syllables"
CASES = {
    "three-seeds": lambda: study(),
    "one-seed": lambda: study(seeds=1, spent=False, tier="smoke", limits=(0.5, None)),
    "two-seeds": lambda: study(seeds=2),
    "one-run": lambda: [fake(limits=(0.5,))],
    "close-limits": lambda: study(("hat", LONG), 2, limits=(0.5, 0.52, 0.54, 0.9)),
    "many-methods": lambda: study(
        [f"{LONG}-{i}" for i in range(9)], 1, profile="a-profile-with-a-long-name.v12"
    ),
    "failed": lambda: [fake(status="failed")],
    "no-energy": lambda: [without_energy(r) for r in study(("hat", "scratch"), 1)],
    "limits-elsewhere": lambda: study(tier="front", limits=(0.5, 0.7)),
    "hostile": hostile,
}


def without_energy(record):
    ledger = record["ledger"]
    ledger["entries"] = [e for e in ledger["entries"] if e["kind"] != "joules"]
    del ledger["totals"]["joules"]
    return integrity.seal(record | {"energy": None})


@pytest.fixture(autouse=True)
def plot_style():
    with mpl.rc_context(style.RC_PARAMS):
        yield


def figures(case):
    table = build_table(CASES[case]())
    return {name: figure for name, draw in gallery.DRAWINGS.items() if (figure := draw(table)) is not None}


def tick_labels(axes):
    return [*axes.get_xticklabels(which="both"), *axes.get_yticklabels(which="both")]


@pytest.mark.parametrize("case", CASES)
def test_no_text_is_clipped_and_headings_recipes_and_labels_do_not_overlap(case):
    for name, figure in figures(case).items():
        FigureCanvasAgg(figure).draw()
        frame = figure.bbox
        # Tick labels just outside the axes' limits are kept by matplotlib but not drawn.
        hidden = {text for axes in figure.axes for text in tick_labels(axes)}
        hidden |= {text for axes in figure.axes if not axes.axison for text in axes.findobj(Text)} - set(
            figure.texts
        )
        boxes = {}
        for text in figure.findobj(Text):
            if text.get_text().strip() and text.get_visible() and text not in hidden:
                box = boxes[text] = text.get_window_extent()
                inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= frame.x1 + 1 and box.y1 <= frame.y1 + 1
                assert inside, (name, text.get_text(), box)
        labels = {t for a in figure.axes for t in (*a.texts, a.xaxis.label) if "is better" in t.get_text()}
        labels |= {t for a in figure.axes for t in a.texts if "limit" in t.get_text()}
        checked = [t for t in boxes if t in labels or t in figure.texts]
        for first, second in itertools.combinations(checked, 2):
            a, b = boxes[first], boxes[second]
            crossing = min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
            assert not crossing, (name, first.get_text(), second.get_text())


def test_the_same_records_give_the_same_bytes_in_any_order():
    found = [*study(("hat", "mos-neuron"), 2), fake("broken", status="failed")]
    first = gallery.images(build_table(found))
    found.reverse()
    assert gallery.images(build_table(found)) == first


def test_svgs_are_well_formed_have_no_date_and_no_script():
    for name, data in gallery.images(build_table(hostile()), ["svg"]).items():
        root = ET.fromstring(data)
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert not {"script", "date", "foreignObject", "image"} & tags, name
        assert b"\x1b" not in data
        assert len(data) < 300_000


def test_files_are_written_as_png_and_svg(tmp_path):
    found = study(("hat",), 1)
    paths = write_report(build_table(found), tmp_path)
    drawn = {f"{n}.{k}" for n in ("pareto", "hypervolume", "search", "budget") for k in ("png", "svg")}
    assert drawn == {name for name in paths if name.endswith((".png", ".svg"))}
    assert all(paths[name].stat().st_size > 5000 for name in drawn)


def words(figure):
    return "\n".join(t.get_text() for t in figure.findobj(Text))


def test_a_figure_has_a_header_of_its_content():
    for name, figure in figures("three-seeds").items():
        told = words(figure)
        for part in ("mt-multi30k-en-de", "tier small", "cpu-2core-avx512.v1", "3 seeds per method"):
            assert part in told, (name, part)
        assert "etter" in told or name == "budget"
    pareto = words(figures("three-seeds")["pareto"])
    for part in (
        "ms",
        "nrefs:1|case:mixed",
        "lat:p50,p90|n:128",
        "limit 0.4 x ref",
        "95 % t-interval over seeds",
    ):
        assert part in pareto
    profiles = words(figures("three-seeds")["performance"])
    for part in (
        "a workload is a seed",
        "95% of the best test BLEU",
        "nothing is ranked by it",
        "9 workloads",
    ):
        assert part in " ".join(profiles.split())
    assert "over test sentences" in words(figures("one-seed")["pareto"])
    assert "no comparable run has a scored candidate" in words(figures("failed")["pareto"])
    assert "not measured" in words(figures("no-energy")["budget"])


def test_limits_of_another_runtime_are_no_lines_on_the_axis_of_this_one():
    told = words(figures("limits-elsewhere")["pareto"])
    assert "limit 0.5" not in told and "no place on this axis" in " ".join(told.split())


def test_a_figure_lists_two_signatures_and_of_more_the_fields_that_differ():
    one, two, three = (f"acc|n:500|prec:{p}|{p}:torch|ci:wilson95" for p in ("int8", "w4", "bf16"))
    assert header.shorten_recipe(one) == one
    assert header.shorten_recipe(f"{one}  and  {two}") == f"{one}  and  {two}"
    assert (
        header.shorten_recipe("  and  ".join((one, two, three)))
        == "acc|n:500|ci:wilson95; 3 signatures differ in prec, int8, w4, bf16 (see the table)"
    )


def test_a_png_has_few_colours_and_the_flat_ones_unchanged():
    figure = figures("three-seeds")["pareto"]
    drawn = Image.open(io.BytesIO(style.image_bytes(figure, "png")))
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(style.DPI)
    canvas.draw()
    exact = np.asarray(canvas.buffer_rgba())[..., :3]
    assert drawn.mode == "P" and drawn.info["dpi"] == pytest.approx((style.DPI, style.DPI), rel=1e-3)
    kept = np.asarray(drawn.convert("RGB"))
    colours, counts = np.unique(exact.reshape(-1, 3), axis=0, return_counts=True)
    for colour in colours[np.argsort(-counts)[:8]]:
        assert (kept[(exact == colour).all(-1)] == colour).all()
