"""Latency of published encoders on this machine's processor, in float32 and with INT8 linear layers.

Published winners are rebuilt from their records alone, with random weights (no latency depends on their
values), and timed on this machine: in float32, with every linear layer in INT8, and the tier's reference
network, all three in turns. Each network is built and timed several times, in rounds over all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.hardware.profiles import Profile
from benchmarks.records.canonical import JsonObject
from benchmarks.records.record import Candidate, Latency, Record
from benchmarks.records.selection import headline_candidates
from benchmarks.records.study_files import StudyOutcome
from benchmarks.stats import intervals
from benchmarks.stats.quantities import FIGURES
from benchmarks.studies.interval_text import ratio_verdict
from benchmarks.studies.published_winners import (
    NONE_OMITTED,
    OmittedRecords,
    judge_again,
    load_present,
    method_name,
    processor_profile,
    rebuild,
    require_networks,
    time_in_rounds,
)
from benchmarks.tasks.datasets import Say
from supernet.cost import Cost

SUMMARY = "effect of INT8 on the latency of published encoders on this machine's processor"
READS = "records"
SUITE, TIER = "bert", "small"
Measurement = tuple[Latency, Cost, Cost]
"""Latency of an INT8 network beside float32, and the costs of the float32 and of the INT8 network."""
ROUNDS = 6
"""Times that each network is built and timed. On a shared host its latency wavers by a third from one build
to the next, and INT8's ratio to float32 by a tenth: more than its interval over one build's inferences."""
SEED = 1
"""Seed of the order of timings."""
RULE = (
    f"INT8 is faster for a method at a size where the 95 % interval of a round's ratio of medians, INT8 over"
    f" float32, lies below 1 for every seed's network; slower where it lies above 1 for every one; else"
    f" undecided. Intervals are over {ROUNDS} rounds, in each of which every network is built anew."
)


@dataclass(frozen=True)
class TimedWinner:
    """Timings of one winner on this machine.

    Milliseconds are medians over rounds of a round's median; ``ratio`` is the mean over rounds of INT8 over
    float32, with its 95 % interval ``low`` to ``high``.
    """

    method: str
    """With its options."""
    limit: str
    seed: int
    parameters: int
    fp32_ms: float
    int8_ms: float
    reference_ms: float
    ratio: float
    low: float
    high: float
    fp32_bytes: int
    int8_bytes: int
    others_cpu: float
    signature: str


def run(folder: Path, say: Say) -> StudyOutcome:
    """Time every winner of the published encoders.

    Args:
        folder: of records, such as ``results/records``.
        say: receives lines of progress.

    Raises:
        UsageError: no such records can be compared, or this machine matches no declared CPU profile.
    """
    profile = processor_profile("cpu-latency")
    present, omitted = load_present(folder, _is_published, f"no encoders of tier {TIER} in {folder}")
    winners = list(select_winners(present))
    require_networks(len(winners), folder)
    networks = {network_key(record, candidate): (record, candidate) for record, _, candidate in winners}
    random = np.random.default_rng(SEED)
    rounds = time_in_rounds(networks, ROUNDS, lambda network: time_network(*network, profile), random, say)
    timings = [
        summarize(record, limit, rounds[network_key(record, candidate)])
        for record, limit, candidate in winners
    ]
    return outcome(timings, profile.name, omitted)


def rejudge(path: Path) -> StudyOutcome:
    """Return the outcome of a study's file by the rule of today; its timings stay.

    Raises:
        InvalidRecordError: the file is of another study, or was changed after it was written.
    """

    def judge(old: JsonObject) -> StudyOutcome:
        timings = [TimedWinner(**timing) for timing in old["timings"]]
        return outcome(timings, old["profile"], OmittedRecords(old["former"], old.get("unequal", 0)))

    return judge_again(path, "cpu-latency", judge)


def _is_published(record: Record) -> bool:
    """Return whether a record has float32 encoders within a window of sizes."""
    spec = record["spec"]
    return (spec["suite"], spec["tier"], record["status"]) == (SUITE, TIER, "done") and any(
        candidate.get("window") and not candidate.get("policy") for candidate in record["candidates"]
    )


def select_winners(records: Sequence[Record]) -> Iterator[tuple[Record, str, Candidate]]:
    """Yield the float32 headline candidates of encoders, one for each window of sizes."""
    for record in records:
        for limit, candidate in headline_candidates(record["candidates"]).items():
            if candidate.get("window") and not candidate.get("policy"):
                yield record, str(limit), candidate


def network_key(record: Record, candidate: Candidate) -> str:
    """Return a text that is the same for equal networks, which are timed once for all runs."""
    family, _, _ = rebuild(record, candidate)
    architecture = family.space.architecture(candidate["architecture"])
    return (
        f"{record['spec']['task']} {family.space.name} {getattr(family, 'form', None)} {architecture.key()}"
    )


def time_network(record: Record, candidate: Candidate, profile: Profile) -> Measurement:
    """Build one winner and time it in float32 and INT8, in turns with the reference network."""
    import torch

    from benchmarks.measurement import latency as measure
    from benchmarks.measurement.workload import Workload, reference_network
    from supernet.cost import cost
    from supernet.quantization.precisions import quantize, uniform_int8

    family, reference, tier = rebuild(record, candidate)
    architecture = family.space.architecture(candidate["architecture"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = family.build(architecture).requires_grad_(False).eval()
    policy = uniform_int8(plain)
    workload = Workload.of(tier.workload)
    lengths = {"source_len": workload.source_len, "target_len": workload.target_len}
    before, after = (cost(family, architecture, **lengths, policy=p) for p in (None, policy))
    latency = measure.measure_latency(
        quantize(plain, policy),
        reference_network(reference),
        workload,
        "cpu",
        profile,
        plain=plain,
        min_n=128,
    )
    return latency, before, after


def summarize(record: Record, limit: str, rounds: Sequence[Measurement]) -> TimedWinner:
    """Return one winner's timings over all rounds."""
    _, before, after = rounds[0]
    latencies = [latency for latency, _, _ in rounds]
    ratio = intervals.interval([latency["fp32_ratio"] for latency in latencies], FIGURES["ratio"])
    assert ratio.low is not None and ratio.high is not None
    return TimedWinner(
        method=method_name(record),
        limit=limit,
        seed=record["spec"]["seed"],
        parameters=before.params,
        fp32_ms=float(np.median([latency["fp32_p50"] for latency in latencies])),
        int8_ms=float(np.median([latency["p50"] for latency in latencies])),
        reference_ms=float(np.median([latency["reference_p50"] for latency in latencies])),
        ratio=ratio.mean,
        low=ratio.low,
        high=ratio.high,
        fp32_bytes=before.bytes,
        int8_bytes=after.bytes,
        others_cpu=max(latency["others_cpu"] for latency in latencies),
        signature=latencies[0]["signature"],
    )


def outcome(
    timings: Sequence[TimedWinner], profile: str, omitted: OmittedRecords = NONE_OMITTED
) -> StudyOutcome:
    """Return the outcome of all timings, of which there is at least one."""
    from benchmarks.report.plots.style import render
    from benchmarks.studies import cpu_latency_plot

    groups: dict[tuple[str, str], list[TimedWinner]] = {}
    for timing in timings:
        groups.setdefault((timing.limit, timing.method), []).append(timing)
    rows = []
    for (limit, method), seeds in sorted(groups.items(), key=lambda g: (g[0][0], median(g[1], "int8_ms"))):
        rows.append(
            (
                limit,
                method,
                str(len(seeds)),
                str(networks_of(seeds)),
                spread(seeds, "fp32_ms", ".2f"),
                spread(seeds, "int8_ms", ".2f"),
                spread(seeds, "ratio", ".2f"),
                f"{min(seed.low for seed in seeds):.2f} to {max(seed.high for seed in seeds):.2f}",
                f"{median(seeds, 'fp32_bytes') / 1e6:.1f}",
                f"{median(seeds, 'int8_bytes') / 1e6:.1f}",
                verdict(seeds),
            )
        )
    worst = max(timing.others_cpu for timing in timings)
    notes = [
        f"ms: median of at least 128 inferences of one row, in turns, and of {ROUNDS} rounds; middle of the"
        " seeds' networks, lowest to highest behind it where they differ.",
        "int8 / fp32: mean over rounds of a round's own ratio, in which the machine's mood drops out; so it"
        " is not that of the two columns before it. Behind it, between which ends the seeds' intervals lie.",
        "Networks of supernets are rebuilt from their records; weights are random. Seeds with equal networks"
        " share one set of timings. Intervals are of single networks, uncorrected for their number.",
        f"Other programs took up to {worst:g} processors while timing.",
        f"Signature: {timings[0].signature}",
    ]
    notes += omitted.notes
    return StudyOutcome(
        title="INT8 on two CPU cores, before and after",
        question="Winners found and trained on a GPU, as they would run on a processor: what does INT8"
        " in every linear layer buy?",
        rule=RULE,
        columns=(
            "size",
            "method",
            "seeds",
            "networks",
            "fp32 ms",
            "int8 ms",
            "int8 / fp32",
            "95 % within",
            "fp32 MB",
            "int8 MB",
            "int8 is",
        ),
        rows=rows,
        notes=notes,
        facts={
            "profile": profile,
            "rule": RULE,
            **asdict(omitted),
            "timings": [asdict(timing) for timing in timings],
        },
        pictures=render(lambda: cpu_latency_plot.draw(groups, profile)),
    )


def networks_of(seeds: Sequence[TimedWinner]) -> int:
    """Return how many networks the seeds have: equal ones share their timings, others never do."""
    return len({(timing.parameters, timing.fp32_ms, timing.int8_ms) for timing in seeds})


def median(seeds: Sequence[TimedWinner], name: str) -> float:
    """Return the median of an attribute over seeds."""
    return float(np.median([getattr(timing, name) for timing in seeds]))


def spread(seeds: Sequence[TimedWinner], name: str, form: str) -> str:
    """Format the median of an attribute over seeds, with the range if seeds differ."""
    values = sorted(getattr(timing, name) for timing in seeds)
    low, high = format(values[0], form), format(values[-1], form)
    return format(median(seeds, name), form) + (f" ({low} to {high})" if low != high else "")


def verdict(seeds: Sequence[TimedWinner]) -> str:
    """Return the verdict of ``RULE`` on one method at one size."""
    return ratio_verdict(min(timing.low for timing in seeds), max(timing.high for timing in seeds))
