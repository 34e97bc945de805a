"""Gap between networks with inherited weights and the same networks trained alone, in translation.

The measurements come from ``supernet-bench study mt-gap-measure``; this study computes from them alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.records.study_files import StudyOutcome
from benchmarks.stats.intervals import t_interval
from benchmarks.stats.rounding import finite_within
from benchmarks.studies.interval_text import interval_text
from benchmarks.studies.mt_gap.analysis import (
    TOP,
    by_kind,
    ceiling,
    effects,
    error_by_chance,
    gap,
    over_networks,
    predictors,
    tau_within_one,
)
from benchmarks.studies.mt_gap.plan import ALONE, GapPlan, missing, read_plan
from benchmarks.tasks.datasets import Say

SUMMARY = (
    "how far inherited weights are from training alone, and how well supernets rank; from mt-gap-measure"
)
READS = "mt-gap"
FOLDER = "mt-gap"
"""Folder of the measurements under the results folder."""
RULE = (
    "a supernet ranks better than a trivial predictor where the 95 % interval of its tau within decoder"
    " depth, over supernets, lies above the predictor's; worse where it lies below; undecided otherwise."
)
COLUMNS = ("scores from", "n", "MAE", "MAE by chance", "offset", "MAE without offset", "tau",
           "tau within depth", "tau within depth, one seed alone",
           *(f"regret of top {k}" for k in TOP))  # fmt: skip
SEED = 1
"""Seed of the bootstrap over networks and supernets."""
NOTES = (
    "BLEU of all test sets pooled; validation loss in nats, its sign changed. Offset: mean of inherited"
    " minus alone. Regret: the best score alone minus the best of the k networks that the scores rank first.",
    "Intervals are Student's over supernets of different seeds, left out where all have one value. Alone is"
    " the mean over seeds. One seed alone: the same against each single training, mean over seeds, which is"
    " what the ceiling may be compared with: it has one seed on each side.",
    "MAE by chance: the error of inherited scores that equal those alone but for the luck of the trainings"
    " alone and of one supernet, normal deviates of the variances seen.",
    "All have as many updates on the same batches. Where the sandwich rule trains, mixtures included, an"
    " update makes three passes, so that such a supernet costs three times HAT's.",
    "The verdicts below follow the rule one by one, for the networks of this plan, and are not corrected for"
    " their number. The interval behind each is over networks as well, which the rule leaves out: 2,000"
    " bootstrap draws of networks within a depth and of supernets. Differences from plain sharing under the"
    " sandwich rule, paired by seed, are exploratory: the rule does not name them.",
)
BY_WIDTH = (
    "By encoder feed-forwards: whether a supernet scores networks with the smallest or the largest of them"
    " too well, which the sandwich rule trains at every update; least squares within a decoder depth on the"
    " share of layers with that size, mean over supernets, intervals over networks."
)
"""Note before the sentences of ``extremes_texts``."""
SINGLE = "hat"
"""Kind whose supernets train one path of random sizes an update."""
CONTROL = "sandwich"
"""Kind that mixtures are compared with: plain sharing under the rule of sampling that trains them."""
COMPARED = {"mae": "MAE", "offset": "offset", "tau": "tau", "tau_within": "tau within depth"}
"""Statistic that is compared with the control's -> its name."""


def run(folder: Path | None, say: Say = lambda line: None) -> StudyOutcome:
    """Run the study over the measurements in ``folder``.

    Raises:
        UsageError: there are none, or some are missing.
    """
    from benchmarks.report.plots.style import render
    from benchmarks.studies.mt_gap import plot

    plan, scores = read_scores(folder or Path(FOLDER))
    results = {metric: compare(plan, scores, metric) for metric in METRICS}
    rows = [row for metric, result in results.items() for row in _rows(METRICS[metric][0], result)]
    sentences = [
        line
        for metric, result in results.items()
        for line in (*result["verdicts"], *against_control(METRICS[metric][0], result["gaps"]))
    ]
    decides = results["bleu"]
    if by_width := extremes_texts("BLEU", decides["extremes"]):
        sentences += [BY_WIDTH, *by_width]
    inherited = {
        (kind, seed): decides["inherited"][f"{kind}-seed{seed}"]
        for kind in plan.kinds
        for seed in range(1, plan.supernet_seeds + 1)
    }
    return StudyOutcome(
        title="How far are inherited weights from training alone?",
        question="Do supernets give a translation network the quality that it has when trained alone for as"
        " many updates, and do they rank networks as training alone does?",
        rule=RULE,
        columns=COLUMNS,
        rows=rows,
        notes=[*NOTES, *sentences],
        facts={
            "study": "mt-gap",
            "plan": plan.to_dict(),
            "results": finite_within(results),
            "paired": for_claims(decides["gaps"]),
        },
        pictures=render(lambda: plot.draw(decides["alone"], inherited, depths(plan))),
    )


def compare(plan: GapPlan, scores: Scores, metric: str) -> JsonObject:
    """Return all statistics of one of ``METRICS``."""
    name, sign = METRICS[metric]
    depth = depths(plan)
    numbers, seeds = range(len(depth)), range(1, plan.alone_seeds + 1)
    alone = [[sign * scores[f"{ALONE}-{i:02d}-seed{s}"][i][metric] for i in numbers] for s in seeds]
    mean = [sum(values) / len(values) for values in zip(*alone, strict=True)]
    inherited = {
        (kind, seed): [sign * scores[f"{kind}-seed{seed}"][i][metric] for i in numbers]
        for kind in plan.kinds
        for seed in range(1, plan.supernet_seeds + 1)
    }
    by_sizes = sizes(plan)
    trivial = predictors(mean, by_sizes, depth)
    for predictor, values in by_sizes.items():
        trivial[predictor]["tau_within_one"] = tau_within_one(alone, values, depth)
    gaps = {
        kind: [
            asdict(gap(mean, v, depth)) | {"tau_within_one": tau_within_one(alone, v, depth)} for v in values
        ]
        for kind, values in by_kind(inherited)
    }
    rng = np.random.default_rng(SEED)
    wider = {
        (kind, predictor): over_networks(mean, values, by_sizes[predictor], depth, rng)
        for kind, values in by_kind(inherited)
        for predictor, other in trivial.items()
        if math.isfinite(other["tau_within"])
    }
    return {
        "alone": alone,
        "mean": mean,
        "inherited": {f"{kind}-seed{seed}": v for (kind, seed), v in inherited.items()},
        "gaps": gaps,
        "predictors": trivial,
        "ceiling": ceiling(alone, depth),
        "chance": {kind: error_by_chance(alone, values) for kind, values in by_kind(inherited)},
        "over_networks": {f"{kind} - {predictor}": [*span] for (kind, predictor), span in wider.items()},
        "extremes": extremes(plan, mean, dict(by_kind(inherited))),
        "verdicts": verdicts(name, gaps, trivial, wider),
    }


def depths(plan: GapPlan) -> list[int]:
    """Return the decoder layers of each network."""
    return [int(a["decoder_layers"]) for a in plan.architectures]


Scores = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Name of a training -> number of a network -> its scores."""
METRICS = {"bleu": ("BLEU", 1.0), "valid_loss": ("loss", -1.0)}
"""Score in the files -> its name, and the sign that makes more of it better."""


def read_scores(folder: Path) -> tuple[GapPlan, Scores]:
    """Return the plan of a folder of measurements, and name of each training -> network -> scores.

    Raises:
        UsageError: no measurements, or a training's are missing.
    """
    command = f"supernet-bench study mt-gap-measure --out {folder} --data-dir DIR"
    if not (folder / "plan.json").is_file():
        raise UsageError(f"{folder} has no measurements of the gap study: {command}")
    plan = read_plan(folder / "plan.json")
    scores: dict[str, dict[int, dict[str, float]]] = {}
    for path in sorted(folder.glob("*-seed*.json")):
        fields = json.loads(path.read_text(encoding="utf-8"))
        scores[path.stem] = {int(number): values for number, values in fields["scores"].items()}
    if absent := missing(plan, list(scores)):
        names = ", ".join(job.name for job in absent[:4])
        raise UsageError(f"{folder}: {len(absent)} trainings are missing ({names}): {command}")
    return plan, scores


def sizes(plan: GapPlan) -> dict[str, list[float]]:
    """Return name -> value of each network for the trivial predictors."""
    from benchmarks.tasks import get_task
    from supernet.cost import cost
    from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
    from supernet.space import get_space

    tier = get_task(plan.task).tier(plan.tier, "cpu")
    # Vocabularies add the same to all networks of one width, and no layer.
    family = Seq2SeqFamily(get_space(tier.space), Seq2SeqConfig(8, 8))
    costs = [
        cost(family, family.space.architecture(a), source_len=20, target_len=20) for a in plan.architectures
    ]
    return {
        "depth": [float(a["decoder_layers"]) for a in plan.architectures],
        "parameters": [float(c.params_body) for c in costs],
        "MACs": [float(c.macs_body) for c in costs],
    }


def verdicts(
    metric: str,
    gaps: Mapping[str, Sequence[JsonView]],
    trivial: Mapping[str, JsonView],
    wider: Mapping[tuple[str, str], tuple[float, float, float]],
) -> list[str]:
    """Return a sentence for each supernet and trivial predictor with an order within depth.

    Args:
        metric: its name.
        gaps: kind -> statistics of each supernet.
        trivial: predictor -> its statistics.
        wider: kind and predictor -> difference of their tau, with its interval over networks too.
    """
    lines = []
    for kind, several in gaps.items():
        values = [g["tau_within"] for g in several]
        if not all(map(math.isfinite, values)):
            continue
        interval = t_interval(values)
        for name, other in trivial.items():
            tau = other["tau_within"]
            if not math.isfinite(tau):
                continue
            word = "undecided"
            if interval.low is not None and interval.high is not None and interval.low < interval.high:
                word = "better" if interval.low > tau else "worse" if interval.high < tau else word
            mean, low, high = wider[kind, name]
            lines.append(
                f"{metric} within depth, {kind} against {name}: {word} ({interval.mean:.2f}, {tau:.2f});"
                f" over networks too {mean:+.2f} [{low:+.2f}, {high:+.2f}]."
            )
    return lines


def extremes(
    plan: GapPlan, alone: Sequence[float], inherited: Mapping[str, Sequence[Sequence[float]]]
) -> JsonObject:
    """Return whether supernets favour networks with feed-forwards of an extreme size in the encoder.

    The sandwich rule trains the smallest and the largest network at every update, ``hat`` no size more often
    than another.

    Args:
        plan: of the study.
        alone: score of each network trained alone.
        inherited: kind -> supernet -> score of each network.

    Returns:
        A kind's inherited scores minus those alone, or minus ``hat``'s, in which the luck of the trainings
        alone drops out -> ``all smallest`` and ``all largest`` -> effect of encoder feed-forwards all of this
        size, with its 95 % interval over networks.
    """
    widths = [a["encoder_ffn"] for a in plan.architectures]
    options = feed_forwards(plan)
    ends = {"smallest": min(options), "largest": max(options)}
    shares = {f"all {name}": [w.count(end) / len(w) for w in widths] for name, end in ends.items()}
    means = {kind: np.mean(values, axis=0) for kind, values in inherited.items()}
    differences = {f"{kind} minus alone": mean - np.asarray(alone) for kind, mean in means.items()}
    if SINGLE in means:
        others = {kind: mean for kind, mean in means.items() if kind != SINGLE}
        differences |= {f"{kind} minus {SINGLE}": mean - means[SINGLE] for kind, mean in others.items()}
    return {
        name: {
            share: [span.mean, span.low, span.high]
            for share, span in effects(values.tolist(), shares, depths(plan)).items()
        }
        for name, values in differences.items()
    }


def feed_forwards(plan: GapPlan) -> Sequence[int]:
    """Return the widths of the encoder's feed-forwards that the plan's space has."""
    from benchmarks.tasks import get_task
    from supernet.space import get_space

    space = get_space(get_task(plan.task).tier(plan.tier, "cpu").space)
    return [int(width) for width in space.choice("encoder_ffn").options]


def extremes_texts(metric: str, differences: JsonView) -> list[str]:
    """Return a sentence for each difference of ``extremes``."""
    lines = []
    for name, of_shares in differences.items():
        parts = [
            f"{share} {mean:+.2f} [{low:+.2f}, {high:+.2f}]" for share, (mean, low, high) in of_shares.items()
        ]
        if parts:
            lines.append(f"{metric}, {name}, by encoder feed-forwards: {', '.join(parts)} (exploratory).")
    return lines


def for_claims(gaps: JsonView) -> JsonObject:
    """Return the figures that claims read: mean absolute errors, and those minus the control of one seed."""
    errors = {kind: [g["mae"] for g in several] for kind, several in gaps.items()}
    figures = {f"{kind}: mean absolute error": values for kind, values in errors.items()}
    for kind, values in errors.items():
        if kind != CONTROL and CONTROL in errors:
            pairs = zip(values, errors[CONTROL], strict=True)
            figures[f"{kind} - {CONTROL}: mean absolute error"] = [ours - theirs for ours, theirs in pairs]
    return {name: {"values": values, "unit": "BLEU"} for name, values in figures.items()}


def against_control(metric: str, gaps: JsonView) -> list[str]:
    """Return a sentence for each other kind: its statistics minus those of the control of the same seed."""
    lines = []
    for kind, several in gaps.items():
        if kind == CONTROL or CONTROL not in gaps:
            continue
        parts = []
        for key, name in COMPARED.items():
            values = [ours[key] - theirs[key] for ours, theirs in zip(several, gaps[CONTROL], strict=True)]
            cell = interval_text(values, "+.2f")
            parts.append(f"{name} {cell}")
        lines.append(f"{metric}, {kind} minus {CONTROL}: {', '.join(parts)} (exploratory).")
    return lines


def _rows(metric: str, result: JsonView) -> list[list[str]]:
    chance = result["chance"]
    rows = [_row(f"{kind}, {metric}", several, chance[kind]) for kind, several in result["gaps"].items()]
    rows += [_row(f"{name} alone, {metric}", [values]) for name, values in result["predictors"].items()]
    if pairs := result["ceiling"]:
        single = [{**pair, "tau_within": math.nan, "tau_within_one": pair["tau_within"]} for pair in pairs]
        rows.append(_row(f"one seed alone against another (ceiling), {metric}", single))
    return rows


def _row(name: str, several: Sequence[JsonView], chance: float = math.nan) -> list[str]:
    values = {key: [s[key] for s in several if key in s] for key in RANGES}
    regrets = [[s["regret"][k] for s in several if k in s["regret"]] for k in TOP]
    error, *cells = [interval_text(values[key], ".2f", *RANGES[key]) for key in RANGES]
    by_chance = interval_text([chance], ".2f")
    return [
        name, str(len(several)), error, by_chance, *cells,
        *(interval_text(regret, low=0.0) for regret in regrets),
    ]  # fmt: skip


RANGES = {
    "mae": (0.0, math.inf),
    "offset": (-math.inf, math.inf),
    "mae_without_offset": (0.0, math.inf),
    "tau": (-1.0, 1.0),
    "tau_within": (-1.0, 1.0),
    "tau_within_one": (-1.0, 1.0),
}
"""Statistic -> range of its values, beyond which no interval is shown."""
