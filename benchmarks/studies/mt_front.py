"""Fronts of BLEU and latency in ONNX Runtime: translation searched at several limits for one core.

Published winners of the tiers ``front`` are rebuilt from their records and timed on this machine's processor,
in turns with the tier's reference network. Their searches had latencies counted at prices that were fitted to
this runtime; the front has timed ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from benchmarks.hardware.profiles import Profile
from benchmarks.records import selection, study_files
from benchmarks.records.record import Candidate, Record
from benchmarks.records.study_files import ClaimFigure, StudyOutcome
from benchmarks.stats import intervals, pareto
from benchmarks.studies.interval_text import interval_text
from benchmarks.studies.published_winners import (
    NONE_OMITTED,
    OmittedRecords,
    load_present,
    method_name,
    processor_profile,
    rebuild,
    require_networks,
)
from benchmarks.tasks.datasets import Say
from supernet.quantization.onnx_runtime import version

if TYPE_CHECKING:
    from torch import nn

    from benchmarks.measurement.interleaved import Percentiles
    from benchmarks.measurement.workload import Workload
    from supernet.seq2seq import Transformer

SUMMARY = "fronts of BLEU and latency in ONNX Runtime, of translation searched at several limits"
READS = "records"
SUITE, TIER = "mt", "front"
COMPARED = (
    ("mos-neuron", "hat-sandwich"),
    ("mos-layer", "hat-sandwich"),
    ("mos-neuron", "hat"),
    ("hat-sandwich", "hat"),
    ("hat", "random-search"),
    ("hat-sandwich", "scratch"),
)
"""Comparisons of each task, fixed before the first record of these tiers."""
RULE = (
    "a method's front is better where the hypervolume of its winners (BLEU, latency over the reference's, to"
    " the frozen reference point), minus the other's of the same seed, differs from 0 by Student's test over"
    " seeds, p below 5 % after Holm over all comparisons of the page."
    " With fewer than the six planned seeds it is not applied."
)
SEEDS = 6
"""Paired seeds that were planned; with fewer the rule is not applied."""
ROUNDS = 64
"""Inferences of each network."""
CLOSE = 1e-3
"""Largest difference between ONNX Runtime's logits and torch's, of random weights."""
Key = tuple[str, str]
"""Task and method, with its options."""


@dataclass(frozen=True)
class FrontPoint:
    """One winner: its BLEU on the pooled test sets and its timing on this machine.

    ``limit`` is the share of the reference's counted latency that its search was given; ``ratio`` the latency
    over the reference's as timed here, with its 95 % interval ``low`` to ``high``; ``on_its_device`` the same
    ratio as the run's own profile measured it, None if it did not.
    """

    task: str
    method: str
    seed: int
    limit: float
    bleu: float
    ratio: float
    low: float
    high: float
    ms: float
    on_its_device: float | None
    decoder_layers: int
    parameters: int
    others_cpu: float
    signature: str


def run(folder: Path, say: Say) -> StudyOutcome:
    """Time every winner of the tiers ``front``, and compare methods by the fronts of their seeds.

    Args:
        folder: of records, such as ``results/records``.
        say: receives lines of progress.

    Raises:
        UsageError: no such records can be compared, or this machine matches no declared CPU profile.
    """
    profile = processor_profile("mt-front")
    absent = (
        f"no records of tier {TIER} in {folder}: supernet-bench run mt --task mt-multi30k-en-de --tier {TIER}"
        " makes them"
    )
    present, omitted = load_present(folder, _is_published, absent)
    winners = list(select_winners(present))
    require_networks(len(winners), folder)
    known: dict[str, TimedInTurns] = {}
    points = []
    for number, (record, limit, candidate) in enumerate(winners, 1):
        say(f"{number} of {len(winners)}: {method_name(record)} seed {record['spec']['seed']}, {limit:g}")
        points.append(time_winner(record, limit, candidate, profile, known))
    return outcome(points, profile.name, omitted)


def rejudge(path: Path) -> StudyOutcome:
    """Return the outcome of a study's file by the rule of today; its timings stay.

    Raises:
        InvalidRecordError: the file is no study, or was changed after it was written.
    """
    seal = study_files.load(path, figures=False).seal
    old = json.loads(path.read_text("utf-8"))
    points = [FrontPoint(**point) for point in old["points"]]
    again = outcome(points, old["profile"], OmittedRecords(**old.get("omitted", {})))
    measured = old.get("measured", {"commit": old["written"]["commit"], "seal": seal})
    note = f"Timed at commit {measured['commit'][:12]}; judged again from that file."
    return replace(again, notes=[*again.notes, note], facts={**again.facts, "measured": measured})


def _is_published(record: Record) -> bool:
    spec = record["spec"]
    return (spec["suite"], spec["tier"], record["status"]) == (SUITE, TIER, "done")


def select_winners(records: Sequence[Record]) -> Iterator[tuple[Record, float, Candidate]]:
    """Yield the float32 headline candidate of each limit that has a test score."""
    for record in records:
        for limit, candidate in selection.headline_candidates(record["candidates"]).items():
            if limit.rank == 1 and not candidate.get("policy") and bleu_of(candidate) is not None:
                yield record, limit.value, candidate


def bleu_of(candidate: Candidate) -> float | None:
    """Return BLEU on the deciding test set; None if there is none."""
    scores = (candidate.get("test") or {}).get(selection.deciding_set(candidate) or "", {})
    return (scores.get("bleu") or {}).get("value")


def time_winner(
    record: Record, limit: float, candidate: Candidate, profile: Profile, known: dict[str, TimedInTurns]
) -> FrontPoint:
    """Time one winner in float32 beside the reference network.

    Args:
        known: latencies by network, so that equal networks are timed once.
    """
    from benchmarks.measurement.workload import Workload
    from supernet.cost import cost

    family, reference, tier = rebuild(record, candidate)
    architecture = family.space.architecture(candidate["architecture"])
    key = f"{record['spec']['task']} {family.space.name} {architecture.key()}"
    workload = Workload.of(tier.workload)
    if key not in known:
        networks = [family.build(architecture), reference.build(reference.space.largest())]
        known[key] = time_in_turns(networks, workload)
    latency, bleu = known[key], bleu_of(candidate)
    assert bleu is not None
    own = candidate.get("latency")
    return FrontPoint(
        task=record["spec"]["task"],
        method=method_name(record),
        seed=record["spec"]["seed"],
        limit=limit,
        bleu=float(bleu),
        ratio=latency.percentiles.ratio,
        low=latency.percentiles.ratio_low,
        high=latency.percentiles.ratio_high,
        ms=latency.percentiles.p50,
        on_its_device=own["ratio"] if own else None,
        decoder_layers=int(architecture.to_dict()["decoder_layers"]),
        parameters=cost(family, architecture, source_len=1, target_len=1).params,
        others_cpu=latency.others_cpu,
        signature=f"rt:{version()}|thr:1|prec:fp32|prof:{profile.name}|n:{latency.percentiles.n}"
        f"|len:{workload.source_len}|steps:{workload.steps}|beam:{workload.beam}|search:no",
    )


@dataclass(frozen=True)
class TimedInTurns:
    """Timings of a network beside its reference, and the processors that other programs took meanwhile."""

    percentiles: Percentiles
    others_cpu: float


def time_in_turns(networks: Sequence[nn.Module], workload: Workload) -> TimedInTurns:
    """Time a translator in turns with its reference, both in ONNX Runtime on one core.

    Raises:
        ArithmeticError: ONNX Runtime computes something else than torch.
    """
    import torch

    from benchmarks.measurement.interleaved import TimedRequest, summarize, time_interleaved
    from supernet.quantization.onnx_translator import OnnxTranslator

    source = workload.source("cpu")
    timed = []
    for network in networks:
        network.requires_grad_(False).eval()
        translator = OnnxTranslator(cast("Transformer", network))
        serve = partial(translator.forced_steps, source.numpy(), workload.steps, workload.beam)
        with torch.inference_mode():
            expected = workload.run(network, source).numpy()
        if not np.allclose(serve(), expected, atol=CLOSE):
            raise ArithmeticError("ONNX Runtime's logits of a winner are not torch's")
        timed.append(TimedRequest(serve))
    times, conditions = time_interleaved(timed, 1, min_n=ROUNDS, max_seconds=60.0)
    return TimedInTurns(summarize(times), conditions.others_cpu)


def hypervolumes(points: Sequence[FrontPoint]) -> dict[Key, dict[int, float]]:
    """Return (task, method) -> seed -> hypervolume of its winners, to the task's frozen reference point."""
    apart: dict[Key, dict[int, list[tuple[float, float]]]] = {}
    for point in points:
        seeds = apart.setdefault((point.task, point.method), {})
        seeds.setdefault(point.seed, []).append((point.bleu, point.ratio))
    return {
        key: {
            seed: pareto.hypervolume(winners, selection.reference_point(key[0]))
            for seed, winners in sorted(seeds.items())
        }
        for key, seeds in apart.items()
    }


def compare(volumes: Mapping[Key, Mapping[int, float]]) -> dict[str, ClaimFigure]:
    """Return name -> differences in hypervolume over the seeds that both methods have, with corrected p."""
    differences = {}
    for task in dict.fromkeys(task for task, _ in volumes):
        for method, other in COMPARED:
            ours, theirs = (volumes.get((task, name), {}) for name in (method, other))
            if seeds := sorted(set(ours) & set(theirs)):
                differences[f"{task}: {method} - {other}"] = [ours[seed] - theirs[seed] for seed in seeds]
    tests = {name: intervals.t_test(values) for name, values in differences.items() if len(values) > 1}
    adjusted = intervals.holm({name: p for name, p in tests.items() if p is not None})
    figures: dict[str, ClaimFigure] = {}
    for name, values in differences.items():
        figures[name] = {"values": values, "unit": "BLEU x latency ratio"}
        if name in adjusted:
            figures[name]["p"] = adjusted[name]
    return figures


def beside(points: Sequence[FrontPoint]) -> dict[str, dict[str, list[float]]]:
    """Return comparison -> ``bleu`` and ``ratio`` -> difference of each common seed, mean over common limits.

    The hypervolume has BLEU and latency in one figure, in which the fastest winner's latency weighs most.
    """
    winners: dict[Key, dict[int, dict[float, FrontPoint]]] = {}
    for point in points:
        winners.setdefault((point.task, point.method), {}).setdefault(point.seed, {})[point.limit] = point
    differences: dict[str, dict[str, list[float]]] = {}
    for task in dict.fromkeys(task for task, _ in winners):
        for method, other in COMPARED:
            ours, theirs = (winners.get((task, name), {}) for name in (method, other))
            for seed in sorted(set(ours) & set(theirs)):
                pairs = [(ours[seed][x], theirs[seed][x]) for x in set(ours[seed]) & set(theirs[seed])]
                if pairs:
                    values = differences.setdefault(f"{task}: {method} - {other}", {"bleu": [], "ratio": []})
                    values["bleu"].append(float(np.mean([a.bleu - b.bleu for a, b in pairs])))
                    values["ratio"].append(float(np.mean([a.ratio - b.ratio for a, b in pairs])))
    return differences


def outcome(
    points: Sequence[FrontPoint], profile: str, omitted: OmittedRecords = NONE_OMITTED
) -> StudyOutcome:
    """Return the outcome of all timings, of which there is at least one."""
    from benchmarks.report.plots.style import render
    from benchmarks.studies import mt_front_plot

    volumes = hypervolumes(points)
    figures, means = compare(volumes), beside(points)
    notes = [
        "Per cell: BLEU of all test sets pooled, mean over seeds with its 95 % t-interval; median latency"
        " over the reference network's, timed on one core; in brackets the decoder layers of the winners.",
        *(_comparison_text(name, figure) for name, figure in figures.items()),
        *(
            f"{name}, mean over limits: BLEU {interval_text(values['bleu'], '+.2f')}, latency over the"
            f" reference's {interval_text(values['ratio'], '+.3f')} (exploratory)."
            for name, values in means.items()
        ),
        *limits_kept(points),
        f"Timed on {profile}, in turns with the reference; other programs took up to"
        f" {max(point.others_cpu for point in points):g} processors. Signature: {points[0].signature}",
    ]
    notes += omitted.notes
    limits = sorted({point.limit for point in points})
    rows = [
        [
            task,
            method,
            str(len(seeds)),
            interval_text(list(seeds.values())),
            *_cells(points, task, method, limits),
        ]
        for (task, method), seeds in volumes.items()
    ]
    return StudyOutcome(
        title="Translation in ONNX Runtime: fronts of BLEU and latency",
        question="Searched at five latency limits within decoder depths: which method's networks have the"
        " better front in a runtime where launches are cheap and width is paid for?",
        rule=RULE,
        columns=("task", "method", "seeds", "hypervolume", *(f"limit {limit:g}" for limit in limits)),
        rows=rows,
        notes=notes,
        facts={
            "study": "mt-front",
            "profile": profile,
            "points": [asdict(point) for point in points],
            "paired": figures,
            "beside": means,
            "omitted": asdict(omitted),
        },
        pictures=render(lambda: mt_front_plot.draw(points)),
    )


def _cells(points: Sequence[FrontPoint], task: str, method: str, limits: Sequence[float]) -> Iterator[str]:
    for limit in limits:
        mine = [p for p in points if (p.task, p.method, p.limit) == (task, method, limit)]
        if not mine:
            yield "–"
            continue
        bleu = interval_text([p.bleu for p in mine], ".1f", 0, 100)
        depths = sorted({p.decoder_layers for p in mine})
        yield f"{bleu} at {np.median([p.ratio for p in mine]):.2f} ({', '.join(map(str, depths))})"


def _comparison_text(name: str, figure: ClaimFigure) -> str:
    values = list(figure["values"])
    p = f", p {figure['p']:.2g} after correction" if "p" in figure else ""
    word = f"interim, {len(values)} of {SEEDS} planned seeds"
    if len(values) >= SEEDS and "p" in figure:
        word = "undecided" if figure["p"] >= 0.05 else "better" if np.mean(values) > 0 else "worse"
    return f"{name}: {word}, {interval_text(values, '+.2f')} hypervolume over {len(values)} seeds{p}."


def limits_kept(points: Sequence[FrontPoint]) -> list[str]:
    """Return a sentence on winners that are slower on this machine than their limit, which was counted."""
    over = [point for point in points if point.ratio > point.limit]
    most = max(point.ratio / point.limit for point in points)
    return [
        f"{len(over)} of {len(points)} winners take longer here than their limit, which their search counted:"
        f" {100 * max(0.0, most - 1):.0f} % at most."
    ]
