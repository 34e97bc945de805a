"""The outcome of ``simq_fronts`` in words, tables and facts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks import stats
from benchmarks.studies import Outcome, fronts_plot
from benchmarks.studies.simq_fronts import AXES, MARGIN, PAPER, RULE, SEARCHES, Answer, Family, Plan
from supernet.ort import version

NAMES = {"int8": "best INT8 network"}
NAMED = {"loss": "simq-fronts", "error": "simq-fronts-accuracy"}


def outcome(found: Sequence[Family], plan: Plan, profile: str) -> Outcome:
    """Of all tables."""
    signature = f"lat:p50|clk:cpu|n:{plan.rounds}|b:1|thr:1|rt:{version()}|prof:{profile}"
    rule = RULE.format(quality=plan.quality)
    facts = {
        "study": NAMED[plan.quality], "quality": plan.quality, "rule": rule, "signature": signature,
        "profile": profile,
        "seeds": plan.seeds, "evaluations": plan.evaluations, "inner": plan.inner, "margin": MARGIN,
        "shown": plan.shown,
        "paper": {"times_faster": PAPER["faster"], "times_smaller": PAPER["smaller"]},
        "tables": [_facts(one) for one in found],
        "paired": {key: pair for one in found for key, pair in paired(one).items()},
    }  # fmt: skip
    return Outcome(
        title="How much faster and smaller than uniform INT8, at no loss of quality?",
        question=f"Joint searches of architecture and precision for {plan.quality}, their fronts measured"
        " with real kernels on held-out data, against the largest network in uniform INT8, and against the"
        " best INT8 network.",
        rule=rule,
        columns=(
            "table", "network", "ms", "times faster", "MB", "times smaller", "accuracy, %",
            "points above INT8 [95 %]", "nats above INT8 [95 %]", "times, stricter rule",
        ),
        rows=[row for one in found for row in rows(one)],
        notes=notes(found, plan, signature),
        facts=facts,
        pictures=fronts_plot.pictures(found, profile, plan.quality),
    )  # fmt: skip


def paired(one: Family) -> dict[str, Any]:
    """Ratios of the joint search's answers, one a search seed; for claims."""
    found = {}
    for axis in AXES:
        answers, best = one.answers["linas", axis], one.answers["int8", axis][0]
        for key, values in {
            f"{one.name}: times {axis} than INT8": [a.times for a in answers],
            f"{one.name}: times {axis} than the best INT8 network": [a.times / best.times for a in answers],
        }.items():
            found[key] = {"values": [_short(x) for x in values], "unit": "ratio"}
    return found


def rows(one: Family) -> Iterator[tuple[str, ...]]:
    """Uniform precisions of the largest network, then what each search answers with."""
    base = one.found.largest["int8"]
    for precision, at in one.found.largest.items():
        yield _row(one, f"largest, {precision}", [at], base)
    low = one.bf16
    yield (
        one.name, "largest, bf16 in torch", "", f"{low['times_fp32']:.2f} x fp32 in torch",
        f"{low['bytes'] / 1e6:.2f} (weights)", "", f"{100 * low['accuracy']:.1f}", "", "", "",
    )  # fmt: skip
    for axis in AXES:
        for search in ("int8", *SEARCHES):
            answers = one.answers[search, axis]
            name = f"{NAMES.get(search, search)}, {axis}"
            row = list(_row(one, name, [a.place for a in answers], base, answers))
            row[-1] = _spread([a.strict for a in answers])
            yield tuple(row)


def _row(
    one: Family, name: str, places: Sequence[int], base: int, answers: Sequence[Answer] = ()
) -> tuple[str, ...]:
    """Middle of the seeds' networks and their range; differences are those of the network whose accuracy's
    interval ends lowest."""
    points = [one.points[at] for at in places]
    ratios = [one.ratio[at][0] for at in places]
    told = ["", ""]
    if answers:
        worst = min(answers, key=lambda a: a.accuracy.low if a.accuracy.low is not None else a.accuracy.mean)
        told = [_interval(worst.accuracy, 100, ".1f"), _interval(worst.loss, 1, ".3f")]
    return (
        one.name, name,
        _spread([one.anchor_ms * ratio for ratio in ratios]),
        _spread([one.ratio[base][0] / ratio for ratio in ratios]),
        _spread([point.size / 1e6 for point in points]),
        _spread([one.points[base].size / point.size for point in points]),
        _spread([100 * float(point.hits.mean()) for point in points], ".1f"),
        *told, "",
    )  # fmt: skip


def notes(found: Sequence[Family], plan: Plan, signature: str) -> list[str]:
    """What a reader must know, then the answers beside the paper's figures."""
    told = [
        f"ms, MB: median of {plan.rounds} inferences of one item on one thread, in turns with the"
        " largest network in fp32; the ONNX file. Middle of the seeds, lowest to highest behind it"
        " where they differ. Differences are those of the seed whose interval of accuracy ends lowest.",
        f"{plan.seeds} search seeds of {plan.evaluations} evaluations; one supernet a table, so that"
        " differences between supernets are in no interval. Best INT8 network: of all architectures in"
        " uniform INT8, every one of which counts as evaluated. bf16 runs in torch, for ONNX Runtime"
        " has no such kernels here, and stands beside fp32 in torch alone.",
        "Sentences are timed at their own lengths; the table's latencies were fitted at one length.",
        "What is before and behind the layers (patches, stem, embeddings, heads) stays fp32 in every"
        " network, and is in every figure.",
        f"The paper (arXiv 2312.13301) has up to {PAPER['faster']:.2f} times faster and"
        f" {PAPER['smaller']:.2f} times smaller than fully INT8 baselines, without saying of which"
        " network. An all-INT8 smallest sub-network of its BERT and ViT spaces is at most 2.67 and 2.97"
        " times smaller than the largest, so its figures probably compare sub-networks of an OFA"
        " ResNet-50 with a stock INT8 ResNet-152. Ours are against the largest network of the same"
        " supernet, and, what the search of precisions adds, against the best INT8 network of it.",
        f"Signature: {signature}",
    ]
    for one in found:
        for axis in AXES:
            mine, best = one.answers["linas", axis], one.answers["int8", axis][0]
            told.append(
                f"{one.name}: {_spread([a.times for a in mine])} times {axis} than INT8 of the largest"
                f" network at no loss (paper: up to {PAPER[axis]:.2f});"
                f" {_spread([a.times / best.times for a in mine])} times {axis} than the best INT8"
                f" network; by the stricter rule {_spread([a.strict for a in mine])}."
            )
        int8 = one.ratio[one.found.largest["int8"]][0]
        if int8 > 1:
            faster = _spread([1 / one.ratio[a.place][0] for a in one.answers["linas", "faster"]])
            told.append(
                f"{one.name}: the largest network in INT8 takes {int8:.2f} times as long as in fp32:"
                " ONNX Runtime's int8 convolutions with ranges of each input are slow on this"
                " processor, so that to be faster than INT8 says little. Against the largest in fp32"
                f" the same networks are {faster} times as fast."
            )
        told.append(
            f"{one.name}: {len(one.points)} networks on {one.items} held-out items; the table's"
            f" latencies err by {100 * prior(one):.1f} % (median) on them"
            + (
                "."
                if math.isnan(one.agreement)
                else f", its accuracies by at most {100 * one.agreement:.1f} points."
            )
        )
    return told


def prior(one: Family) -> float:
    """Median error of the predicted latencies over the measured networks."""
    return float(np.median([abs(one.predicted[at] / one.ratio[at][0] - 1) for at in one.points]))


def _facts(one: Family) -> dict[str, Any]:
    kept = ("name", "task", "commit", "recipe", "points", "weights_sha256", "held_out")
    base = one.points[one.found.largest["int8"]]
    return {
        "table": {key: one.head[key] for key in kept if key in one.head},
        "items": one.items,
        "anchor_ms": _short(one.anchor_ms),
        "latency": dict(one.latency),
        "error_of_predicted_latency": _short(prior(one)),
        "largest_error_of_accuracy": None if math.isnan(one.agreement) else _short(one.agreement),
        "bf16_in_torch": {key: _short(value) for key, value in one.bf16.items()},
        "largest": dict(one.found.largest),
        "fronts": [
            {"search": search, "axis": axis, "seed": seed, "places": list(places)}
            for (search, axis, seed), places in one.found.fronts.items()
        ],
        "answers": [
            {
                "search": search, "axis": axis, "place": a.place, "times": _short(a.times),
                "times_stricter": _short(a.strict), "accuracy": _ends(a.accuracy), "loss": _ends(a.loss),
            }
            for (search, axis), answers in one.answers.items()
            for a in answers
        ],
        "points": [
            {
                "place": at, "architecture": one.networks[at][0], "policy": one.networks[at][1],
                "ratio": [_short(x) for x in one.ratio[at]], "bytes": point.size,
                "accuracy": _short(float(point.hits.mean())), "loss": _short(float(point.losses.mean())),
                "times_faster_than_int8": _short(one.ratio[one.found.largest["int8"]][0] / one.ratio[at][0]),
                "times_smaller_than_int8": _short(base.size / point.size), "apart": _short(point.apart),
            }
            for at, point in one.points.items()
        ],
    }  # fmt: skip


def _ends(interval: stats.Interval) -> list[float | None]:
    return [None if x is None else _short(x) for x in (interval.mean, interval.low, interval.high)]


def _interval(interval: stats.Interval, times: float, form: str) -> str:
    if interval.low is None or interval.high is None:
        return f"{times * interval.mean:+{form}}"
    return (
        f"{times * interval.mean:+{form}} [{times * interval.low:+{form}}, {times * interval.high:+{form}}]"
    )


def _spread(values: Sequence[float], form: str = ".2f") -> str:
    """The middle, and the range where there is one to the printed digit."""
    ordered = sorted(values)
    low, high = format(ordered[0], form), format(ordered[-1], form)
    return format(float(np.median(ordered)), form) + (f" ({low} to {high})" if low != high else "")


def _short(value: float) -> float:
    return float(f"{value:.6g}")
