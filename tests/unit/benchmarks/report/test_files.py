"""Files of a report: all of them, the same twice, and texts that replace figures."""

from benchmarks.analysis.table import build_table
from benchmarks.report.figure_texts import alternative
from benchmarks.report.files import write_report
from benchmarks.report.plots import gallery
from tests.fake_records import fake, study


def test_a_report_writes_everything_and_the_same_twice(tmp_path):
    table = build_table(study(("hat", "scratch"), 1, tier="smoke"))
    paths = write_report(table, tmp_path / "a")
    names = {"table.md", "table.csv", "test_sets.csv", "table.json", "table.tex"}
    names |= {f"{n}.{k}" for n in ("pareto", "hypervolume", "budget", "search") for k in ("png", "svg")}
    assert set(paths) == names == {p.name for p in (tmp_path / "a").iterdir()}
    first = {name: path.read_bytes() for name, path in paths.items()}
    without_search = build_table(study(("hat",), 1, spent=False))
    again = write_report(without_search, tmp_path / "a")
    assert "search.svg" not in again and not (tmp_path / "a" / "search.svg").exists()
    write_report(table, tmp_path / "a")
    for name, path in paths.items():
        assert path.read_bytes() == first[name], name


def test_alternatives_give_the_data_of_every_figure():
    table = build_table(study(seeds=1))
    texts = {name: alternative(name, table) for name in gallery.DRAWINGS}
    assert all(len(text) > 40 for text in texts.values())
    assert "mos-neuron at limit 0.4 x ref" in texts["pareto"] and "BLEU" in texts["pareto"]
    assert "best first: mos-neuron" in texts["hypervolume"]
    assert "Lowest loss at the end:" in texts["search"] and "hat " in texts["search"]
    assert "Lowest" in alternative("search", build_table([fake(status="failed")]))
