"""Findings on the gap study and on the pilots of encoders: every figure follows from the measurements."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from benchmarks.stats.intervals import t_interval
from benchmarks.studies.bert_recipe.plan import REGISTERED, read_pilots
from benchmarks.studies.mt_gap import study
from benchmarks.studies.mt_retraining.plan import NOTHING
from benchmarks.studies.mt_retraining.study import mean_difference, read_points, share_to_match
from supernet.train import Sandwich
from tests import ROOT

NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
SEEDS = range(1, 7)


def section(start: str, end: str) -> str:
    """A part of FINDINGS.md as one line."""
    text = (ROOT / "results" / "FINDINGS.md").read_text("utf-8")
    return " ".join(text[text.index(start) : text.index(end, text.index(start))].split())


def shown(values: list[float], sign: str = "+") -> str:
    """Text of a mean with its interval."""
    interval = t_interval(values)
    return f"{interval.mean:{sign}.2f} [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]"


def quoted_beside(text: str, figures: list[str]) -> set[str]:
    """Numbers that a text quotes beside ``figures``, all of which it has in their order."""
    place = 0
    for expected in figures:
        assert expected in text[place:], f"FINDINGS.md should quote {expected}"
        place = text.index(expected, place) + len(expected)
    return set(NUMBER.findall(text)) - {n for figure in figures for n in NUMBER.findall(figure)}


@pytest.fixture(scope="module")
def measured() -> Any:
    """The comparisons, computed from the measurements, and the decoder depths."""
    plan, scores = study.read_scores(ROOT / "results" / "mt-gap")
    return {name: study.compare(plan, scores, name) for name in study.METRICS}, study.depths(plan)


def ahead(bleu: Any, depth: list[int], kind: str, layers: int) -> str:
    """Text of inherited minus alone over the networks of one depth."""
    of_depth = [number for number, other in enumerate(depth) if other == layers]
    return shown(
        [
            float(np.mean([bleu["inherited"][f"{kind}-seed{s}"][i] - bleu["mean"][i] for i in of_depth]))
            for s in SEEDS
        ]
    )


def test_every_figure_on_the_gap_follows_from_the_measurements_and_no_other_is_quoted(measured: Any) -> None:
    results, depth = measured
    bleu, loss = results["bleu"], results["valid_loss"]
    gaps = bleu["gaps"]

    def mean(result: Any, kind: str, key: str) -> float:
        return float(np.mean([g[key] for g in result["gaps"][kind]]))

    def more(kind: str) -> str:
        return shown([a["mae"] - b["mae"] for a, b in zip(gaps[kind], gaps["sandwich"], strict=True)])

    words = Counter(line.split(": ")[1].split()[0] for r in results.values() for line in r["verdicts"])
    within = [sorted(mean(r, kind, "tau_within") for kind in gaps) for r in (bleu, loss)]
    overall = sorted(mean(bleu, kind, "tau") for kind in gaps)
    figures = [
        *(shown([g["mae"] for g in gaps[kind]], "") for kind in ("hat", "sandwich")),
        *map(more, ("mos-layer", "mos-neuron", "mos-neuron-4")),
        *(ahead(bleu, depth, kind, layers) for layers in (1, 3) for kind in ("sandwich", "mos-neuron")),
        f"of {sum(words.values())} comparisons none is better, {words['worse']} are worse,"
        f" {words['undecided']} undecided",
        f"tau {loss['ceiling'][0]['tau_within']:.2f}",
        f"{within[1][0]:.2f} to {within[1][-1]:.2f}",
        f"of parameters {loss['predictors']['parameters']['tau_within']:.2f},",
        f"of multiplications {loss['predictors']['MACs']['tau_within']:.2f}",
        f"({bleu['ceiling'][0]['tau_within']:.2f})",
        f"({within[0][0]:.2f} to {within[0][-1]:.2f})",
        f"tau {bleu['predictors']['depth']['tau']:.2f} with BLEU alone,"
        f" supernets {overall[0]:.2f} to {overall[-1]:.2f}",
    ]
    assert not words["better"]
    text = section("## Inherited weights over a sample", "## How much training")
    assert quoted_beside(text, figures) <= {"24", "10", "200", "1.84", "1.62", "0.49", "14", "30"}
    assert -0.49 < min(
        t_interval([a["mae"] - b["mae"] for a, b in zip(gaps[k], gaps["sandwich"], strict=True)]).low or -1
        for k in ("mos-layer", "mos-neuron", "mos-neuron-4")
    )


def test_the_committed_study_is_that_of_the_measurements(measured: Any) -> None:
    kept = json.loads((ROOT / "results" / "studies" / "mt-gap.json").read_text("utf-8"))["results"]
    for name, result in measured[0].items():
        assert kept[name]["verdicts"] == result["verdicts"]
        assert kept[name]["mean"] == pytest.approx(result["mean"], abs=1e-9)


def test_the_ten_sentences_quote_nothing_that_the_sections_do_not_have() -> None:
    plan, points = read_points(ROOT / "results" / "mt-retraining")
    curves = {key: [[p["bleu"] for p in seed] for seed in seeds] for key, seeds in points.items()}
    starts = {start: [share_to_match(plan, curves, start, n) for n in range(3)] for start in plan.starts}
    cheap = [share for start, shares in starts.items() if start != "hat" for share in shares]
    assert None not in cheap and (min(cheap), max(cheap)) == (0, 0.05)  # type: ignore[type-var]
    # The supernet's updates are those of one training, in three passes each.
    passes, pays = Sandwich().passes, 1
    while passes + 0.05 * pays >= pays:
        pays += 1
    text = section("## What a mixture buys", "## Translation, Multi30k")
    assert (
        f"takes the token passes of {passes} networks trained alone" in text
        and f"from the {pays}th network on" in text
    )
    sentences = [str(n) for n in range(1, 11)]
    assert all(f" {n}. " in text for n in sentences)
    rest = section("## Translation, Multi30k", "## Architecture and precision") + "100 %"
    assert set(NUMBER.findall(text)) <= set(NUMBER.findall(rest)) | set(sentences)


def test_every_figure_on_retraining_follows_from_the_measurements_and_no_other_is_quoted() -> None:
    plan, points = read_points(ROOT / "results" / "mt-retraining")
    curves = {key: [[p["bleu"] for p in seed] for seed in seeds] for key, seeds in points.items()}
    numbers = range(len(plan.architectures))
    needed = {key: share for key in curves if (share := share_to_match(plan, curves, *key)) is not None}
    assert needed.keys() == curves.keys() and {needed["hat", n] for n in numbers} == {1}

    def of(start: str, share: float) -> str:
        at = plan.shares.index(share)
        one, two, three = (float(np.mean([seed[at] for seed in curves[start, n]])) for n in numbers)
        return f"{one:.1f}, {two:.1f} and {three:.1f}"

    def after(start: str) -> str:
        one, two, three = (100 * needed[start, n] for n in numbers)
        return f"{one:g}, {two:g} and {three:g} %"

    mixtures = ("mos-layer", "mos-neuron")
    differences = [
        [a[at] - b[at] for a, b in zip(curves[start, n], curves["sandwich", n], strict=True)]
        for start in mixtures
        for n in numbers
        for at in range(len(plan.shares))
    ]
    spans = [t_interval(values) for values in differences]
    beside = sum(span.low > 0 or span.high < 0 for span in spans)  # type: ignore[operator]
    assert beside <= 0.05 * len(spans)
    figures = [
        after("sandwich"),
        of("sandwich", 0),
        of(NOTHING, 1),
        of("sandwich", 1),
        "after 100 %",
        of("hat", 0),
        of("hat", 0.5),
        after("mos-layer"),
        after("mos-neuron"),
        f"{len(spans)} differences",
        shown(max(differences, key=lambda values: abs(float(np.mean(values))))),
        f"{beside} exclude 0",
        *(shown(mean_difference(plan, curves, start)) for start in mixtures),
    ]
    assert plan.seeds == 6 and len(curves) == len(numbers) * 5 and len(plan.shares) == 8
    rest = quoted_beside(section("## How much training", "## BERT-like"), figures)
    assert rest == {f"-{plan.margin:g}"}


def test_figures_on_encoders_from_a_common_start_follow_from_their_rows() -> None:
    folder = ROOT / "results" / "records" / "bert-enwiki" / "nvidia-h200.v1"
    records = [json.loads(path.read_text("utf-8")) for path in folder.rglob("*.json")]
    rows = {(r["spec"]["method"], r["spec"]["seed"]): r["candidates"] for r in records}
    seeds = sorted(seed for method, seed in rows if method == "mos-neuron")

    def values(method: str, task: str, metric: str, size: int = 0) -> list[float]:
        own = seeds if method != "teacher" else SEEDS
        return [float(rows[method, seed][size]["test"][task][metric]["value"]) for seed in own]

    def words(method: str) -> str:
        both = [float(np.mean(values(method, "test", "mlm_accuracy", size))) for size in (0, 1)]
        return f"{both[0]:.1f} and {both[1]:.1f} %"

    def difference(*metrics: tuple[str, str]) -> str:
        pairs = [
            np.subtract(values("mos-neuron", *metric, size), values("hat-sandwich", *metric, size))
            for metric in metrics
            for size in (0, 1)
        ]
        return shown(np.mean(pairs, 0).tolist())

    parents = values("teacher", "sts-b", "spearman")
    copies = rows["teacher", 1][0]["test"]["sts-b"]["spearman"]["values"]
    arms = (("mos-neuron", 0), ("mos-neuron", 1), ("hat-sandwich", 0), ("hat-sandwich", 1), ("teacher", 0))
    sst = [value for arm, size in arms for value in values(arm, "sst-2", "accuracy", size)]
    figures = [
        f"{len(records)} are there",
        words("hat-sandwich"),
        words("mos-neuron"),
        difference(("test", "mlm_accuracy")),
        difference(("sst-2", "accuracy"), ("sts-b", "spearman")),
        f"{rows['teacher', 1][0]['cost']['params'] / 1e6:.1f} M parameters",
        f"{float(np.mean(values('teacher', 'test', 'mlm_accuracy'))):.1f} %",
        f"{min(parents):.0f} to {max(parents):.0f}",
        f"{min(copies):.0f} to {max(copies):.0f}",
        f"{min(sst):.1f} to {max(sst):.1f} %",
    ]
    assert len(seeds) == 5
    text = section("## BERT-like", "* **INT8 in every linear")
    assert quoted_beside(text, figures) <= {"200", "100", "13", "19", "30", "34", "32", "-2"}


def test_every_figure_on_the_pilots_follows_from_their_files_and_no_other_is_quoted() -> None:
    paths = (ROOT / "results" / "bert-recipe").glob("*.json")
    files = {path.stem: json.loads(path.read_text("utf-8")) for path in paths}
    plan = {pilot.name: pilot.to_dict() for pilot in read_pilots(REGISTERED)}
    assert all(facts["pilot"] == plan[name] for name, facts in files.items())
    tuned = {name for name, pilot in plan.items() if "finetune" in pilot}
    assert not tuned & set(files)

    def words(name: str, which: str = "largest") -> float:
        return float(files[name]["networks"][which]["accuracy"])

    best = [
        max(words(f"untrained-{rate}-{rule}", "typical") for rate in ("2e-4", "4e-4"))
        for rule in ("single-path", "sandwich")
    ]
    apart = [
        abs(words(name, which) - words(re.sub("mos-(layer|neuron)", "sandwich", name), which))
        for name in files
        if "-mos-" in name
        for which in ("largest", "typical", "smallest")
    ]

    def more(rule: str) -> float:
        longer, shorter = (words(f"bottlenecks-7e-4-{rule}{x}", "typical") for x in ("-x1.2", ""))
        return longer - shorter

    gains = [more(rule) for rule in ("sandwich", "mos-layer", "mos-neuron")]
    rows = [words(f"parent-rows-{length}") for length in (32, 128)]
    assert max(rows) < words("parent-7e-4") and more("single-path") < 1 < min(gains)
    figures = [
        f"{len(files)} of {len(plan) - len(tuned)} trainings",
        f"{words('parent-7e-4'):.1f} %",
        *(f"{words(f'bottlenecks-7e-4-{rule}', 'typical'):.1f} %" for rule in ("single-path", "sandwich")),
        f"{best[0]:.1f} and {best[1]:.1f} %",
        f"none of {len(apart)} sub-networks by more than {max(apart):.1f} points",
        f"{words('parent-batch-8192'):.1f} % in {files['parent-batch-8192']['updates']:,} updates",
        f"{words('parent-batch-65536'):.1f} % in {files['parent-batch-65536']['updates']:,}",
        f"{rows[0]:.1f} and {rows[1]:.1f} %",
        f"{words('parent-7e-4-x1.2') - words('parent-7e-4'):.1f} points",
        f"{more('single-path'):.1f} to typical",
        f"{min(gains):.1f} to {max(gains):.1f} under",
    ]
    text = section("* **A recipe that learns", "* **Is latency insensitive")
    assert quoted_beside(text, figures) <= {"64", "164", "200", "32", "128"}
