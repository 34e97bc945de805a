"""The outcome of ``simq_fronts`` in words, tables and facts, from the facts of each table alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.records.studies import Outcome
from benchmarks.studies.simq_fronts import plot
from benchmarks.studies.simq_fronts.judge import (
    AT_NO_LOSS,
    UNDECIDED,
    WITHDRAWN,
    WORSE,
    Answer,
    Facts,
    Judged,
    judge,
    points,
    quantile,
    ratio,
    w4,
)
from benchmarks.studies.simq_fronts.study import AXES, LEVEL, MARGIN, PAPER, RULE, short

NAMED = {"loss": "simq-fronts", "error": "simq-fronts-accuracy"}
DISCORDANT = 0.12
"""Share of items that two networks answer differently, for the table of what items resolve: that of the
Vision Transformers, the largest measured."""


def outcome(about: Mapping[str, Any], tables: Sequence[Facts]) -> Outcome:
    """Return the study's outcome.

    Args:
        about: signature, quality, and how much was run.
        tables: ``simq_fronts.family`` of each.
    """
    quality = about["quality"]
    rule = RULE.format(quality=quality)
    answers = {(one["table"]["name"], axis): judge(one, axis) for one in tables for axis in AXES}
    facts = {
        "study": NAMED[quality], "rule": rule, **about, "margin": MARGIN, "level": LEVEL,
        "paper": {"times_faster": PAPER["faster"], "times_smaller": PAPER["smaller"]},
        "tables": [{**one, "answers": _answers(one, answers)} for one in tables],
        "paired": {f"{name}: times {axis} than INT8": _pair(name, axis, answer)
                   for (name, axis), answer in answers.items()},
    }  # fmt: skip
    return Outcome(
        title="How much faster and smaller than uniform INT8, at no loss of quality?",
        question=f"Joint searches of architecture and precision for {quality}, their fronts measured"
        " with real kernels on held-out data, against the largest network in uniform INT8.",
        rule=rule,
        columns=(
            *("table", "network", "ms", "times faster", "MB", "times smaller", "accuracy, %"),
            *(f"points above INT8 [one-sided {LEVEL:.0%} each]", "verdict"),
        ),
        rows=[row for one in tables for row in rows(one, answers)],
        notes=list(notes(about, tables, answers)),
        facts=facts,
        pictures=plot.pictures(tables, about["profile"], quality),
    )


def _pair(name: str, axis: str, answer: Answer) -> dict[str, Any]:
    if reason := WITHDRAWN.get((name, axis)):
        return {"values": [], "unit": "ratio", "withdrawn": reason}
    bounds = [short(answer.low), short(answer.high)]
    return {"values": [short(answer.estimate)], "unit": "ratio", "bounds": bounds}


def _answers(one: Facts, answers: Mapping[tuple[str, str], Answer]) -> dict[str, Any]:
    name = one["table"]["name"]
    found: dict[str, Any] = {}
    for axis in AXES:
        answer = answers[name, axis]
        found[axis] = {
            "withdrawn": WITHDRAWN.get((name, axis), ""),
            "candidates": [
                {
                    "place": c.place, "times": short(c.times), "verdict": c.verdict,
                    "accuracy_above_int8": short(c.difference), "resolved": short(c.resolved),
                    "resolved_is_bound": c.bounded,
                }
                for c in answer.candidates
            ],
            "at_no_loss": short(answer.low), "ceiling": short(answer.high), "estimate":
        short(answer.estimate), }  # fmt: skip
    return found


def rows(one: Facts, answers: Mapping[tuple[str, str], Answer]) -> Iterator[tuple[str, ...]]:
    """Yield uniform precisions of the largest network, then every candidate of each axis with a baseline."""
    name = one["table"]["name"]
    for precision, at in one["largest"].items():
        yield (*_row(one, f"largest, {precision}", at), "", "")
    low = one["bf16_in_torch"]
    yield (
        name, "largest, bf16 in torch", "", f"{low['times_fp32']:.2f} x fp32 in torch",
        f"{low['bytes'] / 1e6:.2f} (weights)", "", f"{100 * low['accuracy']:.1f}", "", "",
    )  # fmt: skip
    for axis in (axis for axis in AXES if (name, axis) not in WITHDRAWN):
        for found in answers[name, axis].candidates:
            yield (
                *_row(one, f"{axis}: {_searches(one, axis, found.place)}", found.place),
                _points(found),
                found.verdict,
            )


def _searches(one: Facts, axis: str, place: int) -> str:
    names = {"int8": "uniform INT8"}
    found = {
        names.get(front["search"], front["search"])
        for front in one["fronts"]
        if front["axis"] == axis and place in front["places"]
    }
    return ", ".join(sorted(found)) or "measured for the other axis"


def _row(one: Facts, network: str, at: int) -> tuple[str, ...]:
    name, point = one["table"]["name"], points(one)[at]
    times = {axis: f"{ratio(one, at, axis)[0]:.2f}" for axis in AXES}
    ms = f"{one['anchor_ms'] * point['ratio'][0]:.2f}"
    if w4(point):
        ms, times["faster"] = f"{ms} (w4)", "withdrawn"
    for axis in AXES:
        if (name, axis) in WITHDRAWN:
            times[axis] = "withdrawn"
    return (
        name, network, ms, times["faster"], f"{point['bytes'] / 1e6:.2f}", times["smaller"],
        f"{100 * point['accuracy']:.1f}",
    )  # fmt: skip


def _points(found: Judged) -> str:
    low, high = found.difference - found.resolved, found.difference + found.resolved
    told = f"{100 * found.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return told + (" at most" if found.bounded else "")


def resolves(items: int, discordant: float) -> float:
    """Return the half width, in accuracy, of a one-sided interval of two networks that differ on a share of
    ``items``."""
    return quantile() * math.sqrt(discordant / items)


def needed(discordant: float) -> int:
    """Return the items that resolve ``MARGIN`` where two networks differ on a share of them."""
    return math.ceil(discordant * (quantile() / MARGIN) ** 2)


def notes(
    about: Mapping[str, Any], tables: Sequence[Facts], answers: Mapping[tuple[str, str], Answer]
) -> Iterator[str]:
    """Yield what a reader must know, then what each table says beside the paper's figures."""
    counts = sorted({one["items"] for one in tables})
    told = ", ".join(f"{n:,} items {100 * resolves(n, DISCORDANT):.2f} points" for n in counts)
    yield (
        f"What items resolve, one-sided {LEVEL:.0%} and before any correction, where two networks differ on"
        f" {DISCORDANT:.0%} of them: {told}; {100 * MARGIN:g} points take {needed(DISCORDANT):,} items. More"
        " than the split has cannot be asked."
    )
    yield (
        'Intervals are of single candidates; verdicts are after Holm over those of a table and axis. "At'
        ' most": the answers of that network were not kept item by item, and the interval is the widest that'
        " both accuracies allow."
    )
    yield (
        f"ms, MB: median of {about['rounds']} inferences of one item on one thread, in turns with the largest"
        f" network in fp32; the ONNX file. {about['seeds']} search seeds of {about['evaluations']}"
        " evaluations; one supernet a table, so that differences between supernets are in no interval. bf16"
        " runs in torch, for ONNX Runtime has no such kernels here, and stands beside fp32 in torch alone."
    )
    yield (
        "(w4): timed with float32 sums (accuracy_level 1), which exports no longer have; as latencies these"
        " are withdrawn. Bytes and accuracies are of the same files."
    )
    yield (
        "Sentences are timed at their own lengths; the table's latencies were fitted at one length. What is"
        " before and behind the layers (patches, stem, embeddings, heads) stays fp32 in every network, and is"
        " in every figure."
    )
    yield (
        f"The paper (arXiv 2312.13301) has up to {PAPER['faster']:.2f} times faster and"
        f" {PAPER['smaller']:.2f} times smaller than fully INT8 baselines, without saying of which"
        " network. An all-INT8 smallest sub-network of its BERT and ViT spaces is at most 2.67 and 2.97"
        " times smaller than the largest, so its figures probably compare sub-networks of an OFA"
        " ResNet-50 with a stock INT8 ResNet-152."
    )
    if measured := about.get("measured"):
        yield (
            f"Measured at commit {measured['commit'][:12]} on {about['profile']}; judged again from that file"
            " by the rule above. The rule before it judged the two cheapest points of a front, and took no"
            " significant difference for no loss."
        )
    yield f"Signature: {about['signature']}"
    for one in tables:
        name = one["table"]["name"]
        for axis in AXES:
            yield f"{name}: {_verdict(name, axis, one, answers[name, axis])}"
        yield f"{name}: {_table(one)}"


def _verdict(name: str, axis: str, one: Facts, answer: Answer) -> str:
    if reason := WITHDRAWN.get((name, axis)):
        return f"times {axis} than INT8: {reason}."
    words = (AT_NO_LOSS, WORSE, UNDECIDED)
    counts = {word: sum(one.verdict == word for one in answer.candidates) for word in words}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "none there"
    paper, ours = (f"{ceiling:.2f}" for ceiling in one["ceilings"][axis])
    alone = "" if paper == ours else f" ({paper} in fp32 and int8)"
    best = f"{answer.low:.2f} times {axis}" if answer.low > 1 else f"nothing {axis}"
    resolved = [100 * found.resolved for found in answer.candidates if found.verdict == UNDECIDED]
    doubt = f" Undecided: the items resolve only +-{min(resolved):.1f}" if resolved else ""
    if resolved and f"{min(resolved):.1f}" != f"{max(resolved):.1f}":
        doubt += f" to {max(resolved):.1f}"
    return (
        f"{best} than INT8 is shown to be at no loss (candidates: {told}; ceiling {ours}{alone}; paper: up to"
        f" {PAPER[axis]:.2f}).{doubt}{' points.' if resolved else ''} Best candidate whose estimate is above"
        f" -{100 * MARGIN:g} points, chosen on the same items: {answer.estimate:.2f} times {axis}."
    )


def _table(one: Facts) -> str:
    apart = one["largest_error_of_accuracy"]
    accuracy = "" if apart is None else f", its accuracies by at most {100 * apart:.1f} points"
    return (
        f"{len(one['points'])} networks on {one['items']} held-out items; the table's latencies err by"
        f" {100 * prior(one):.1f} % (median) on them{accuracy}.{_words(one)}"
    )


def _words(one: Facts) -> str:
    """Return what words in int8 would save of the largest network in INT8; empty where that is little."""
    words, largest = one["words"], points(one)[one["largest"]["int8"]]["bytes"]
    if not words or words["fp32"] < largest / 10:
        return ""
    saved = words["fp32"] - words["int8"]
    return (
        f" Its table of words, {words['fp32'] / 1e6:.2f} MB, is fp32 in every network: the largest's INT8"
        f" would have {(largest - saved) / 1e6:.2f} MB in place of {largest / 1e6:.2f} with words in int8."
    )


def prior(one: Facts) -> float:
    """Return the median error of the predicted latencies over the measured networks."""
    return float(np.median([abs(point["predicted"] / point["ratio"][0] - 1) for point in one["points"]]))
