"""Selection of the headline candidate of a run at each limit, and of its deciding figures.

A limit is a latency or a window of sizes. A run may propose networks of several origins at one limit: first
with inherited weights and then, trained further or anew, its product. The rule was fixed before any result
was seen. The *product* is the origin that the run proposed last at that limit; its network with the best
*validation* score is the headline. No score of an earlier origin can replace it, and no test score chooses.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from benchmarks.records.canonical import JsonObject, canonical
from benchmarks.records.record import Candidate, Figure, Record, Scores
from benchmarks.stats import task_units
from benchmarks.stats.task_units import TaskUnits

P90_FROM = 64
"""Timed inferences: with fewer, a 90th percentile has no 99 % confidence (one sample may lie above)."""


def units_of(record: Record) -> TaskUnits:
    """Return the units of a record's task: as the record states them, else as known from before it could."""
    stated = record.get("units")
    text = canonical(stated) if stated is not None else None
    return _units(text, record["spec"]["task"], next(_metrics(record), None))


@lru_cache(maxsize=4096)
def _units(stated: bytes | None, task: str, metric: str | None) -> TaskUnits:
    """Return one object for equal units."""
    return task_units.of_record(None if stated is None else json.loads(stated), task, metric)


def _metrics(record: Record) -> Iterator[str]:
    """Yield the metric of each test score, those of fine-tuned copies left out."""
    for candidate in record["candidates"]:
        for _, scores in direct(candidate):
            yield from scores


def deciding_metric(record: Record) -> str | None:
    """Return the task's metric, else the first with a score; None if nothing was scored."""
    first = next(_metrics(record), None)
    if first is None or first == (metric := units_of(record).metric):
        return first
    return metric if metric in _metrics(record) else first


def metric_of(record: Record) -> str:
    """Return the deciding metric; the task's own if nothing was scored."""
    return deciding_metric(record) or units_of(record).metric


def tuned(figure: Figure) -> bool:
    """Return whether a figure is of fine-tuned copies: it has a value of each."""
    return "values" in figure


TUNED = {
    "accuracy": "accuracy %",
    "mcc": "MCC x 100",
    "spearman": "Spearman x 100",
    "f1": "F1 %",
    "pearson": "Pearson x 100",
}
"""Metric of fine-tuned copies -> its display name; a mean over tasks takes the first that a task has."""


def tuned_place(metric: str) -> tuple[int, str]:
    """Return a sort key that orders metrics as ``TUNED`` does, others last."""
    order = list(TUNED)
    return (order.index(metric) if metric in order else len(order)), metric


def direct(candidate: Candidate) -> Iterator[tuple[str, Scores]]:
    """Yield each test set on which the network itself was scored, not a fine-tuned copy, and its scores."""
    for name, scores in (candidate.get("test") or {}).items():
        if not any(map(tuned, scores.values())):
            yield name, scores


LEARNT_FROM = "below_frequencies", 0.1
"""Metric of encoders, and its value in nats below which a network has learnt little but word frequencies."""


def has_learnt(candidate: Candidate) -> bool:
    """Return False for an encoder that predicts masked words hardly better than their frequencies do.

    The order of such networks is that of noise; where the metric was not scored, a network counts as trained.
    """
    metric, least = LEARNT_FROM
    scores = (candidate.get("test") or {}).get(deciding_set(candidate) or "", {})
    value = (scores.get(metric) or {}).get("value")
    return value is None or value >= least


def deciding_set(candidate: Candidate) -> str | None:
    """Return the deciding test set: ``pooled``, else the first; None if there are only fine-tuned ones."""
    first = None
    for name, _ in direct(candidate):
        if name == "pooled":
            return name
        first = first or name
    return first


@dataclass(frozen=True, order=True)
class Limit:
    """Target of a search, by which rows are grouped; no limit sorts last."""

    rank: int
    """0: none; 1: share of the reference network's latency; 2: milliseconds; 3: parameters, ``low`` to
    ``value``, in millions."""
    value: float
    low: float = 0.0

    def __hash__(self) -> int:
        """Return the hash of the value: a tuple of all fields takes longer, and few targets share a value."""
        return hash(self.value)

    def __str__(self) -> str:
        return _limit_text(self.rank, self.value, self.low)


@lru_cache(maxsize=4096)
def _limit_text(rank: int, value: float, low: float) -> str:
    texts = "none", f"{value:g} x ref", f"{value:g} ms", f"{low:g}-{value:g} M"
    return texts[rank]


def limit_of(candidate: Candidate) -> Limit:
    """Return a candidate's limit, by share of the reference's latency if recorded: milliseconds drift."""
    if (window := candidate.get("window")) is not None:
        return Limit(3, *(float(f"{count / 1e6:.4g}") for count in reversed(window)))
    return _limit(candidate.get("limit_share"), candidate["limit_ms"])


@lru_cache(maxsize=4096)
def _limit(share: float | None, milliseconds: float | None) -> Limit:
    if share is not None:
        return Limit(1, float(f"{share:.4g}"))
    return Limit(0, 0.0) if milliseconds is None else Limit(2, float(f"{milliseconds:.3g}"))


def best_by_validation(candidates: Sequence[Candidate]) -> Candidate:
    """Return the headline candidate among those of one limit.

    It is the best by validation of the origin proposed last: by BLEU if all of that origin have it, else by
    loss.

    Args:
        candidates: in the order of proposal, as records hold them; indices are in the order of making.
    """
    last = candidates[-1]["origin"]
    return _best([c for c in candidates if c["origin"] == last])


def _best(candidates: Sequence[Candidate]) -> Candidate:
    if len(candidates) == 1:
        return candidates[0]
    if all(c["valid"].get("bleu") is not None for c in candidates):
        return max(candidates, key=lambda c: (c["valid"]["bleu"], -c["index"]))
    scored = [c for c in candidates if c["valid"]["loss"] is not None] or list(candidates)
    return min(scored, key=lambda c: (c["valid"]["loss"] or 0.0, c["index"]))


def _apart(candidates: Iterable[Candidate]) -> dict[Limit, list[Candidate]]:
    """Return the candidates of each limit, tightest limit first and no limit last."""
    apart: dict[Limit, list[Candidate]] = {}
    for candidate in candidates:
        apart.setdefault(limit_of(candidate), []).append(candidate)
    return dict(sorted(apart.items(), key=lambda pair: (pair[0].rank == 0, pair[0].rank, pair[0].value)))


def headline_candidates(candidates: Iterable[Candidate]) -> dict[Limit, Candidate]:
    """Return the headline candidate of each limit, tightest limit first and no limit last."""
    return products_and_earlier(candidates)[0]


def products_and_earlier(
    candidates: Iterable[Candidate],
) -> tuple[dict[Limit, Candidate], list[tuple[Limit, Candidate]]]:
    """Return ``headline_candidates``, and the best by validation of each limit and earlier origin."""
    products: dict[Limit, Candidate] = {}
    earlier = []
    for limit, those in _apart(candidates).items():
        product = products[limit] = best_by_validation(those)
        origins = dict.fromkeys([c["origin"] for c in those])
        del origins[product["origin"]]
        for origin in origins:
            earlier.append((limit, _best([c for c in those if c["origin"] == origin])))
    return products, earlier


@cache
def _targets() -> JsonObject:
    return tomllib.loads(Path(__file__).with_name("targets.toml").read_text("utf-8"))


def reference_point(task: str) -> tuple[float, float]:
    """Return lowest quality and highest latency ratio that count in this task's hypervolume; frozen."""
    target = _targets()["task"].get(task, _targets()["default"])
    return float(target["quality"]), float(target["latency"])


def limits_are_of_another_runtime(tier: str) -> bool:
    """Return whether a tier's limits bound latencies of another runtime than that of its rows."""
    return tier in _targets()["counted"]["elsewhere"]


@dataclass(frozen=True)
class Axis:
    """Cost axis of fronts and hypervolumes: the quantity that the targets of a table bound."""

    figure: str
    """Column of ``runs.headlines``."""
    scale: float
    """Factor from a figure to its display."""
    name: str
    """In words, before the unit."""
    reference: tuple[float, float] | None
    """(lowest quality, highest shown figure) that count in a hypervolume, frozen; None: it has none."""

    @property
    def bound(self) -> str:
        """Highest figure that counts, in words."""
        assert self.reference is not None
        return f"{self.reference[1]:g} " + ("x reference" if self.figure == "ratio" else "M parameters")


def axis(limits: Iterable[Limit], task: str, tier: str) -> Axis:
    """Return the axis of a table: parameters where its targets are windows of sizes, else the latency ratio.

    Latencies of networks of one size differ by their timing alone, so that no front is seen in them.
    """
    ranks = {limit.rank for limit in limits} - {0}
    if ranks != {3}:
        return Axis("ratio", 1.0, "latency", reference_point(task))
    highest = _targets()["parameters"].get(task, {}).get(tier)
    floor = reference_point(task)[0]
    return Axis("params", 1e-6, "parameters", None if highest is None else (floor, float(highest)))


def results_version() -> str:
    """Return the version of the frozen reference points."""
    return str(_targets()["version"])
