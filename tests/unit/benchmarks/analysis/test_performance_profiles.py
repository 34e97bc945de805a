"""Performance profiles: what they count, when there is one, and that nothing is ranked by them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.analysis import performance_profiles
from benchmarks.analysis.comparisons import volumes_of
from benchmarks.analysis.table import build_table
from benchmarks.records import integrity
from benchmarks.report import data_formats
from benchmarks.report.figure_texts import alternative
from benchmarks.report.markdown import markdown
from benchmarks.report.plots.performance_profiles import draw
from tests.fake_records import METHODS, fake, study

COST = st.floats(1e-3, 1e3) | st.just(math.inf)


@given(
    st.integers(3, 5).flatmap(
        lambda n: st.lists(st.lists(COST, min_size=n, max_size=n), min_size=1, max_size=5)
    )
)
def test_factors_and_shares_are_those_of_the_definition(lists):
    costs = {str(i): mine for i, mine in enumerate(lists)}
    factors = performance_profiles.ratios(costs)
    for j, column in enumerate(zip(*lists, strict=True)):
        finite = [c for c in column if math.isfinite(c)]
        for name, mine in costs.items():
            due = mine[j] / min(finite) if math.isfinite(mine[j]) else math.inf
            assert factors[name][j] == due
    for mine in factors.values():
        shares = [performance_profiles.share(mine, at) for at in (1, 1.5, 2, 4, 1e9)]
        assert shares == sorted(shares) and 0 <= shares[0] and shares[-1] <= 1
        assert shares[-1] == sum(math.isfinite(f) for f in mine) / len(mine)


def test_hypervolume_factors_are_best_over_own():
    table = build_table(study())
    costs = performance_profiles.panels(table)["hypervolume"]
    factors = performance_profiles.ratios(costs)
    volumes = volumes_of(table.lines, table.axis).set_index(["method", "seed"])["volume"]
    for i, seed in enumerate((1, 2, 3)):
        best = max(volumes[method, seed] for method in METHODS)
        for method in METHODS:
            assert factors[method][i] == pytest.approx(best / volumes[method, seed])


@pytest.mark.parametrize("ended", ["failed", "budget"])
def test_time_counts_only_where_the_target_is_reached_and_seeds_with_a_stopped_run_are_left_out(ended):
    found = [r for r in study() if (r["spec"]["method"], r["spec"]["seed"]) != ("mos-layer", 2)]
    table = build_table([*found, fake("mos-layer", 2, status=ended)])
    costs = performance_profiles.time_costs(table)
    assert all(len(mine) == 6 for mine in costs.values())
    quality = {(r.method, r.seed, str(r.limit)): r.quality for r in table.compared.itertuples()}
    workloads = [(s, f"{x:g} x ref") for s in (1, 3) for x in (0.4, 0.6, 0.8)]
    for i, (seed, limit) in enumerate(workloads):
        there = {m: quality[m, seed, limit] for m in METHODS if (m, seed, limit) in quality}
        target = performance_profiles.TARGET * max(there.values())
        for method in METHODS:
            assert math.isfinite(costs[method][i]) == (there.get(method, 0) >= target)
            if math.isfinite(costs[method][i]):
                assert costs[method][i] == 500.0 + 115 * (i % 3)
    assert all(len(mine) == 2 for mine in performance_profiles.volume_costs(table).values())


def test_the_time_of_a_follower_holds_that_of_the_run_it_follows():
    leaders = study(("hat", "mos-layer"), 3)
    ids = {r["spec"]["seed"]: r for r in leaders if r["spec"]["method"] == "hat"}
    followers = study(("scratch",), 3)
    for record in followers:
        record["spec"]["follows"] = ids[record["spec"]["seed"]]["id"]
    table = build_table([*leaders, *map(integrity.seal, followers)])
    costs = performance_profiles.time_costs(table)
    own = build_table([*leaders, *study(("scratch",), 3)])
    alone = performance_profiles.time_costs(own)["scratch"]
    for i, (cost, before) in enumerate(zip(costs["scratch"], alone, strict=True)):
        assert cost == pytest.approx(before + ids[i // 3 + 1]["ledger"]["totals"]["seconds"])
    missing = build_table([r for r in [*leaders, *followers] if r["spec"]["method"] != "hat"])
    assert performance_profiles.time_costs(missing) == {}


@pytest.mark.parametrize("methods", [3, 6])
def test_every_line_of_a_profile_lies_between_0_and_100_per_cent(methods):
    table = build_table(study(METHODS[:methods], 3))
    made = draw(table)
    for axes in made.axes:
        low, high = axes.get_ylim()
        assert (low, high) == (0, 100)
        for line in axes.lines:
            heights = [float(y) for y in line.get_ydata()]
            assert all(0 <= y <= 100 for y in heights), line.get_label()


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (lambda: study(METHODS[:2]), set()),
        (lambda: study(METHODS[:3], 2, limits=(0.5,)), set()),
        (lambda: study(METHODS[:3], 1), {"time"}),
        (lambda: study(METHODS[:3], 1, spent=False), set()),
        (lambda: study(METHODS[:3], 3, spent=False), {"hypervolume"}),
        (lambda: study(METHODS[:3], 3, limits=(0.5,)), {"time", "hypervolume"}),
        (lambda: [*study(METHODS[:2]), fake("scratch", 1)], {"time"}),
        (lambda: [fake(m, s, status="failed") for m in METHODS for s in (1, 2, 3)], set()),
    ],
)
def test_profiles_need_three_methods_on_three_workloads(found, shown):
    table = build_table(found())
    assert set(performance_profiles.panels(table)) == shown
    assert (draw(table) is not None) == bool(shown)


def test_performance_profiles_are_drawn_and_in_no_table():
    table = build_table(study())
    for text in (
        markdown(table, "t"),
        data_formats.csv(table),
        data_formats.json_text(data_formats.as_json(table)),
    ):
        assert "performance" not in text.lower() and "within this factor" not in text
    said = alternative("performance", table)
    assert "hypervolume: on the share of workloads" in said and "mos-neuron" in said and "time:" in said
