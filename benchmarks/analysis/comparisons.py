"""Comparisons of methods: hypervolume of each run, differences paired over seeds, and over test sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pandas as pd

from benchmarks.api import InvalidRecordError
from benchmarks.claims.hypotheses import Evidence
from benchmarks.records import selection
from benchmarks.records.record import Candidate
from benchmarks.stats import bleu, intervals, paired_bleu, pareto
from benchmarks.stats.quantities import DIFFERENCE

MOST_PAIRS = 120
"""Pairs of networks in one table that are tested over sentences; each costs a tenth of a second."""


def volumes_of(lines: pd.DataFrame, axis: selection.Axis) -> pd.DataFrame:
    """Return the hypervolume of each run's headline candidates: test quality up, the table's axis down.

    NaN if none of them has both figures, or if no reference point is frozen.
    """
    runs: dict[tuple[str, int], list[tuple[float, float]]] = {}
    columns = (lines[name] for name in ("method", "seed", "quality"))
    for method, seed, quality, at in zip(*columns, lines[axis.figure] * axis.scale, strict=True):
        runs.setdefault((method, seed), []).append((quality, at))
    ordered = sorted(runs)
    points = np.full((len(ordered), max(map(len, runs.values()), default=0), 2), np.nan)
    for i, key in enumerate(ordered):
        points[i, : len(runs[key])] = runs[key]
    keys = pd.DataFrame(ordered, columns=["method", "seed"], dtype=object)
    if axis.reference is None:
        return keys.assign(volume=np.nan)
    volumes = pareto.hypervolumes(points[..., 0], points[..., 1], axis.reference)
    volumes[~np.isfinite(points).all(axis=2).any(axis=1)] = np.nan
    return keys.assign(volume=volumes)


Figures = Iterable[tuple[str, int, float]]
"""Method, seed and figure of some runs."""


class PairedLine(TypedDict):
    """Difference of a method from the baseline in one figure at one limit, paired over seeds."""

    method: str
    baseline: str
    what: str
    limit: str
    pairs: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    verdict: str


def _by_method(figures: Figures) -> dict[str, dict[int, float]]:
    """Return method -> seed -> figure, methods in order; NaN is left out."""
    by_method: dict[str, dict[int, float]] = {}
    for method, seed, value in figures:
        if value == value:
            by_method.setdefault(method, {})[seed] = value
    return dict(sorted(by_method.items()))


def compare(
    lines: pd.DataFrame,
    volumes: pd.DataFrame,
    baseline: str | None,
    registered: Mapping[tuple[str, str, str, str], tuple[str, Evidence]] | None = None,
) -> pd.DataFrame:
    """Compare every method with the baseline, paired over seeds.

    The hypervolumes of methods without a common limit, such as that of a lone teacher, bound different
    targets and are not compared.

    Args:
        lines: of ``run_summary.headlines``.
        volumes: of ``volumes_of``.
        baseline: a method's label.
        registered: comparisons that claims of the papers have tested (``claims.compared``). Their lines have
            the claim's figures, corrected over its family; Holm corrects the other lines among themselves.
    """
    measured = (lines[name] for name in ("limit", "method", "seed", "quality"))
    apart: dict[selection.Limit, list[tuple[str, int, float]]] = {}
    for limit, method, seed, value in zip(*measured, strict=True):
        apart.setdefault(limit, []).append((method, seed, value))
    bounded = {name for at in apart.values() if any(m == baseline for m, *_ in at) for name, *_ in at}
    of_runs = zip(volumes["method"], volumes["seed"], volumes["volume"], strict=True)
    series = [("quality", str(limit), _by_method(apart[limit])) for limit in sorted(apart)]
    series.append(("hypervolume", "all", _by_method(run for run in of_runs if run[0] in bounded)))
    compared: list[PairedLine] = []
    free: dict[int, list[float]] = {}  # differences of the lines that no claim has tested
    for what, limit, by_method in series:
        theirs = by_method.get(baseline or "", {})
        for method, ours in by_method.items():
            seeds = sorted(set(ours) & set(theirs))
            if method == baseline or baseline is None or not seeds:
                continue
            key = method, baseline, what, limit
            if registered and key in registered:
                compared.append(_registered_line(*key, *registered[key]))
                continue
            differences = free[len(compared)] = [ours[seed] - theirs[seed] for seed in seeds]
            p = intervals.t_test(differences) if len(seeds) >= intervals.SIGNIFICANT_FROM else None
            compared.append(_paired_line(*key, len(seeds), None, None, None, p))
    adjusted = intervals.holm({str(i): p for i in free if (p := compared[i]["p"]) is not None})
    measured_differences = intervals.each_interval([*free.values()], DIFFERENCE) if free else []
    for i, interval in zip(free, measured_differences, strict=True):
        line = compared[i]
        line["difference"], line["low"], line["high"] = interval.mean, interval.low, interval.high
        line["p_holm"] = adjusted.get(str(i))
        line["verdict"] = intervals.verdict(line["p_holm"], line["pairs"])
    frame = pd.DataFrame(compared, columns=[*PairedLine.__annotations__])
    return frame.astype(dict.fromkeys(("difference", "low", "high", "p", "p_holm"), "float64"))


def _paired_line(
    method: str, baseline: str, what: str, limit: str, pairs: int, difference: float | None,
    low: float | None, high: float | None, p: float | None, p_holm: float | None = None, verdict: str = "",
) -> PairedLine:  # fmt: skip
    return {
        "method": method, "baseline": baseline, "what": what, "limit": limit, "pairs": pairs,
        "difference": difference, "low": low, "high": high, "p": p, "p_holm": p_holm, "verdict": verdict,
    }  # fmt: skip


def _registered_line(
    method: str, baseline: str, what: str, limit: str, words: str, evidence: Evidence
) -> PairedLine:
    """Return the line of a comparison that a claim has tested, with the claim's figures."""
    ends = evidence.effect, evidence.low, evidence.high
    pairs, p, p_holm = len(evidence.seeds), evidence.p, evidence.p_holm
    return _paired_line(method, baseline, what, limit, pairs, *ends, p, p_holm, words)


LONGEST_RIGHT = 5
"""Column of matching 4-grams in ``paired_bleu.Counts``."""
TestSetSizes = tuple[tuple[str, int], ...]
"""Test sets with their numbers of sentences."""


@dataclass(frozen=True)
class SentencePair:
    """A trained network and the baseline's of the same seed and limit, on the same sentences."""

    method: str
    limit: str
    seed: int
    sets: TestSetSizes
    ours: paired_bleu.Counts
    theirs: paired_bleu.Counts


def _counted(candidate: Candidate) -> tuple[TestSetSizes, paired_bleu.Counts] | None:
    """Return a candidate's sentence statistics; None without them, or if they do not give its BLEU."""
    kept = candidate.get("sentences")
    value = (
        (candidate.get("test") or {}).get(selection.deciding_set(candidate) or "", {}).get("bleu") or {}
    ).get("value")
    if not kept or value is None:
        return None
    sets = tuple((str(name), int(size)) for name, size in kept["sets"])
    try:
        counts = bleu.read_counts(kept["bleu"], sum(size for _, size in sets))
    except InvalidRecordError:
        return None
    return (sets, counts) if abs(bleu.corpus_bleu(counts) - value) < 1e-3 else None


def over_sentences(lines: pd.DataFrame, baseline: str | None, metric: str) -> pd.DataFrame:
    """Compare each trained network with the baseline's of the same seed and limit, over the test sentences.

    Only pairs whose records keep the statistics of the same sentences, and of which one has a 4-gram right,
    are tested, with Holm over all lines. The noise of training is not in these tests.
    """
    pairs: list[SentencePair] = []
    kept = lines if metric == "bleu" and baseline is not None else lines.iloc[:0]
    for (limit, seed), part in kept.groupby(["limit", "seed"], sort=True):
        candidates = dict(zip(part["method"], part["candidate"], strict=True))
        theirs = _counted(candidates[baseline]) if baseline in candidates else None
        for method in sorted(set(candidates) - {baseline}) if theirs else ():
            ours = _counted(candidates[method])
            if ours is None or theirs is None or ours[0] != theirs[0] or len(pairs) == MOST_PAIRS:
                continue
            if not ours[1][:, LONGEST_RIGHT].any() and not theirs[1][:, LONGEST_RIGHT].any():
                continue  # their BLEU is smoothing alone, on which the two tests contradict one another
            # Column 1 is the length of the reference: other references, other sentences.
            if np.array_equal(ours[1][:, 1], theirs[1][:, 1]):
                pairs.append(SentencePair(method, str(limit), int(str(seed)), ours[0], ours[1], theirs[1]))
    by_sets: dict[TestSetSizes, list[int]] = {}
    for i, pair in enumerate(pairs):
        by_sets.setdefault(pair.sets, []).append(i)
    tests: dict[int, tuple[paired_bleu.Difference, float]] = {}
    for members in by_sets.values():
        counts = [(pairs[i].ours, pairs[i].theirs) for i in members]
        ps = paired_bleu.approximate_randomisation(counts, np.random.default_rng(bleu.SEED))
        spans = paired_bleu.bootstrap(counts, np.random.default_rng(bleu.SEED))
        tests |= dict(zip(members, zip(spans, ps, strict=True), strict=True))
    adjusted = intervals.holm({str(i): tests[i][1] for i in range(len(pairs))})
    rows = []
    for i, pair in enumerate(pairs):
        span, p = tests[i]
        names = pair.method, baseline, pair.limit, pair.seed, len(pair.ours)
        rows.append((*names, span.value, span.low, span.high, span.p, p, adjusted[str(i)]))
    figures = ["difference", "low", "high", "p_bootstrap", "p", "p_holm"]
    frame = pd.DataFrame(rows, columns=["method", "baseline", "limit", "seed", "sentences", *figures])
    return frame.astype(dict.fromkeys(figures, "float64"))
