"""Statistics of a gap study: how far inherited scores are from those of networks trained alone, and how well
they rank.

Scores are higher-is-better, such as BLEU. All functions take one score a network, in one order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject
from benchmarks.stats.intervals import LEVEL, Interval, kendall, t_quantile

TOP = (1, 3, 5)
"""Numbers k of the networks that a search would keep."""
SUPERNETS = ("hat", "sandwich", "mos_layer", "mos_neuron")
"""Supernets of the published scores."""


@dataclass(frozen=True)
class Gap:
    """Inherited scores of one supernet against those of the same networks trained alone.

    Attributes:
        mae: mean absolute difference.
        offset: mean of inherited minus alone.
        mae_without_offset: mean absolute difference after ``offset`` is taken from all.
        tau: Kendall's tau-b of the two orders; NaN if all scores of one side are equal.
        tau_within: concordant minus discordant pairs over both, among networks of equal decoder depth; NaN
            without such a pair.
        pairs_within: those pairs.
        regret: for each k, the best score alone minus the best score alone of the k networks with the
            highest inherited scores.
    """

    mae: float
    offset: float
    mae_without_offset: float
    tau: float
    tau_within: float
    pairs_within: int
    regret: Mapping[int, float]


def gap(alone: Sequence[float], inherited: Sequence[float], depth: Sequence[int]) -> Gap:
    """Return all statistics of one supernet.

    Raises:
        ValueError: fewer than two networks, or numbers of scores that differ.
    """
    if not len(alone) == len(inherited) == len(depth) or len(alone) < 2:
        raise ValueError(
            f"{len(alone)}, {len(inherited)} and {len(depth)} values: need as many, at least two"
        )
    difference = np.asarray(inherited, dtype=float) - np.asarray(alone, dtype=float)
    within, pairs = tau_within(alone, inherited, depth)
    return Gap(
        mae=float(np.abs(difference).mean()),
        offset=float(difference.mean()),
        mae_without_offset=float(np.abs(difference - difference.mean()).mean()),
        tau=tau_b(inherited, alone),
        tau_within=within,
        pairs_within=pairs,
        regret={k: regret(alone, inherited, k) for k in TOP if k <= len(alone)},
    )


def tau_b(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return Kendall's tau-b; NaN if all values of one side are equal."""
    return kendall(ours, theirs)[0] if len({*ours}) > 1 and len({*theirs}) > 1 else float("nan")


def tau_within(alone: Sequence[float], scores: Sequence[float], strata: Sequence[int]) -> tuple[float, int]:
    """Return concordant minus discordant over both among pairs of one stratum, and the number of pairs; a tie
    on either side is no pair."""
    signs = [
        np.sign(alone[i] - alone[j]) * np.sign(scores[i] - scores[j])
        for i, j in combinations(range(len(alone)), 2)
        if strata[i] == strata[j]
    ]
    pairs = int(np.count_nonzero(signs))
    return (float(np.sum(signs)) / pairs if pairs else float("nan")), pairs


def tau_within_one(seeds: Sequence[Sequence[float]], scores: Sequence[float], strata: Sequence[int]) -> float:
    """Return the mean ``tau_within`` against single trainings, to be compared with that of ``ceiling``."""
    return float(np.mean([tau_within(alone, scores, strata)[0] for alone in seeds]))


def error_by_chance(seeds: Sequence[Sequence[float]], supernets: Sequence[Sequence[float]]) -> float:
    """Return the mean absolute error of inherited scores that equal those alone but for luck.

    That is of a normal deviate with the variances, pooled over networks, of the mean over seeds alone and of
    one supernet's score; NaN with one seed or one supernet.

    Args:
        seeds: scores alone, ``[seeds, networks]``.
        supernets: inherited scores, ``[supernets, networks]``.
    """
    if min(len(seeds), len(supernets)) < 2:
        return float("nan")
    alone, inherited = (np.var(np.asarray(side), axis=0, ddof=1).mean() for side in (seeds, supernets))
    return float(np.sqrt(2 / np.pi * (alone / len(seeds) + inherited)))


def over_networks(
    alone: Sequence[float],
    supernets: Sequence[Sequence[float]],
    predictor: Sequence[float],
    strata: Sequence[int],
    rng: np.random.Generator,
    draws: int = 2000,
) -> tuple[float, float, float]:
    """Return the supernets' mean ``tau_within`` minus a predictor's, and its 95 % bootstrap interval.

    Networks are drawn anew within each stratum, and supernets among themselves: the interval has the luck of
    both, where one over supernets takes the networks as given. A network drawn twice is no pair with itself.
    """
    names = np.asarray(strata)
    same = names[:, None] == names[None, :]
    truth = np.sign(np.subtract.outer(alone, alone)) * same
    signs = np.stack([truth * np.sign(np.subtract.outer(s, s)) for s in (predictor, *supernets)])
    drawn = np.stack(
        [rng.multinomial(int((names == name).sum()), (names == name) / (names == name).sum(), draws)
         for name in dict.fromkeys(strata)]
    ).sum(0)  # fmt: skip
    times = np.concatenate([np.ones((1, len(alone)), int), drawn])
    with np.errstate(invalid="ignore"):
        taus = np.stack(
            [np.einsum("di,ij,dj->d", times, sign, times) / np.einsum("di,ij,dj->d", times, abs(sign), times)
             for sign in signs]
        )  # fmt: skip
    shares = rng.multinomial(len(supernets), np.full(len(supernets), 1 / len(supernets)), draws + 1)
    shares[0] = 1
    differences = (shares.T * taus[1:]).sum(0) / len(supernets) - taus[0]
    low, high = np.nanquantile(differences[1:], [0.025, 0.975])
    return float(differences[0]), float(low), float(high)


def effects(
    differences: Sequence[float], shares: Mapping[str, Sequence[float]], strata: Sequence[int]
) -> dict[str, Interval]:
    """Regress differences of networks on shares by least squares, with a level for each stratum.

    Returns:
        Name of a share -> effect of going from none to all, with its 95 % t-interval over networks; nothing
        where networks are too few or too alike to tell the effects apart.
    """
    levels = [[float(stratum == level) for stratum in strata] for level in dict.fromkeys(strata)]
    design = np.array([*levels, *shares.values()]).T
    count, parameters = design.shape
    if count <= parameters or np.linalg.matrix_rank(design) < parameters:
        return {}
    values = np.asarray(differences, dtype=float)
    estimates = np.linalg.lstsq(design, values, rcond=None)[0]
    residual = values - design @ estimates
    variance = residual @ residual / (count - parameters) * np.linalg.inv(design.T @ design).diagonal()
    halves = t_quantile(count - parameters, (1 + LEVEL) / 2) * np.sqrt(variance)
    ends = zip(estimates, halves, strict=True)
    spans = [Interval(float(mean), float(mean - half), float(mean + half), count) for mean, half in ends]
    return dict(zip(shares, spans[len(levels) :], strict=True))


def regret(alone: Sequence[float], scores: Sequence[float], k: int) -> float:
    """Return the loss from keeping the ``k`` networks of the highest ``scores``, the first of equal ones."""
    kept = sorted(range(len(alone)), key=lambda i: (-scores[i], i))[:k]
    return float(max(alone) - max(alone[i] for i in kept))


def predictors(
    alone: Sequence[float], trivial: Mapping[str, Sequence[float]], depth: Sequence[int]
) -> dict[str, JsonObject]:
    """Return how well trivial predictors (depth, parameters, MACs) rank the networks trained alone."""
    return {
        name: {
            "tau": tau_b(values, alone),
            "tau_within": tau_within(alone, values, depth)[0],
            "regret": {k: regret(alone, values, k) for k in TOP if k <= len(alone)},
        }
        for name, values in trivial.items()
    }


def ceiling(seeds: Sequence[Sequence[float]], depth: Sequence[int]) -> list[JsonObject]:
    """Return the statistics of each pair of seeds trained alone: no supernet can be expected to do better."""
    return [asdict(gap(first, second, depth)) for first, second in combinations(seeds, 2)]


@dataclass(frozen=True)
class PublishedNetworks:
    """Published BLEU of one task's architectures: trained alone, and inherited by each supernet."""

    alone: list[float]
    inherited: dict[str, list[float]]
    depth: list[int]
    params: list[int]


def published(file: Path, task: str, split: str = "test", reused: bool | None = None) -> PublishedNetworks:
    """Read the scores of ``seed_architectures_wmt.json``.

    Args:
        split: ``test`` or ``valid``.
        reused: True for the rows whose HAT scores repeat those of the sandwich supernet, False for the
            others, None for all. On WMT'14 En-De the others are the 15 of the paper's table.

    Raises:
        UsageError: no such file or task.
    """
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["tasks"][task]
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(
            f"{file}: no published scores of {task} ({error}): --data-dir FOLDER with published/"
        ) from None
    rows = [row for row in rows if reused is None or (row["hat"] == row["sandwich"]) is reused]
    return PublishedNetworks(
        alone=[row["scratch"][split] for row in rows],
        inherited={name: [row[name][split] for row in rows] for name in SUPERNETS},
        depth=[row["architecture"]["decoder_layer_num"] for row in rows],
        params=[row["params"] for row in rows],
    )


def by_kind(scores: Mapping[tuple[str, int], Sequence[float]]) -> Iterator[tuple[str, list[Sequence[float]]]]:
    """Yield each kind of supernet with the scores of its seeds, in the order of the keys."""
    for kind in dict.fromkeys(kind for kind, _ in scores):
        yield kind, [values for (other, _), values in sorted(scores.items()) if other == kind]
