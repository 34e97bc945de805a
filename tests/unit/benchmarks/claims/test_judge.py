"""Claims as hypotheses: who counts, what is paired, when there is a verdict, what is said without one."""

import io
import json
import random
import shlex
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats as scipy_stats

from benchmarks.analysis.table import build_table
from benchmarks.api import UsageError
from benchmarks.claims import hypotheses, judge
from benchmarks.claims.hypotheses import NOT_TESTED, REFUTED, SUPPORTED, UNDECIDED
from benchmarks.claims.measures import MEASURES
from benchmarks.cli import main
from benchmarks.cli import plan as plans
from benchmarks.comparability import grouping, run_summary
from benchmarks.hardware import profiles
from benchmarks.leaderboard import build, claims_page
from benchmarks.records import integrity, store
from benchmarks.registry import find
from benchmarks.stats import intervals
from benchmarks.tasks import get_task
from tests import ROOT
from tests.fake_records import fake, summaries

BY_ID = {c.id: c for c in hypotheses.claims()}
GPU, TOKENS = "nvidia-h200.v1", 20e6


def run(method, seed, inherited=20.0, alone=30.0, origin="retrained", options=None, **conditions):
    """A record of one limit whose architecture was scored with inherited weights and trained again."""
    given = {"profile": GPU, "tokens": TOKENS, "limits": (0.8, 0.8)} | conditions
    record = fake(method, seed, **given)
    kinds = ((inherited, "inherited"), (alone, origin))
    for made, (quality, kind) in zip(record["candidates"], kinds, strict=True):
        made["architecture"], made["origin"] = {"layers": seed}, kind
        made["valid"] = {"loss": 3.0 - quality / 100, "bleu": None}
        made["test"]["pooled"]["bleu"]["value"] = quality
    record["spec"]["options"] = options or {}
    return integrity.seal(record)


def judged(name, found, **changes):
    return judge.judge(found, [replace(BY_ID[name], **{"untested": ""} | changes)])[0]


def gaps(mixed, plain, seeds=range(1, 7), **conditions):
    """Runs for ``mos-gap-neuron`` in which each seed has these gaps."""
    scratch = {"after": "scratch"}
    return [
        record
        for seed, a, b in zip(seeds, mixed, plain, strict=True)
        for record in (
            run("mos-neuron", seed, 30.0 - a, 30.0, options=scratch, **conditions),
            run("hat", seed, 30.0 - b, 30.0, **conditions),
        )
    ]


SMALL, LARGE = [1.1, 1.3, 0.9, 1.0, 1.2, 1.15], [1.9, 2.0, 1.7, 1.85, 1.8, 2.1]


def test_six_seeds_on_one_side_support_the_claim_with_scipys_interval():
    found = judged("mos-gap-neuron", gaps(SMALL, LARGE))
    differences = np.array(SMALL) - np.array(LARGE)
    low, high = scipy_stats.t.interval(0.95, 5, differences.mean(), scipy_stats.sem(differences))
    assert found.verdict == SUPPORTED and found.n == 6 and not found.command
    assert (found.effect, found.low, found.high) == pytest.approx((differences.mean(), low, high))
    assert len(found.records) == 12 and found.evidence[0].looks == 1
    expected = scipy_stats.ttest_1samp(differences, 0).pvalue
    assert found.evidence[0].p == found.evidence[0].p_holm == pytest.approx(expected)


def test_the_other_way_round_refutes_and_no_clear_side_decides_nothing():
    assert judged("mos-gap-neuron", gaps(LARGE, SMALL)).verdict == REFUTED
    mixed = judged("mos-gap-neuron", gaps(SMALL, [*SMALL[3:], *SMALL[:3]]))
    assert mixed.verdict == UNDECIDED and "not below 0.025, look 1 of 2" in mixed.why
    assert mixed.command.endswith("--seeds 12")


@pytest.mark.parametrize("n", range(6))
def test_below_six_paired_seeds_a_claim_is_undecided(n):
    found = judged("mos-gap-neuron", gaps(SMALL[:n], LARGE[:n], range(1, n + 1)))
    assert found.verdict == NOT_TESTED and found.n == n
    assert found.command.endswith("--seeds 6") and f"--profile {GPU}" in found.command
    assert f"{n} of 6" in found.why or n == 0
    alone = gaps(SMALL, LARGE)[::2]
    assert judged("mos-gap-neuron", alone).n == 0


@pytest.mark.parametrize(
    ("conditions", "counts"),
    [
        ({"tokens": 21e6}, True),
        ({"tokens": 19e6}, False),
        ({"profile": "undeclared"}, False),
        ({"tier": "paper"}, False),
        ({"task": "mt-tatoeba-en-de"}, False),
    ],
)
def test_conditions_are_never_mixed_and_must_be_those_asked_for(conditions, counts):
    half = gaps(SMALL[:3], LARGE[:3], range(1, 4))
    other = gaps(SMALL[3:], LARGE[3:], range(4, 7), **conditions)
    found = judged("mos-gap-neuron", half + other)
    assert found.verdict == NOT_TESTED and found.n == 3
    assert len(found.evidence) == (2 if counts else 1)
    whole = judged("mos-gap-neuron", gaps(SMALL, LARGE, **conditions))
    assert whole.verdict == (SUPPORTED if counts else NOT_TESTED)


@pytest.mark.parametrize("what", ["settings_sha256", "data", "method_sha256", "options"])
def test_other_settings_data_sources_or_options_are_never_mixed(what):
    found = gaps(SMALL, LARGE)
    for record in found[:6]:
        if what == "data":
            record["provenance"]["data"]["train.en"] = "0" * 64
        elif what == "options":
            record["spec"]["options"] = {"after": "inherit"}
        else:
            record["spec"][what] = "0" * 64
    assert judged("mos-gap-neuron", [integrity.seal(r) for r in found]).n == 3


def test_groups_that_contradict_one_another_leave_it_open_and_one_that_decides_is_enough():
    here, there = gaps(SMALL, LARGE), gaps(LARGE, SMALL, profile="cpu-2core-avx512.v1", tokens=2e6)
    found = judged("mos-gap-neuron", here + there)
    assert found.verdict == UNDECIDED and "contradict" in found.why and not found.command
    assert {e.verdict for e in found.evidence} == {SUPPORTED, REFUTED}
    assert judged("mos-gap-neuron", here + there[:6]).verdict == SUPPORTED


def test_the_group_with_most_seeds_decides_and_then_the_first_declared_profile():
    flat = [*SMALL[3:], *SMALL[:3]]
    other = {"profile": "nvidia-h100.v1"}
    first, second = gaps(SMALL, LARGE), gaps(SMALL, flat, **other)
    found = judged("mos-gap-neuron", second + first)
    assert found.verdict == SUPPORTED and f"({GPU} decides, of 2 groups" in found.why
    more = gaps(2 * SMALL, 2 * flat, range(1, 13), **other)
    twelve = judged("mos-gap-neuron", first + more)  # chosen by its seeds, not by what it finds
    assert (twelve.verdict, twelve.n) == (UNDECIDED, 12) and "nvidia-h100.v1 decides" in twelve.why


def tuned(method, seed, tasks, widths=((3.4e6, 4e6), (4.6e6, 5.4e6)), **conditions):
    """A record of suite bert: for each size one network, fine-tuned on tasks: name -> figure or unfit."""
    given = {"task": "bert-enwiki", "profile": GPU, "tokens": 400e6} | conditions
    record = fake(method, seed, limits=(None,) * len(widths), **given)
    for made, window in zip(record["candidates"], widths, strict=True):
        made |= {"window": [int(edge) for edge in window], "limit_share": None}
        del made["sentences_sha256"]
        for name, value in tasks.items():
            unfit = {"unfit": "too small"} if isinstance(value, str) else {}
            figure = {"value": float(value), "values": [float(value)], "signature": "glue"} | unfit
            made["test"][name] = {"accuracy": figure, "f1": figure | {"value": 0.0, "values": [0.0]}}
    return integrity.seal(record)


def test_glue_is_a_mean_over_sizes_and_over_tasks_that_rank_every_network_compared():
    both = {"sst-2": 80.0, "sts-b": 20.0}
    assert MEASURES["glue"](tuned("hat", 1, both | {"rte": "99"}), None) == {
        f"{task} at {size} M": value for task, value in both.items() for size in ("3.4-4", "4.6-5.4")
    }
    assert MEASURES["glue"](fake("hat", 1), None) is None
    found = []
    for seed in range(1, 7):
        found.append(tuned("mos-neuron", seed, {"sst-2": 82.0 + seed / 10, "sts-b": 21.0, "cola": 50.0}))
        # CoLA ranks the wider networks of one method alone: no part of either mean.
        found.append(tuned("nas-bert", seed, both | {"cola": "1" if seed == 3 else 2.0}))
    verdict = judged("mos-nas-bert", found)
    assert verdict.verdict == SUPPORTED and verdict.effect == pytest.approx((2.35 + 1.0) / 2)
    assert not any("cola" in part for part in verdict.evidence[0].parts)
    assert "mean over sst-2 at 3.4-4 M" in claims_page.markdown([verdict]).replace("\\", "")
    found[1] = tuned("nas-bert", 1, {"sst-2": "80"})
    assert judged("mos-nas-bert", found).n == 5


def test_a_gap_at_each_size_is_a_mean_of_sizes():
    record = run("hat", 1, 20, 30)
    for made in record["candidates"]:
        made["window"] = [1_000_000, 2_000_000]
    assert MEASURES["absolute-gap-at-each"](record, None) == {"1-2 M": pytest.approx(10.0)}


def test_the_order_of_the_records_changes_nothing():
    found = gaps(SMALL, LARGE)
    found += gaps(SMALL[:2], LARGE[:2], range(1, 3), profile="cpu-2core-avx512.v1", tokens=2e6)
    expected = [v.to_dict() for v in judge.judge(found)]
    random.Random(1).shuffle(found)
    assert [v.to_dict() for v in judge.judge(found)] == expected
    json.dumps(expected, allow_nan=False)


def test_a_gap_needs_the_same_architecture_and_training_from_scratch():
    fair, other, on = run("hat", 1, 20, 30), run("hat", 1, 20, 30), run("hat", 1, 20, 30, origin="continued")
    other["candidates"][1]["architecture"] = {"layers": 9}
    claim = BY_ID["mos-gap-exists"]
    assert MEASURES["gap"](fair, claim.limit) == pytest.approx(10.0)
    assert MEASURES["gap"](other, claim.limit) is None and MEASURES["gap"](on, claim.limit) is None
    better = run("hat", 1, 31, 30)
    assert MEASURES["gap"](better, claim.limit) == -1 and MEASURES["absolute-gap"](better, claim.limit) == 1


def test_quality_is_that_of_the_best_by_validation_and_inherited_that_of_inherited():
    record, claim = run("hat", 1, 20, 30), BY_ID["mos-bleu-at-limit"]
    assert MEASURES["quality"](record, claim.limit) == 30
    assert MEASURES["inherited"](record, claim.limit) == 20
    assert MEASURES["quality"](record, 0.5) is None
    ratio = record["candidates"][1]["latency"]["ratio"]
    assert MEASURES["hypervolume"](record, claim.limit) == pytest.approx(30 * (1.1 - ratio))


def test_failed_runs_do_not_count_and_a_seed_counts_once():
    found = gaps(SMALL, LARGE)
    broken = fake("hat", 1, status="failed", profile=GPU, tokens=TOKENS, limits=(0.8,))
    assert judged("mos-gap-neuron", [*found[:1], broken, *found[2:]]).n == 5
    again = run("hat", 1, 0.0, 30.0)
    again["spec"]["follows"], again["provenance"]["ended"] = "0" * 16, "2025-01-01T00:00:00+00:00"
    assert judged("mos-gap-neuron", [*found, integrity.seal(again)]).verdict == SUPPORTED


@pytest.mark.parametrize("status", ["budget", "failed"])
def test_a_run_that_was_stopped_never_decides(status):
    found = gaps(SMALL, LARGE)
    found[0]["status"], found[0]["message"] = status, "stopped: seconds"
    stopped = judged("mos-gap-neuron", [integrity.seal(record) for record in found])
    assert (stopped.verdict, stopped.n) == (NOT_TESTED, 5) and "5 of 6" in stopped.why


def test_a_run_that_follows_a_stopped_one_never_decides():
    runs = gaps(SMALL, LARGE)
    leader = fake("hat", 7, status="budget", profile=GPU, tokens=TOKENS, limits=(0.8,))
    runs[0]["spec"]["follows"] = leader["id"]
    runs[0] = integrity.seal(runs[0])
    assert judged("mos-gap-neuron", [*runs, leader]).n == 5
    assert judged("mos-gap-neuron", runs).n == 6


def test_seeds_are_those_stated_and_no_others_can_be_added_until_it_fits():
    flat = [*SMALL[3:], *SMALL[:3]]
    at_six = judged("mos-gap-neuron", gaps(SMALL, flat))
    eleven = gaps([*SMALL, *SMALL[:5]], [*flat, *LARGE[:5]], range(1, 12))
    more = judged("mos-gap-neuron", eleven)
    assert (more.verdict, more.n, more.effect) == (UNDECIDED, 6, at_six.effect)
    without_third = [*gaps(SMALL, LARGE)[:4], *gaps(SMALL[3:] * 2, LARGE[3:] * 2, range(4, 10))]
    chosen = judged("mos-gap-neuron", without_third)
    assert (chosen.verdict, chosen.n) == (NOT_TESTED, 5) and chosen.command.endswith("--seeds 6")


def test_the_second_look_is_the_last_and_the_first_that_decides_stands():
    flat = [*SMALL[3:], *SMALL[:3]]
    twelve = judged("mos-gap-neuron", gaps([*SMALL, *SMALL], [*flat, *flat], range(1, 13)))
    assert (twelve.verdict, twelve.n, twelve.command) == (UNDECIDED, 12, "")
    assert "both looks are spent" in claims_page.without_command(twelve)
    late = judged("mos-gap-neuron", gaps([*SMALL, *[0.1] * 6], [*flat, *LARGE], range(1, 13)))
    assert (late.verdict, late.n) == (SUPPORTED, 12) and "look 2 of 2" in late.why
    early = judged("mos-gap-neuron", gaps([*SMALL, *LARGE], [*LARGE, *SMALL], range(1, 13)))
    assert (early.verdict, early.n) == (SUPPORTED, 6) and "look 1 of 2" in early.why


def test_holm_is_over_the_family_as_registered_records_or_none():
    found = gaps([1.0, 1.2, 1.1, 0.9, 1.0, 1.1], [1.3, 1.5, 1.05, 1.3, 1.2, 1.6])
    alone = judged("mos-gap-neuron", found)
    family = next(f for f in judge.families().values() if BY_ID["mos-gap-neuron"] in f)
    every = {v.claim.id: v for v in judge.judge(found)}
    together = every["mos-gap-neuron"]
    assert alone.verdict == SUPPORTED and together.verdict == UNDECIDED
    assert together.evidence[0].p == alone.evidence[0].p
    tested = {c.id: every[c.id].evidence[0].p if every[c.id].evidence else None for c in family}
    padded = intervals.holm({name: 1.0 if p is None else p for name, p in tested.items()})
    assert sum(p is not None for p in tested.values()) == 2  # the other is the gap of hat alone
    assert together.evidence[0].p_holm == pytest.approx(padded["mos-gap-neuron"])
    assert together.evidence[0].p_holm >= (len(family) - 1) * alone.evidence[0].p
    assert f"after Holm over {len(family)} claims" in together.why


def interval_rule(effects):
    """The rule of before: a 95 % interval at n seeds, and the same again at 2n."""
    return any(
        abs(scipy_stats.ttest_1samp(effects[:n], 0).statistic) > scipy_stats.t.ppf(0.975, n - 1)
        for n in (6, 12)
    )


def test_at_most_one_family_in_twenty_has_a_wrong_verdict_over_both_looks(monkeypatch):
    family = [replace(BY_ID["mos-bleu-at-limit"], id=f"claim-{i}") for i in range(3)]
    group = [run_summary.summarize(run("hat", 1), keep=False)]
    rng, draws, wrong, before = np.random.default_rng(14), 1000, 0, 0
    drawn = {}
    monkeypatch.setattr(
        judge,
        "_pairs",
        lambda claim, group: judge._Pairs(drawn[claim.id], dict.fromkeys(range(1, 13), ()), ()),
    )
    for _ in range(draws):
        shared = rng.normal(size=12)  # claims of one family have runs in common
        for claim in family:
            drawn[claim.id] = dict(enumerate(0.7 * shared + rng.normal(size=12), 1))
        wrong += any(e.verdict in (SUPPORTED, REFUTED) for e in judge.in_group(family, group).values())
        before += interval_rule(np.array(list(drawn["claim-0"].values())))
    assert wrong / draws < 0.05 + 2 * np.sqrt(0.05 * 0.95 / draws)
    assert wrong / draws > 0.02  # the error is spent, not thrown away
    assert before / draws > 0.065


def shown(table):
    """Verdict, p and corrected p of each line that a claim has tested."""
    lines = table.comparisons[table.comparisons["verdict"].str.contains("claim ")]
    return {line["verdict"].rpartition("claim ")[2].rstrip(")"): line for line in lines.to_dict("records")}


def agree(table, judgements):
    """Check that board and claims print the same for each pair that both have; return how many those are."""
    lines = shown(table)
    for name, line in lines.items():
        of_claim = next(v for v in judgements if v.claim.id == name)
        evidence = next(e for e in of_claim.evidence if e.profile == table.shared["profile"])
        assert (line["p"], line["p_holm"]) == pytest.approx((evidence.p, evidence.p_holm))
        figures = [line[key] for key in ("difference", "low", "high", "pairs")]
        assert figures == pytest.approx([evidence.effect, evidence.low, evidence.high, len(evidence.seeds)])
        assert line["verdict"].startswith(evidence.verdict)
    return len(lines)


def test_the_board_and_the_claims_agree_on_every_pair_that_they_share():
    published = [*store.load_all(ROOT / "results" / "records")]
    judgements, count = judge.judge(published), 0
    for group in grouping.groups(summaries(published)):
        count += agree(build_table(run_summary.records_of(group)), judgements)
    assert count >= 1
    for ours, theirs in ((SMALL, LARGE), (LARGE, SMALL), (SMALL, [*SMALL[3:], *SMALL[:3]])):
        made = [
            run(m, s, 1, x) for m, xs in (("mos-neuron", ours), ("hat", theirs)) for s, x in enumerate(xs, 1)
        ]
        assert agree(build_table(made), judge.judge(made)) == 1


def test_a_confounded_verdict_is_never_shown_bare():
    quality = [
        run(m, s, 1, x) for m, xs in (("mos-neuron", LARGE), ("hat", SMALL)) for s, x in enumerate(xs, 1)
    ]
    verdict = judged("mos-bleu-at-limit", quality)
    assert verdict.verdict == SUPPORTED
    words = "supported, confounded with the sandwich rule and the after-search path"
    assert verdict.to_dict()["verdict"] == words
    assert claims_page.verdict_with_reason(verdict).startswith(f"{words}: ")
    assert next(iter(shown(build_table(quality)).values()))["verdict"].startswith(words)


def test_an_untestable_claim_has_its_reason_under_any_records():
    conditions = {"task": "mt-tatoeba-en-de", "tokens": 36e6}
    found = [run(m, s, **conditions) for s in range(1, 7) for m in ("mos-neuron", "hat")]
    verdict = {v.claim.id: v for v in judge.judge(found)}["mos-wmt"]
    assert (verdict.verdict, verdict.command, verdict.evidence) == (NOT_TESTED, "", ())
    assert verdict.why == BY_ID["mos-wmt"].untested and "WMT's data" in verdict.why


def test_the_mixture_has_a_controlled_claim_beside_each_confounded_one():
    for claim in hypotheses.claims():
        if claim.paper != "mos" or not claim.confounded or claim.untested:
            continue
        if claim.study:
            controlled = {f"{pair.partition(' - ')[0]} - hat-sandwich" for pair in claim.pairs}
            beside = [c for c in hypotheses.claims() if c.study == claim.study and set(c.pairs) == controlled]
            assert beside and not any(c.confounded for c in beside)
        else:
            beside = [
                c for c in hypotheses.claims() if (c.method, c.measure) == (claim.method, claim.measure)
            ]
            assert any(not c.confounded and c.against == "hat-sandwich" for c in beside)


figures = st.floats(-50, 50, allow_nan=False)


@given(figures, figures, st.floats(0.01, 20), st.integers(1, 30), st.sampled_from(hypotheses.SIDES))
def test_a_verdict_on_a_study_follows_the_rule_and_nothing_else(a, b, margin, n, side):
    claim = replace(BY_ID["mos-gap-neuron"], claimed=side, margin=margin, n=8)
    low, high = min(a, b), max(a, b)
    verdict, _ = hypotheses.decide(claim, intervals.Interval((a + b) / 2, low, high, n))
    everywhere = np.linspace(low, high, 401)
    inside = {"above": lambda x: x > margin, "below": lambda x: x < margin}
    inside["within"] = lambda x: abs(x) < margin
    held = {inside[side](x) for x in (low, *everywhere, high)}
    edge = margin in (low, high) or -margin in (low, high)
    if n < 8:
        assert verdict == NOT_TESTED
    elif not edge and not (side == "within" and low < -margin and high > margin):
        assert verdict == {(True,): SUPPORTED, (False,): REFUTED}.get(tuple(held), UNDECIDED)
    if verdict == SUPPORTED and side != "within":
        flipped = replace(claim, claimed="below" if side == "above" else "above", margin=margin)
        assert hypotheses.decide(flipped, intervals.Interval(0, low, high, n))[0] == REFUTED


@pytest.mark.parametrize(
    "wrong", [{"n": 5}, {"claimed": "better"}, {"measure": "luck"}, {"profiles": {}}, {"claimed": "within"}]
)
def test_a_claim_that_could_not_be_judged_is_refused(wrong):
    with pytest.raises(ValueError, match="mos-gap-neuron"):
        replace(BY_ID["mos-gap-neuron"], **wrong)


@pytest.mark.parametrize("claim", [c for c in hypotheses.claims() if c.task], ids=lambda c: c.id)
def test_the_command_that_would_decide_a_claim_plans_the_runs_that_it_counts(claim, tmp_path):
    verdict = judge.judge([], [replace(claim, untested="")])[0]
    assert verdict.verdict == NOT_TESTED and verdict.why == "no records of its methods"
    arms = [(claim.method, claim.method_options), (claim.against, claim.against_options)]
    arms = [arm for arm in arms if arm[0]]
    commands = verdict.command.split(" && ")  # one method with two sets of options takes two
    apart = [[arm] for arm in arms] if claim.method == claim.against else [arms]
    for number, (command, wanted) in enumerate(zip(commands, apart, strict=True)):
        words = shlex.split(command)
        assert words[0] == "supernet-bench"
        _plans(claim, main.parser().parse_args(words[1:]), wanted, tmp_path / str(number))


def _plans(claim, options, arms, results):
    """Check that a command plans the runs of these methods with these options, and no other."""
    assert options.profile in claim.profiles and options.run.__module__ == "benchmarks.cli.run"
    for name, least in claim.profiles.items():  # whoever has this hardware gets an allowance that counts
        tier = get_task(claim.task).tier(claim.tier, profiles.get(name).device)
        assert tier.budget["tokens"] >= least
        assert claim.limit is None or claim.limit in tier.limits
        assert claim.measure != "hypervolume" or len(tier.limits) > 1
    options.profile, options.results = "undeclared", results  # this machine is another
    made, _, _ = plans.build_plan(options)
    followed = {p.spec.follows for p in made.runs}
    planned = {
        (p.spec.method, json.dumps(p.spec.options), p.spec.seed)
        for p in made.runs
        if p.spec.id not in followed or p.spec.method in (claim.method, claim.against)
    }
    assert planned == {(m, json.dumps(o), seed) for m, o in arms for seed in range(1, claim.n + 1)}
    assert all(find(m) for m, _ in arms)


def test_the_claims_file_has_all_papers_and_the_needs_of_each_claim():
    papers = {"mos", "simq", "supershaper", "nas-bert", "autodistil"}
    assert {c.paper for c in hypotheses.claims()} == set(hypotheses.papers()) == papers
    for claim in hypotheses.claims():
        assert claim.n >= 6 and set(claim.profiles) <= set(profiles.names())
        assert claim.replicates in ("paired seeds", "supernets", "builds", hypotheses.BOUNDED)
        assert claim.study or claim.replicates == "paired seeds"
        assert claim.statement.endswith(".") and claim.figure and claim.estimand
    assert (BY_ID["simq-latency"].value, BY_ID["simq-size"].value) == (4.80, 3.44)


def rendered(found):
    judgements = judge.judge(found)
    console = Console(width=120, file=io.StringIO(), force_terminal=False)
    console.print(claims_page.TerminalClaims(judgements))
    return claims_page.markdown(judgements), console.file.getvalue()


def test_markdown_and_terminal_show_effect_interval_n_records_and_command():
    found = gaps(SMALL, LARGE)
    page, screen = rendered(found)
    for text in (page.replace("\\", ""), " ".join(screen.split())):
        assert "-0.78 [-" in text and found[0]["id"] in text
        assert "confounded" in text
        assert "supernet-bench run mt --task mt-multi30k-en-de" in text
        assert "supernet-bench study simq-fronts" in text
    assert "supported, confounded with the sandwich rule: p " in page
    assert len(page.split("\n### ")) == len(BY_ID) + 1


def test_one_seed_has_a_reason_in_place_of_an_interval():
    page, _ = rendered(gaps(SMALL[:1], LARGE[:1], [1]))
    assert "-0.80 (one seed: no interval)" in page


def test_hostile_texts_stay_texts():
    found = gaps(SMALL, LARGE)
    for record in found:
        record["spec"]["space"] = "\x1b[31m<script>alert(1)</script>\u202e|`"
    for text in rendered([integrity.seal(r) for r in found]):
        assert "\x1b" not in text and "\u202e" not in text and "<script>" not in text


def test_the_word_significant_never_appears():
    for found in ([], gaps(SMALL[:5], LARGE[:5], range(1, 6)), gaps(SMALL, LARGE)):
        assert not any("significan" in text.lower() for text in rendered(found))


def test_the_command_line_reads_a_store_or_a_results_folder(tmp_path, capsys):
    for record in gaps(SMALL, LARGE):
        store.write(tmp_path / "records", record)
    for folder in (tmp_path, tmp_path / "records"):
        assert main.main(["claims", "--results", str(folder), "--json"]) == 0
        said = {c["claim"]["id"]: c for c in json.loads(capsys.readouterr().out)["claims"]}
        assert said["mos-gap-neuron"]["verdict"] == f"{SUPPORTED}, confounded with the sandwich rule"
        assert said["mos-gap-neuron"]["n"] == 6
    assert main.main(["claims", "--results", str(tmp_path), "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("# The papers' claims")
    next((tmp_path / "records").rglob("*.json")).write_text("{")
    assert main.main(["claims", "--results", str(tmp_path)]) == 0
    assert "left out" in capsys.readouterr().err
    assert main.main(["claims", "--results", str(tmp_path / "nowhere")]) == 2
    assert "with records\nname a folder with records/ in it" in capsys.readouterr().err
    assert main.main(["claims", "--results", str(tmp_path), "--json", "--markdown"]) == 2


def test_the_leaderboard_writes_and_checks_the_page(tmp_path):
    paths = build.build(tmp_path)
    page = paths["CLAIMS.md"]
    assert "not tested: no records of its methods" in page.read_text() and build.check(tmp_path) == []
    page.write_text("supported")
    assert build.check(tmp_path) == ["CLAIMS.md"]
    with pytest.raises(UsageError, match=r"CLAIMS\.md"):
        build.require_current(tmp_path)
