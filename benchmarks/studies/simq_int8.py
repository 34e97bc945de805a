"""The INT8 that people deploy: of static and dynamic, the fastest whose accuracy passes.

Every linear layer and convolution is in INT8, stem, patches, pooler and head included, and so are tables of
words. The network is the largest of the supernet; all variants are timed interleaved with it in float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.api import UsageError
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.records.canonical import JsonObject
from benchmarks.records.study_files import StudyOutcome
from benchmarks.report.plots.style import render
from benchmarks.stats.rounding import six_digits
from benchmarks.studies import simq_int8_plot
from benchmarks.studies.simq_fronts import measure
from benchmarks.studies.simq_fronts.judge import LEVEL, MARGIN, normal_quantile
from benchmarks.studies.simq_fronts.measure import MeasuredPoint
from benchmarks.tasks.datasets import Say
from supernet.cost import policy_units
from supernet.quantization.precisions import STATIC

VARIANTS: Mapping[str, str] = {"dynamic": "int8", "static": STATIC}
"""Name of a uniform INT8 -> precision of all its layers."""
SUMMARY = "static against dynamic INT8 of the tables' largest networks: the baseline that people deploy"
READS = "weights"
ITEMS, ROUNDS, SESSIONS = 5000, 64, 3
"""Held-out items, timed inferences of each network in a session, and sessions, whose spread is stated."""
RULE = (
    "the INT8 baseline is the fastest of "
    + " and ".join(VARIANTS)
    + f" whose accuracy is not shown to be more than {100 * MARGIN:g} points below float32's, one-sided"
    f" {LEVEL:.0%} over all held-out items."
)


@dataclass(frozen=True)
class Int8Variant:
    """One uniform INT8 of a network.

    Attributes:
        name: of ``VARIANTS``.
        point: its measurements; None if it failed a gate or this machine computes it wrongly.
        reason: why ``point`` is None; else empty.
        ratios: its latency over float32's, with its 95 % interval, of each session.
        difference, error: accuracy minus float32's, and the standard error over items.
    """

    name: str
    point: MeasuredPoint | None
    reason: str = ""
    ratios: tuple[tuple[float, float, float], ...] = ()
    difference: float = math.nan
    error: float = math.nan

    @property
    def passes(self) -> bool:
        """True unless the accuracy is shown to be below float32's by more than the margin."""
        if self.point is None:
            return False
        return self.difference + normal_quantile() * self.error >= -MARGIN

    @property
    def ratio(self) -> float:
        """Median of the sessions' ratios."""
        return float(np.median([ratio for ratio, _, _ in self.ratios]))


def run(folder: Path, say: Say = lambda line: None) -> StudyOutcome:
    """Run the study over all supernets in a folder.

    Raises:
        UsageError: no supernet with held-out items is there.
    """
    return study(folder, ITEMS, ROUNDS, SESSIONS, say)


def study(folder: Path, most: int, rounds: int, sessions: int, say: Say) -> StudyOutcome:
    """Run the study; tests use fewer items, rounds and sessions."""
    from benchmarks.hardware import profiles
    from supernet.quantization.onnx_runtime import largest_weight, version
    from supernet.quantization.rounding import LARGEST

    names = sorted(p.name.removesuffix(".items.safetensors") for p in folder.glob("*.items.safetensors"))
    names = [name for name in names if (folder / f"{name}.safetensors").is_file()]
    if not names:
        raise UsageError(
            f"no supernet with held-out items in '{folder}': supernet-bench study simq-tables build and"
            " held-out write NAME.safetensors and NAME.items.safetensors"
        )
    rows, facts = [], []
    for name in names:
        say(f"{name}: largest network in fp32, dynamic and static INT8")
        plain, variants = measure_variants(folder, name, most, rounds, sessions)
        baseline = strongest(variants)
        facts.append({"table": name, **describe(plain, variants, baseline)})
        rows += [_row(name, plain, variant, baseline) for variant in variants]
    profile, bits = profiles.matching() or "undeclared", 8 if largest_weight() == LARGEST else 7
    signature = f"lat:p50|clk:cpu|n:{rounds}|b:1|thr:1|rt:{version()}|int8s:w{bits}|prof:{profile}"
    return StudyOutcome(
        title="INT8 as it is deployed, static and dynamic",
        question="Which INT8 of the largest network is the baseline that a joint search has to beat?",
        rule=RULE,
        columns=("table", "INT8", "latency / fp32", "sessions", "MB", "MB fp32", "accuracy - fp32", "is"),
        rows=rows,
        notes=[
            "Every linear layer and convolution is in INT8, stem, patches and head included, and tables of"
            " words too. Batch norms are folded in static INT8, whose ranges come from training data.",
            f"Static weights have {bits} bits on this machine"
            + ("." if bits == 8 else ", because it has no VNNI and products of 8 bits would overflow."),
            "latency: median over sessions of the ratio to float32 in one process, in turns; sessions: least"
            " and greatest. accuracy: points, with its standard error over items.",
            f"Signature: {signature}",
        ],
        facts={"signature": signature, "profile": profile, "rule": RULE, "tables": facts},
        pictures=render(lambda: simq_int8_plot.draw(facts)),
    )


def describe(
    plain: MeasuredPoint, variants: Sequence[Int8Variant], baseline: Int8Variant | None
) -> JsonObject:
    """Return the facts of one table as plain JSON types."""
    return {
        "items": len(plain.hits),
        "fp32": {"bytes": plain.size, "accuracy": six_digits(float(plain.hits.mean()))},
        "baseline": baseline.name if baseline else None,
        "variants": [
            {"name": variant.name, "failed": variant.reason}
            if variant.point is None
            else {
                "name": variant.name,
                "ratios": [[six_digits(x) for x in ratio] for ratio in variant.ratios],
                "bytes": variant.point.size,
                "apart": six_digits(variant.point.apart),
                "difference": six_digits(variant.difference),
                "error": six_digits(variant.error),
                "passes": variant.passes,
            }
            for variant in variants
        ],
    }


def _row(
    name: str, plain: MeasuredPoint, variant: Int8Variant, baseline: Int8Variant | None
) -> tuple[str, ...]:
    if variant.point is None:
        return name, variant.name, "-", "-", "-", f"{plain.size / 1e6:.2f}", "-", variant.reason
    middles = [ratio for ratio, _, _ in variant.ratios]
    verdict = "the baseline" if variant is baseline else "slower" if variant.passes else "less accurate"
    return (
        *(name, variant.name, f"{variant.ratio:.2f}", f"{min(middles):.2f} to {max(middles):.2f}"),
        *(f"{variant.point.size / 1e6:.2f}", f"{plain.size / 1e6:.2f}"),
        *(f"{100 * variant.difference:+.2f} +- {100 * variant.error:.2f}", verdict),
    )


def measure_variants(
    folder: Path, name: str, most: int, rounds: int, sessions: int
) -> tuple[MeasuredPoint, list[Int8Variant]]:
    """Measure the largest network of a supernet in float32 and in every uniform INT8.

    Args:
        folder: with ``NAME.safetensors`` and ``NAME.items.safetensors``.
        most: held-out items.
        rounds: timed inferences of each in a session.
        sessions: timings one after the other.
    """
    net = measure.load_supernet(measure.supernet_path(folder, name))
    largest = net.space.largest()
    architecture, layers = largest.to_dict(), policy_units(net.family, largest)
    plain = measure.measure_point(folder, name, most, (architecture, {}))
    points: dict[str, MeasuredPoint] = {}
    reasons: dict[str, str] = {}
    for variant, precision in VARIANTS.items():
        policy = dict.fromkeys(layers, precision)
        try:
            points[variant] = measure.measure_point(
                folder, name, most, (architecture, policy), int8_words=True
            )
        except (MeasurementRejectedError, ValueError) as error:
            reasons[variant] = str(error)
    held = measure.load_items(folder, name, most)
    timings = [measure.time_points(plain, list(points.values()), held, rounds) for _ in range(sessions)]
    variants = []
    for variant in VARIANTS:
        if variant not in points:
            variants.append(Int8Variant(variant, None, reasons[variant]))
            continue
        number, point = list(points).index(variant) + 1, points[variant]
        differences = point.hits - plain.hits
        error_of_mean = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
        ratios = tuple(times.median(number) for times in timings)
        variants.append(Int8Variant(variant, point, "", ratios, float(differences.mean()), error_of_mean))
    return plain, variants


def strongest(variants: Sequence[Int8Variant]) -> Int8Variant | None:
    """Return the fastest variant that passes; None if none does."""
    passing = [variant for variant in variants if variant.passes]
    return min(passing, key=lambda variant: variant.ratio, default=None)
