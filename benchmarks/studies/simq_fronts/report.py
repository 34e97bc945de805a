"""Report of the study of fronts: table, notes and facts, from the facts of each table alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np

from benchmarks.records.canonical import JsonObject
from benchmarks.records.study_files import ClaimFigure, StudyOutcome
from benchmarks.report.plots.style import render
from benchmarks.stats.rounding import six_digits
from benchmarks.studies.simq_fronts import plot
from benchmarks.studies.simq_fronts.facts import AXES, TableFacts, points_by_place
from benchmarks.studies.simq_fronts.judge import (
    AT_NO_LOSS,
    LEVEL,
    MARGIN,
    PAPER,
    RULE,
    UNDECIDED,
    WITHDRAWN,
    WORSE,
    Answer,
    JudgedNetwork,
    has_w4,
    judge,
    normal_quantile,
    ratio_to_int8,
)

NAMES = {"loss": "simq-fronts", "error": "simq-fronts-accuracy"}
"""Quality -> name of the study."""
DISCORDANT = 0.12
"""Share of items that two networks answer differently, for the note on the resolution of items: that of the
Vision Transformers, the largest measured."""

Answers = Mapping[tuple[str, str], Answer]
"""Table and axis -> answer."""


class MeasuredAt(TypedDict):
    """Origin of a file that is judged again: its commit and its seal."""

    commit: str
    seal: str


class About(TypedDict):
    """Signature of the latencies, quality, and amounts of work."""

    signature: str
    quality: str
    profile: str
    seeds: int
    evaluations: int
    inner: int
    shown: int
    rounds: int
    measured: NotRequired[MeasuredAt]


def outcome(about: About, tables: Sequence[TableFacts]) -> StudyOutcome:
    """Return the study's outcome."""
    quality = about["quality"]
    rule = RULE.format(quality=quality)
    answers = {(facts["table"]["name"], axis): judge(facts, axis) for facts in tables for axis in AXES}
    content = {
        "study": NAMES[quality], "rule": rule, **about, "margin": MARGIN, "level": LEVEL,
        "paper": {"times_faster": PAPER["faster"], "times_smaller": PAPER["smaller"]},
        "tables": [{**facts, "answers": _answer_facts(facts, answers)} for facts in tables],
        "paired": _claim_figures(tables, answers),
    }  # fmt: skip
    return StudyOutcome(
        title="How much faster and smaller than uniform INT8, at no loss of quality?",
        question=f"Joint searches of architecture and precision for {quality}, their fronts measured"
        " with real kernels on held-out data, against the largest network in uniform INT8.",
        rule=rule,
        columns=(
            *("table", "network", "ms", "times faster", "MB", "times smaller", "accuracy, %"),
            *(f"points above INT8 [one-sided {LEVEL:.0%} each]", "verdict"),
        ),
        rows=[row for facts in tables for row in table_rows(facts, answers)],
        notes=list(notes(about, tables, answers)),
        facts=content,
        pictures=render(lambda: plot.draw(tables, about["profile"], quality)),
    )


def _claim_figures(tables: Sequence[TableFacts], answers: Answers) -> dict[str, ClaimFigure]:
    """Return the figures for claims: of each table and axis in the paper's alphabet, then bytes with W4."""
    figures = {}
    for facts in tables:
        name = facts["table"]["name"]
        for axis in AXES:
            key = f"{name}: times {axis} than INT8"
            figures[key] = _claim_figure(name, axis, judge(facts, axis, paper=True))
            if axis == "smaller" and any(map(has_w4, facts["points"])):
                figures[f"{key}, with w4"] = _claim_figure(name, axis, answers[name, axis])
    return figures


def _claim_figure(name: str, axis: str, answer: Answer) -> ClaimFigure:
    if reason := WITHDRAWN.get((name, axis)):
        return {"values": [], "unit": "ratio", "withdrawn": reason}
    bounds, count = [six_digits(answer.low), six_digits(answer.high)], len(answer.candidates)
    return {"values": [six_digits(answer.estimate)], "unit": "ratio", "bounds": bounds, "count": count}


def _answer_facts(facts: TableFacts, answers: Answers) -> JsonObject:
    name = facts["table"]["name"]
    content: JsonObject = {}
    for axis in AXES:
        answer = answers[name, axis]
        content[axis] = {
            "withdrawn": WITHDRAWN.get((name, axis), ""),
            "candidates": [
                {
                    "place": c.place, "times": six_digits(c.times), "verdict": c.verdict,
                    "accuracy_above_int8": six_digits(c.difference), "resolved": six_digits(c.resolved),
                    "resolved_is_bound": c.bounded,
                }
                for c in answer.candidates
            ],
            "at_no_loss": six_digits(answer.low), "ceiling": six_digits(answer.high),
            "estimate": six_digits(answer.estimate),
        }  # fmt: skip
    return content


def table_rows(facts: TableFacts, answers: Answers) -> Iterator[tuple[str, ...]]:
    """Yield uniform precisions of the largest network, then every candidate of each axis with a baseline."""
    name = facts["table"]["name"]
    for precision, place in facts["largest"].items():
        yield (*_network_cells(facts, f"largest, {precision}", place), "", "")
    bf16 = facts["bf16_in_torch"]
    yield (
        name, "largest, bf16 in torch", "", f"{bf16['times_fp32']:.2f} x fp32 in torch",
        f"{bf16['bytes'] / 1e6:.2f} (weights)", "", f"{100 * bf16['accuracy']:.1f}", "", "",
    )  # fmt: skip
    for axis in (axis for axis in AXES if (name, axis) not in WITHDRAWN):
        for candidate in answers[name, axis].candidates:
            place = candidate.place
            yield (
                *_network_cells(facts, f"{axis}: {_search_names(facts, axis, place)}", place),
                _points_above_int8(candidate),
                candidate.verdict,
            )


def _search_names(facts: TableFacts, axis: str, place: int) -> str:
    names = {"int8": "uniform INT8"}
    searches = {
        names.get(front["search"], front["search"])
        for front in facts["fronts"]
        if front["axis"] == axis and place in front["places"]
    }
    return ", ".join(sorted(searches)) or "measured for the other axis"


def _network_cells(facts: TableFacts, network: str, place: int) -> tuple[str, ...]:
    name, point = facts["table"]["name"], points_by_place(facts)[place]
    times = {axis: f"{ratio_to_int8(facts, place, axis)[0]:.2f}" for axis in AXES}
    ms = f"{facts['anchor_ms'] * point['ratio'][0]:.2f}"
    if has_w4(point):
        ms, times["faster"] = f"{ms} (w4)", "withdrawn"
    for axis in AXES:
        if (name, axis) in WITHDRAWN:
            times[axis] = "withdrawn"
    return (
        name, network, ms, times["faster"], f"{point['bytes'] / 1e6:.2f}", times["smaller"],
        f"{100 * point['accuracy']:.1f}",
    )  # fmt: skip


def _points_above_int8(network: JudgedNetwork) -> str:
    low, high = network.difference - network.resolved, network.difference + network.resolved
    text = f"{100 * network.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return text + (" at most" if network.bounded else "")


def resolution(items: int, discordant: float) -> float:
    """Return the half width, in accuracy, of a one-sided interval of a difference of two networks.

    Args:
        discordant: share of the items on which they differ.
    """
    return normal_quantile() * math.sqrt(discordant / items)


def items_needed(discordant: float) -> int:
    """Return the number of items that resolve ``MARGIN`` if two networks differ on a share of them."""
    return math.ceil(discordant * (normal_quantile() / MARGIN) ** 2)


def notes(about: About, tables: Sequence[TableFacts], answers: Answers) -> Iterator[str]:
    """Yield notes on the method, then the answers of each table beside the paper's figures."""
    counts = sorted({facts["items"] for facts in tables})
    resolved = ", ".join(f"{n:,} items {100 * resolution(n, DISCORDANT):.2f} points" for n in counts)
    yield (
        f"What items resolve, one-sided {LEVEL:.0%} and before any correction, where two networks differ on"
        f" {DISCORDANT:.0%} of them: {resolved}; {100 * MARGIN:g} points take {items_needed(DISCORDANT):,}"
        " items. More"
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
    for facts in tables:
        name = facts["table"]["name"]
        for axis in AXES:
            yield f"{name}: {_answer_note(name, axis, facts, answers[name, axis])}"
        yield f"{name}: {_table_note(facts)}"


def _answer_note(name: str, axis: str, facts: TableFacts, answer: Answer) -> str:
    if reason := WITHDRAWN.get((name, axis)):
        return f"times {axis} than INT8: {reason}."
    verdicts = (AT_NO_LOSS, WORSE, UNDECIDED)
    counts = {verdict: sum(c.verdict == verdict for c in answer.candidates) for verdict in verdicts}
    candidates = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    paper, ours = (f"{ceiling:.2f}" for ceiling in facts["ceilings"][axis])
    paper_space = "" if paper == ours else f" ({paper} in fp32 and int8)"
    cheapest = facts["cheapest"][axis][1]
    if axis == "faster":
        measured = cheapest in points_by_place(facts)
        paper_space += f", predicted{f'; {_measured(facts, cheapest)} measured' if measured else ''}"
    best = f"{answer.low:.2f} times {axis}" if answer.low > 1 else f"nothing {axis}"
    resolved = [100 * c.resolved for c in answer.candidates if c.verdict == UNDECIDED]
    undecided = f" Undecided: the items resolve only +-{min(resolved):.1f}" if resolved else ""
    if resolved and f"{min(resolved):.1f}" != f"{max(resolved):.1f}":
        undecided += f" to {max(resolved):.1f}"
    return (
        f"{best} than INT8 is shown to be at no loss (candidates: {candidates or 'none there'}; ceiling"
        f" {ours}{paper_space}; paper: up to {PAPER[axis]:.2f}).{undecided}{' points.' if resolved else ''}"
        f" Best candidate whose estimate is above -{100 * MARGIN:g} points, chosen on the same items:"
        f" {answer.estimate:.2f} times {axis}."
    )


def _measured(facts: TableFacts, place: int) -> str:
    times, low, high = ratio_to_int8(facts, place, "faster")
    return f"{times:.2f} [{low:.2f}, {high:.2f}]"


def _table_note(facts: TableFacts) -> str:
    error = facts["largest_error_of_accuracy"]
    accuracy = "" if error is None else f", its accuracies by at most {100 * error:.1f} points"
    return (
        f"{len(facts['points'])} networks on {facts['items']} held-out items; the table's latencies err by"
        f" {100 * median_latency_error(facts):.1f} % (median) on them{accuracy}.{_embedding_note(facts)}"
    )


def _embedding_note(facts: TableFacts) -> str:
    """Return the saving of int8 word embeddings in the largest INT8 network; empty if it is small."""
    words, largest = facts["words"], points_by_place(facts)[facts["largest"]["int8"]]["bytes"]
    if not words or words["fp32"] < largest / 10:
        return ""
    saved = words["fp32"] - words["int8"]
    return (
        f" Its table of words, {words['fp32'] / 1e6:.2f} MB, is fp32 in every network: the largest's INT8"
        f" would have {(largest - saved) / 1e6:.2f} MB in place of {largest / 1e6:.2f} with words in int8."
    )


def median_latency_error(facts: TableFacts) -> float:
    """Return the median relative error of the predicted latencies over the measured networks."""
    return float(np.median([abs(point["predicted"] / point["ratio"][0] - 1) for point in facts["points"]]))
