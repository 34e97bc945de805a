"""Parts of the site: links without credentials, the headline, win rates, the plain page, the trace."""

import pytest

from benchmarks.analysis.run_page import thinned, trace_of
from benchmarks.analysis.table import build_from_runs
from benchmarks.comparability import run_summary
from benchmarks.leaderboard.site import headline, links, scriptless, view_data
from benchmarks.records import integrity
from tests.fake_records import fake, study


def table(records):
    return build_from_runs([run_summary.summarize(r, keep=True, place=i) for i, r in enumerate(records)])


@pytest.mark.parametrize(
    "remote, address",
    [
        ("https://github.com/o/r.git", "https://github.com/o/r"),
        ("https://user:secret@github.com/o/r", "https://github.com/o/r"),
        ("git@github.com:o/r.git", "https://github.com/o/r"),
        ("ssh://git@host.example:22/o/r.git", "https://host.example/o/r"),
        ("/home/me/r", ""),
        ("file:///home/me/r", ""),
        ("https://localhost/o/r", ""),
        ("https://github.com/../x", ""),
        ('https://github.com/o/r"onclick', ""),
    ],
)
def test_a_remote_becomes_an_address_without_credentials(remote, address):
    assert links.web_address(remote) == address


def test_links_of_a_run_lead_to_its_method_at_its_commit_and_nowhere_hostile():
    commit, home = "a" * 40, "https://github.com/o/r"
    known = links.of_code(home, "hat", {"commit": commit})
    assert known["method"] == ("baselines/hat.py", f"{home}/blob/{commit}/baselines/hat.py")
    assert (
        links.of_record(home, "results/records/x/y.json")[1] == f"{home}/blob/HEAD/results/records/x/y.json"
    )
    theirs = {"path": "m.py", "repository": "https://t@github.com/a/b", "commit": commit}
    shown = links.of_code("", "mine", {"commit": commit, "method": theirs})
    assert shown["method"][1] == f"https://github.com/a/b/blob/{commit}/m.py" and shown["code"][1] == ""
    for hostile in ({"url": "javascript:alert(1)"}, {"path": "../../x"}, {"path": "x y<", "repository": "z"}):
        assert links.of_code(home, "mine", {"commit": "zz", "method": hostile})["method"][1] == ""


def test_the_headline_is_the_most_informative_table_not_the_first_or_the_largest():
    full, smoke = table(study(("hat", "scratch"), 6)), table(study(seeds=2, tier="smoke"))
    weights = [(headline.weight(smoke), 12, "smoke"), (headline.weight(full), 12, "full")]
    assert headline.choose(weights) == "full" and headline.choose([]) == ""


def test_a_sentence_states_the_result_of_a_table_and_no_more():
    assert "ranks no methods" in headline.sentence(table(study(seeds=1)))
    assert "no difference is tested" in headline.sentence(table(study(seeds=3)))
    tested = headline.sentence(table(study(("hat", "mos-neuron", "random-search"), 6)))
    assert "] s" not in headline.sentence(table([fake("hat")]))
    assert "mos-neuron reaches the most: BLEU" in tested and "differences from hat" in tested
    assert headline.sentence(table([fake("hat", status="failed")])).startswith("No network")


def test_headlines_are_of_rows_within_their_limits():
    """Neither a network over its limit or without one, nor an architecture that another run paid for."""
    records = study(("hat", "mos-neuron", "scratch"), 3, limits=(0.6,))
    assert "within its limit, mos-neuron reaches" in headline.sentence(table(records))
    for record in records:
        if record["spec"]["method"] == "mos-neuron":
            for figure in ("p50", "p90", "ratio", "ratio_low", "ratio_high"):
                record["candidates"][0]["latency"][figure] *= 1.2
    without = study(("uniform-int8",), 3, limits=(None,))
    for record in without:
        record["candidates"][0]["test"]["pooled"]["bleu"] = {
            **record["candidates"][0]["test"]["pooled"]["bleu"], "value": 99.0, "low": 98.0, "high": 99.5
        }  # fmt: skip
    said = headline.sentence(table([integrity.seal(r) for r in (*records, *without)]))
    assert said.startswith("At equal budgets and within its limit, ")
    assert "mos-neuron" not in said.partition(":")[0] and "uniform-int8" not in said.partition(":")[0]
    leader = next(r for r in records if r["spec"]["method"] == "hat")
    for record in records:
        if record["spec"]["method"] == "scratch":
            record["spec"]["follows"] = leader["id"]
            record["candidates"][0]["test"]["pooled"]["bleu"]["value"] = 90.0
            record["candidates"][0]["test"]["pooled"]["bleu"]["high"] = 91.0
    said = headline.sentence(table([integrity.seal(r) for r in records]))
    assert "scratch, with architectures of a search that is not charged to it, reaches the most" in said


def test_the_headline_names_a_method_once_with_its_limits():
    several = study(("hat", "mos-neuron", "scratch"), 6)
    said = headline.sentence(table(several))
    assert "differences from hat these are significant: " in said
    names = said.split("significant: ")[1]
    assert names.count("mos-neuron") == 1 and " of 3 limits (+" in names
    single = headline.sentence(table(study(("hat", "mos-neuron"), 6, limits=(0.5,))))
    assert "limits" not in single and "significant: mos-neuron (+" in single


def test_win_rates_count_pairs_of_equal_seed_and_limit():
    shown = table(study(("hat", "mos-neuron", "scratch"), 3))
    rates = view_data.win_rates(shown)
    names = rates["methods"]
    assert sorted(names) == ["hat", "mos-neuron", "scratch"]
    for i, ours in enumerate(names):
        for j, theirs in enumerate(names):
            rate, pairs = rates["rates"][i][j]
            assert pairs == (0 if i == j else 9)
            if i != j:
                part = shown.compared.pivot_table(index=["seed", "limit"], columns="method", values="quality")
                assert rate == round(100 * (part[ours] > part[theirs]).mean())
                assert rate + rates["rates"][j][i][0] == 100


def test_views_hold_mean_lowest_and_highest_and_costs_by_target():
    data = view_data.view_data(table(study(("hat", "scratch"), 3)))
    for series in data["any_time"]["series"]:
        assert all(low <= mean <= high for _, mean, low, high in series["points"])
    costs = {line["method"]: line for line in data["break_even"]}
    assert costs["scratch"]["shared"] == 0 and costs["hat"]["shared"] == pytest.approx(0.8 * 0.999 * 2e6)
    assert "even" not in costs["scratch"]
    alone, hat = costs["scratch"]["own"], costs["hat"]
    assert hat["against"] == "scratch"
    assert hat["even"] == pytest.approx(max(1.0, hat["shared"] / (alone - hat["own"])))


def test_costs_stand_beside_the_difference_in_quality_over_seeds():
    shown = table(study(("hat", "scratch"), 3))
    (line,) = (line for line in view_data.view_data(shown)["break_even"] if line["method"] == "hat")
    part = shown.compared.pivot_table(index=["seed", "limit"], columns="method", values="quality")
    means = (part["hat"] - part["scratch"]).groupby("seed").mean()
    assert line["gain"].startswith(f"{means.mean():+.2f} [") and line["gain"].endswith("(3 seeds, 3 limits)")
    apart = study(("hat",), 3) + [r for r in study(("scratch",), 7) if r["spec"]["seed"] > 5]
    assert not {"even", "gain", "against"} & set(costs_of("hat", apart)), "no limit and seed of both"
    teacher = [fake("teacher", seed, limits=(None,)) for seed in (1, 2, 3)]
    assert "against" not in costs_of("hat", [*study(("hat",), 3), *teacher]), "a teacher is no control"


def test_means_over_limits_are_of_seeds_that_have_them_all():
    some = {("a", 1): 1.0, ("b", 1): 3.0, ("a", 2): 5.0, ("b", 2): 5.0, ("a", 3): 9.0}
    assert view_data._mean_over_limits(some, ".1f").startswith("3.5 [")
    assert view_data._mean_over_limits(some, ".1f").endswith("(2 seeds, 2 limits)")
    assert view_data._mean_over_limits({("a", 1): 1.0, ("b", 2): 3.0}, ".1f") == "no seed has all limits"


def costs_of(method, records):
    (line,) = (x for x in view_data.view_data(table(records))["break_even"] if x["method"] == method)
    return line


def test_the_plain_page_escapes_hostile_texts():
    evil = "<script>alert(1)</script>"
    page = scriptless.page([(evil, scriptless.table(table(study(seeds=1)), evil))], [])
    assert "<script" not in page and "&lt;script&gt;" in page and "No claims" in page


def test_a_trace_has_phases_that_add_up_and_few_points():
    record = fake("hat")
    trace = trace_of(record)
    assert sum(trace["spent"]["tokens"].values()) == pytest.approx(record["ledger"]["totals"]["tokens"])
    assert trace["log"][0][0] == 1 and trace["timeline"][-1][2] == "supernet"
    points = [[i] for i in range(1000)]
    assert (
        thinned(points, 60)[0] == [0] and thinned(points, 60)[-1] == [999] and len(thinned(points, 60)) == 60
    )
