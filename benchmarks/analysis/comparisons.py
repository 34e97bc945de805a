"""Methods against one another: hypervolume of each run, differences paired over seeds, and differences
of two networks over the test sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.api import InvalidRecord
from benchmarks.claims.hypotheses import Evidence
from benchmarks.records import selection
from benchmarks.records.record import Candidate
from benchmarks.stats import bleu, intervals, paired_bleu, pareto
from benchmarks.stats.quantities import DIFFERENCE

MOST_PAIRS = 120
"""Pairs of networks in one table that are tested over sentences; each costs a tenth of a second."""


def volumes_of(lines: pd.DataFrame, axis: selection.Axis) -> pd.DataFrame:
    """Hypervolume of each run's headline candidates: test quality up, the table's axis down; NaN where none
    of them has both, or no reference point is frozen."""
    runs: dict[tuple[str, int], list[tuple[float, float]]] = {}
    columns = (lines[name] for name in ("method", "seed", "quality"))
    for method, seed, quality, at in zip(*columns, lines[axis.figure] * axis.scale, strict=True):
        runs.setdefault((method, seed), []).append((quality, at))
    ordered = sorted(runs)
    points = np.full((len(ordered), max(map(len, runs.values()), default=0), 2), np.nan)
    for i, key in enumerate(ordered):
        points[i, : len(runs[key])] = runs[key]
    keys = pd.DataFrame(ordered, columns=["method", "seed"])
    if axis.reference is None:
        return keys.assign(volume=np.nan)
    volumes = pareto.hypervolumes(points[..., 0], points[..., 1], axis.reference)
    volumes[~np.isfinite(points).all(axis=2).any(axis=1)] = np.nan
    return keys.assign(volume=volumes)


Figures = Iterable[tuple[str, int, float]]
"""Method, seed, figure."""


def _by_method(figures: Figures) -> dict[str, dict[int, float]]:
    """Method -> seed -> figure, methods in order; NaN is left out."""
    found: dict[str, dict[int, float]] = {}
    for method, seed, value in figures:
        if value == value:
            found.setdefault(method, {})[seed] = value
    return dict(sorted(found.items()))


def compare(
    lines: pd.DataFrame,
    volumes: pd.DataFrame,
    baseline: str | None,
    registered: Mapping[tuple[str, str, str, str], tuple[str, Evidence]] | None = None,
) -> pd.DataFrame:
    """Compare every method with the baseline, paired over seeds.

    Args:
        lines: of ``runs.headlines``.
        volumes: of ``volumes_of``.
        baseline: a method's label.
        registered: comparisons that claims of the papers have tested (``claims.compared``). Their lines have
            the claim's figures, corrected over its family; Holm corrects the other lines among themselves.
    """
    measured = (lines[name] for name in ("limit", "method", "seed", "quality"))
    apart: dict[selection.Limit, list[tuple[str, int, float]]] = {}
    for limit, method, seed, value in zip(*measured, strict=True):
        apart.setdefault(limit, []).append((method, seed, value))
    of_runs = zip(volumes["method"], volumes["seed"], volumes["volume"], strict=True)
    series = [("quality", str(limit), _by_method(apart[limit])) for limit in sorted(apart)]
    series.append(("hypervolume", "all", _by_method(of_runs)))
    found: list[dict[str, Any]] = []
    for what, limit, by_method in series:
        theirs = by_method.get(baseline or "", {})
        for method, ours in by_method.items():
            seeds = sorted(set(ours) & set(theirs))
            if method == baseline or not seeds:
                continue
            a, b = [ours[s] for s in seeds], [theirs[s] for s in seeds]
            differences = [x - y for x, y in zip(a, b, strict=True)]
            interval = intervals.interval(differences, DIFFERENCE)
            p = intervals.t_test(differences) if len(seeds) >= intervals.SIGNIFICANT_FROM else None
            found.append(
                {"method": method, "baseline": baseline, "what": what, "limit": limit, "pairs": len(seeds)}
                | {"difference": interval.mean, "low": interval.low, "high": interval.high, "p": p}
            )
    for line in found:
        key = line["method"], line["baseline"], line["what"], line["limit"]
        if registered and key in registered:
            line |= _of_claim(*registered[key])
    free = {str(i): line["p"] for i, line in enumerate(found) if "verdict" not in line}
    adjusted = intervals.holm({i: p for i, p in free.items() if p is not None})
    for i in free:
        line = found[int(i)]
        line["p_holm"] = adjusted.get(i)
        line["verdict"] = intervals.verdict(line["p_holm"], line["pairs"])
    columns = [
        "method",
        "baseline",
        "what",
        "limit",
        "pairs",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
        "verdict",
    ]
    frame = pd.DataFrame(found, columns=columns)
    return frame.astype(dict.fromkeys(("difference", "low", "high", "p", "p_holm"), "float64"))


def _of_claim(words: str, evidence: Evidence) -> dict[str, Any]:
    """Return what a claim puts into its line."""
    interval = {"difference": evidence.effect, "low": evidence.low, "high": evidence.high}
    tests = {"pairs": len(evidence.seeds), "p": evidence.p, "p_holm": evidence.p_holm}
    return interval | tests | {"verdict": words}


Counted = tuple[tuple[tuple[str, int], ...], paired_bleu.Counts]
"""Test sets with their sizes, and the statistics of every sentence."""


def _counted(candidate: Candidate) -> Counted | None:
    """A candidate's sentence statistics; None where it has none, or they are not those of its BLEU."""
    kept = candidate.get("sentences")
    value = (
        (candidate.get("test") or {}).get(selection.deciding_set(candidate) or "", {}).get("bleu") or {}
    ).get("value")
    if not kept or value is None:
        return None
    sets = tuple((str(name), int(size)) for name, size in kept["sets"])
    try:
        counts = bleu.read_counts(kept["bleu"], sum(size for _, size in sets))
    except InvalidRecord:
        return None
    return (sets, counts) if abs(bleu.corpus_bleu(counts) - value) < 1e-3 else None


def over_sentences(lines: pd.DataFrame, baseline: str | None, metric: str) -> pd.DataFrame:
    """Each trained network against the baseline's of the same seed and limit, over the test sentences.

    Only where both records keep the statistics of the same sentences. Holm over all lines. It says
    nothing about the noise of training.
    """
    found: list[dict[str, Any]] = []
    pairs: dict[tuple[Any, ...], list[tuple[int, tuple[paired_bleu.Counts, paired_bleu.Counts]]]] = {}
    kept = lines if metric == "bleu" and baseline is not None else lines.iloc[:0]
    for (limit, seed), part in kept.groupby(["limit", "seed"], sort=True):
        candidates = dict(zip(part["method"], part["candidate"], strict=True))
        theirs = _counted(candidates[baseline]) if baseline in candidates else None
        for method in sorted(set(candidates) - {baseline}) if theirs else ():
            ours = _counted(candidates[method])
            # Column 1 is the length of the reference: other references, other sentences.
            if ours is None or theirs is None or ours[0] != theirs[0]:
                continue
            if len(found) < MOST_PAIRS and np.array_equal(ours[1][:, 1], theirs[1][:, 1]):
                pairs.setdefault(ours[0], []).append((len(found), (ours[1], theirs[1])))
                found.append({"method": method, "baseline": baseline, "limit": str(limit), "seed": seed})
    for members in pairs.values():
        tested = [pair for _, pair in members]
        ps = paired_bleu.approximate_randomisation(tested, np.random.default_rng(bleu.SEED))
        spans = paired_bleu.bootstrap(tested, np.random.default_rng(bleu.SEED))
        for (i, (counts, _)), span, p in zip(members, spans, ps, strict=True):
            found[i] |= {
                "sentences": len(counts),
                "difference": span.value,
                "low": span.low,
                "high": span.high,
            }
            found[i] |= {"p_bootstrap": span.p, "p": p}
    adjusted = intervals.holm({str(i): line["p"] for i, line in enumerate(found)})
    for i, line in enumerate(found):
        line["p_holm"] = adjusted[str(i)]
    figures = ["difference", "low", "high", "p_bootstrap", "p", "p_holm"]
    frame = pd.DataFrame(found, columns=["method", "baseline", "limit", "seed", "sentences", *figures])
    return frame.astype(dict.fromkeys(figures, "float64"))
