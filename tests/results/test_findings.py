"""Findings on translation and BERT (results/FINDINGS.md): every figure follows from the published records."""

from __future__ import annotations

import json
import math
import re
import subprocess
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.claims import hypotheses, judge
from benchmarks.claims.measures import MEASURES
from benchmarks.records import store, study_files
from benchmarks.stats import intervals
from benchmarks.stats.quantities import of_metric
from benchmarks.studies import cpu_latency
from benchmarks.studies.retraining.plan import NOTHING
from benchmarks.studies.retraining.study import read_points
from tests import ROOT

H100, H200, CPU = "nvidia-h100.v1", "nvidia-h200.v1", "cpu-2core-avx512.v1"
MULTI30K = "mt-multi30k-en-de"
SCRATCH, CONTINUE = (("after", "scratch"),), (("after", "continue"),)
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


@cache
def every() -> list[Any]:
    """All published records."""
    return store.load_all(ROOT / "results" / "records")


@cache
def published() -> dict[tuple[Any, ...], Any]:
    """(task, profile, method, options, seed) -> record; those of tiers with several limits apart."""
    kept = {}
    for record in every():
        spec = record["spec"]
        if spec["tier"] == "front":
            continue
        options = tuple(sorted(spec["options"].items()))
        kept[spec["task"], spec["profile"], spec["method"], options, spec["seed"]] = record
    return kept


def figures(profile, method, options, measure):
    """Seed -> figure of a measure at the one limit."""
    chosen = {
        key[4]: MEASURES[measure](record, 0.8)
        for key, record in published().items()
        if key[:4] == (MULTI30K, profile, method, options)
    }
    assert len(chosen) >= 3
    return chosen


def paired(profile, measure, ours, theirs, n=6):
    """Text of a difference over paired seeds, two decimals."""
    a, b = figures(profile, *ours, measure), figures(profile, *theirs, measure)
    seeds = sorted(set(a) & set(b))
    assert len(seeds) == n
    return signed([a[s] - b[s] for s in seeds])


def signed(values):
    """Text of a mean difference with its interval."""
    interval = intervals.t_interval(values)
    return f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def level(profile, measure, method):
    """Text of a row's mean, one decimal."""
    interval = intervals.interval(list(figures(profile, method, (), measure).values()), of_metric("bleu"))
    return f"{interval.mean:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


def translation():
    """The figures quoted on translation, in their order."""
    neuron, plain, hat = "mos-neuron", "hat-sandwich", "hat"
    gaps = [list(figures(H100, *arm, "gap").values()) for arm in ((hat, ()), (plain, SCRATCH))]
    rows = [
        m for task, profile, m, _, _ in published() if (task, profile) == (MULTI30K, H200) and m != "scratch"
    ]
    means = {m: intervals.t_interval(list(figures(H200, m, (), "quality").values())).mean for m in set(rows)}
    best = max(means, key=means.__getitem__)
    tokenised = [
        r["candidates"][-1]["test"]["test_2016_flickr"]["bleu_tok_lc"]["value"]
        for key, r in published().items()
        if key[:3] == (MULTI30K, H200, "scratch")
    ]
    plan, points = read_points("mt-retraining", ROOT / "results" / "mt-retraining")
    two_layers = [n for n, network in enumerate(plan.architectures) if network["decoder_layers"] == 2]
    later, alone = (
        [seed[at]["bleu"] for seed in points[start, two_layers[0]]]
        for start, at in ((hat, plan.shares.index(0)), (NOTHING, plan.shares.index(1)))
    )
    left = intervals.interval(later, of_metric("bleu"))
    then = intervals.t_interval(list(figures(H100, hat, (), "quality").values())).mean
    now = float(np.mean(alone))
    return [
        level(H100, "inherited", hat),
        f"{left.mean:.1f} [{left.low:.1f}, {left.high:.1f}]",
        f"{then:.1f} and {now:.1f}",
        f"some {now - left.mean:.1f} BLEU",
        paired(H100, "quality", (neuron, ()), (plain, ())),
        paired(H100, "quality", (neuron, SCRATCH), (plain, SCRATCH)),
        paired(H100, "inherited", (neuron, ()), (plain, ())),
        paired(H100, "absolute-gap", (neuron, SCRATCH), (plain, SCRATCH)),
        paired(H100, "quality", (neuron, ()), (hat, ())),
        paired(H100, "quality", (plain, ()), (hat, ())),
        paired(H100, "quality", (plain, ()), (plain, SCRATCH)),
        paired(H100, "quality", (hat, CONTINUE), (hat, ())),
        paired(H100, "inherited", (plain, SCRATCH), (hat, ())),
        *map(signed, gaps),
        level(H200, "quality", "scratch"),
        level(H200, "quality", best),
        paired(H200, "quality", ("scratch", ()), (best, ()), n=3),
        f"{sum(tokenised) / len(tokenised):.1f}",
        *(level(CPU, measure, method) for measure in ("quality", "inherited") for method in (hat, neuron)),
    ]


def section(start, end):
    """A part of FINDINGS.md as one line."""
    text = (ROOT / "results/FINDINGS.md").read_text("utf-8")
    return " ".join(text[text.index(start) : text.index(end)].split())


def test_every_figure_on_translation_follows_from_the_records_and_no_other_is_quoted():
    text = section("## Translation, Multi30k", "## Inherited weights over a sample")
    place = 0
    for expected in translation():
        assert expected in text[place:], f"FINDINGS.md should quote {expected}"
        place = text.index(expected, place) + len(expected)
    allowed = {"30", "20", "10", "95", "100", "200", "2", "2016", "41.0"}
    quoted = set(NUMBER.findall(text))
    assert quoted - {n for figure in translation() for n in NUMBER.findall(figure)} <= allowed


def test_all_networks_that_searches_found_on_gpus_have_two_decoder_layers():
    layers = {
        candidate["architecture"]["decoder_layers"]
        for (task, profile, method, *_), record in published().items()
        if task == MULTI30K and profile in (H100, H200) and method != "scratch"
        for candidate in record["candidates"]
    }
    assert layers == {2}


def test_supernets_of_the_h100_had_hardly_begun_to_learn():
    text = section("## BERT-like encoders on Wikipedia", "* **INT8 in every linear")
    inherited = [
        candidate["test"]["test"]["mlm_accuracy"]["value"]
        for (task, profile, *_), record in published().items()
        if (task, profile) == ("bert-enwiki", H100)
        for candidate in record["candidates"]
        if candidate["origin"] == "inherited"
    ]
    assert f"({min(inherited):.0f} to {max(inherited):.0f} % of masked words with inherited weights" in text


def test_figures_on_int8_follow_from_the_records_and_the_study():
    text = section("## BERT-like encoders on Wikipedia", "* **Is latency insensitive to shape")
    apart, shares = [], []
    for (task, profile, method, options, seed), record in published().items():
        base = published().get((task, profile, method.removesuffix("+int8-uniform"), options, seed))
        if task != "bert-enwiki" or not method.endswith("+int8-uniform") or base is None:
            continue
        for ours in record["candidates"]:
            same = [c for c in base["candidates"] if c["architecture"] == ours["architecture"]]
            theirs = next(c for c in reversed(same) if c["window"] == ours["window"])
            pair = [c["test"]["test"]["mlm_accuracy"]["value"] for c in (ours, theirs)]
            apart.append(abs(pair[0] - pair[1]))
            shares.append(100 * ours["cost"]["bytes"] / theirs["cost"]["bytes"])
    assert len(apart) == 30 and f"at most {max(apart):.2f} points" in text
    assert f"leaves {min(shares):.0f} to {max(shares):.0f} % of the bytes" in text
    study = json.loads((ROOT / "results" / "studies" / "cpu-latency.json").read_text("utf-8"))
    page, n = study["page"], cpu_latency.ROUNDS
    at = page["columns"].index("int8 / fp32")
    verdicts: dict[str, set[tuple[str, str]]] = {}
    for row in page["rows"]:
        verdicts.setdefault(row[-1], set()).add((row[0], row[1]))
    for window, words in (
        ("3.4-4 M", "of their own float32 latency at the smaller size"),
        ("4.6-5.4 M", "at the larger"),
    ):
        ratios = [float(row[at].split()[0]) for row in page["rows"] if row[0] == window]
        shown = f"{min(ratios):.2f} to {max(ratios):.2f} "
        assert shown + words in text, shown
    small, large = "3.4-4 M", "4.6-5.4 M"
    alone = {(large, f"{method} after=scratch") for method in ("hat-sandwich", "mos-neuron")}
    assert verdicts.pop("faster") == {(small, "nas-bert"), (large, "nas-bert"), *alone}
    assert verdicts.pop("slower") == {(small, "hat-sandwich"), (small, "hat-sandwich after=scratch")}
    assert set(verdicts) == {"undecided"}
    networks = {row[page["columns"].index("networks")] for row in page["rows"] if row[1] == "autodistil"}
    assert networks == {"1"} and "AutoDistil has a single network at each size" in text
    halves = [math.log(one["high"] / one["low"]) / 2 for one in study["timings"]]
    deviations = [100 * half * math.sqrt(n) / stats.t.ppf(0.975, n - 1) for half in halves]
    assert f"a standard deviation of {min(deviations):.0f} to {max(deviations):.0f} %" in text
    assert n == 6 and "built and timed six times" in text and (large, "autodistil") in verdicts["undecided"]


def test_studies_name_commits_that_are_in_the_history():
    """One was judged at a commit that was amended afterwards: nobody could have checked it out."""
    git = ["git", "-C", str(ROOT)]
    shallow = subprocess.run([*git, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True)
    if shallow.stdout.strip() != "false":
        pytest.skip("no whole history is here")
    named: dict[str, set[str]] = {}
    for path in sorted(
        [*ROOT.glob("results/studies/*.json"), *ROOT.glob("results/training-overhead/*.json")]
    ):
        facts = json.loads(path.read_text("utf-8"))
        for source in (facts["written"], facts.get("measured")):
            if source and source["commit"]:
                named.setdefault(source["commit"], set()).add(path.name)
    absent = {
        name
        for commit, names in named.items()
        if subprocess.run(
            [*git, "merge-base", "--is-ancestor", commit, "HEAD"], capture_output=True
        ).returncode
        for name in names
    }
    assert named and not absent


@pytest.mark.parametrize("verdict", ["supported", "refuted", "undecided", "not tested"])
def test_verdicts_quoted_are_those_of_the_claims(verdict):
    judged = judge.judge(every(), studies=study_files.load_all(ROOT / "results"))
    text = section("Of the mixture's claims are", "Of SimQ's")
    quoted: dict[str, set[str]] = {}
    for line in text.split("* ")[1:]:
        kind = line.partition(":")[0].partition(",")[0]
        names = set(re.findall(r"`(mos-[a-z-]+)`", line))
        quoted[kind] = quoted.get(kind, set()) | names
        confounded = {v.claim.id for v in judged if "confounded" in v.words}
        assert not names & confounded or "confounded" in line
    assert quoted.get(verdict, set()) == {
        v.claim.id for v in judged if v.claim.paper == "mos" and v.verdict == verdict
    }
    assert verdict in (hypotheses.SUPPORTED, hypotheses.REFUTED, hypotheses.UNDECIDED, hypotheses.NOT_TESTED)


def test_overheads_of_mixtures_are_those_of_the_study():
    kept = json.loads((ROOT / "results/studies/training-overhead.json").read_text("utf-8"))["paired"]
    text = section("Of the mixture's claims are", "Of SimQ's")
    two_cores, large, ours = (
        "small on cpu-2core-avx512.v1",
        "paper on nvidia-h200.v1",
        "small on nvidia-h200.v1",
    )

    def overhead(where: str, kind: str) -> str:
        values = kept[f"mt-multi30k-en-de {where}: {kind} - sandwich"]["values"]
        assert len(values) == 6
        span = intervals.t_interval(values)
        return f"{span.mean:+.1f} [{span.low:+.1f}, {span.high:+.1f}] %"

    for kind, words in (
        (
            "mos-neuron",
            ("takes {0} longer than plain", "takes {1} longer in HAT's", "and {2} in this suite's"),
        ),
        ("mos-layer", ("layer-wise one takes {0} on two cores, {1} and {2};",)),
        ("mos-neuron-4", ("four experts {0}, {1} and {2}",)),
    ):
        figures = [overhead(where, kind) for where in (two_cores, large, ours)]
        assert all(part.format(*figures) in text for part in words), figures
    judged = judge.judge(every(), studies=study_files.load_all(ROOT / "results"))
    (overheads,) = (v for v in judged if v.claim.id == "mos-overhead")
    verdicts = {e.profile.partition(" ")[2]: e.verdict for e in overheads.evidence}
    expected = (hypotheses.REFUTED, hypotheses.SUPPORTED, hypotheses.UNDECIDED)
    assert verdicts == dict(zip((two_cores, large, ours), expected, strict=True))


def test_verdicts_on_the_other_encoder_papers_are_those_of_their_claims():
    text = section("Of the other encoder papers", "A claim on a study is judged")
    judged = judge.judge(every(), studies=study_files.load_all(ROOT / "results"))
    others = {v.claim.id: v.verdict for v in judged if v.claim.paper not in ("mos", "simq")}
    assert set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", text)) == set(others)
    open_ones = {name for name, verdict in others.items() if verdict == hypotheses.NOT_TESTED}
    assert others["supershaper-latency"] == hypotheses.UNDECIDED and open_ones == set(others) - {
        "supershaper-latency"
    }
    absent = ("supershaper", "hand-designed")
    assert not [
        r for r in every() if r["spec"]["method"] in absent and r["spec"]["profile"] == "nvidia-h200.v1"
    ]
    inherited = [
        r for r in every() if r["spec"]["method"] == "autodistil" and "after" in r["spec"]["options"]
    ]
    assert not [r for r in inherited if r["spec"]["profile"] == "nvidia-h200.v1"]


def test_rows_of_cifar_on_two_cores_rank_nothing():
    text = section("* **CIFAR-10's own tiers", "## Are the papers right")
    right = {}
    for task in ("vision-cifar10", "vision-cifar10-resnet"):
        rows = [record for (name, *_), record in published().items() if name == task]
        assert {r["spec"]["method"] for r in rows} == {"joint-supernet", "linas", "uniform-int8"}
        assert {r["spec"]["seed"] for r in rows} == {1} and {r["spec"]["profile"] for r in rows} == {CPU}
        values = [c["test"]["test"]["accuracy"]["value"] for r in rows for c in r["candidates"]]
        right[task] = " to ".join(dict.fromkeys(f"{end:.0f}" for end in (min(values), max(values))))
        if task == "vision-cifar10":
            images = max(r["ledger"]["totals"]["tokens"] for r in rows) / 65
            assert f"{images:,.0f} images" in text
    said = "right on {vision-cifar10} % of the test images, residual networks on {vision-cifar10-resnet} %"
    assert said.format_map(right) in " ".join(text.split())
    (uniform,) = (r for r in rows if r["spec"]["method"] == "uniform-int8")
    assert {p for c in uniform["candidates"] for p in c["policy"].values()} == {"int8s"}
    timed = uniform["candidates"][0]["latency"]
    ends = (timed[f"fp32_ratio{end}"] for end in ("", "_low", "_high"))
    assert "takes {:.2f} [{:.2f}, {:.2f}] of its own".format(*ends) in text and timed["others_cpu"] > 0.2


def test_no_ranking_of_encoders_is_shown_and_methods_without_rows_of_today_are_not_named():
    text = section("## BERT-like encoders on Wikipedia", "* **INT8 in every linear")
    judged = judge.judge(every(), studies=study_files.load_all(ROOT / "results"))
    verdicts = {v.claim.id: v.verdict for v in judged if v.claim.suite == "bert" and not v.claim.study}
    open_ = {name for name, verdict in verdicts.items() if verdict == hypotheses.UNDECIDED}
    assert open_ == {"mos-bert-mixture", "mos-gap-bert", "mos-gap-words", "mos-autodistil", "mos-nas-bert"}
    assert text.count("undecided") == len(open_)
    assert set(verdicts.values()) == {hypotheses.UNDECIDED, hypotheses.NOT_TESTED}
    methods = ("supershaper", "hand-designed", "random-search", "mos-layer")
    assert not any(method in text.lower() for method in methods)


def test_the_readmes_table_is_the_boards():
    board = (ROOT / "results" / "LEADERBOARD.md").read_text("utf-8").replace("\\", "")
    board = board[board.index("## mt-multi30k-en-de, small, nvidia-h100.v1") :]
    lines = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if "| 6 |" in line]
    assert len(lines) == 6
    for line in lines:
        method, quality, ratio = (cell.strip() for cell in line.strip("|").split("|")[:3])
        row = next(one for one in board.splitlines() if one.startswith(f"| {method} | 0.8 x ref |"))
        assert f"| {quality} | 6 seeds |" in row and f"| {ratio} |" in row
