"""Figures of one record that the papers' claims are about (``benchmarks.claims.judge``). No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.records import selection
from benchmarks.records.record import Candidate, Record
from benchmarks.records.text import sanitize
from benchmarks.stats import pareto

MeasuredFigure = float | Mapping[str, float]
"""One value, or the parts by name whose mean it is: runs are compared over the parts that they share."""


def _at(record: Record, limit: float | None) -> list[Candidate]:
    wanted = selection.Limit(0, 0.0) if limit is None else selection.Limit(1, limit)
    return [c for c in record["candidates"] if selection.limit_of(c) == wanted]


def _test(candidate: Candidate, metric: str) -> float | None:
    scores = (candidate.get("test") or {}).get(selection.deciding_set(candidate) or "", {})
    value = (scores.get(metric) or {}).get("value")
    return None if value is None else float(value)


def _quality(record: Record, limit: float | None) -> float | None:
    """Return the test figure of the best network by validation at the limit."""
    candidates = _at(record, limit)
    return (
        _test(selection.best_by_validation(candidates), selection.metric_of(record)) if candidates else None
    )


def _inherited(record: Record, limit: float | None) -> float | None:
    """Return the test figure of the best network with the supernet's own weights."""
    candidates = [c for c in _at(record, limit) if c["origin"] == "inherited"]
    return (
        _test(selection.best_by_validation(candidates), selection.metric_of(record)) if candidates else None
    )


def _gap(record: Record, limit: float | None) -> float | None:
    """Return trained from scratch minus inherited, averaged over the architectures that have both."""
    return _gap_among(record, _at(record, limit))


def _gap_among(record: Record, candidates: Sequence[Candidate]) -> float | None:
    metric = selection.metric_of(record)
    both = [
        (_test(alone, metric), _test(shared, metric))
        for alone in candidates
        if alone["origin"] == "retrained"
        for shared in candidates
        if shared["origin"] == "inherited" and shared["architecture"] == alone["architecture"]
    ]
    gaps = [a - b for a, b in both if a is not None and b is not None]
    return sum(gaps) / len(gaps) if gaps else None


def _gap_at_each(record: Record, limit: float | None) -> MeasuredFigure | None:
    """Return the size of the gap at every limit or size of the run."""
    apart: dict[selection.Limit, list[Candidate]] = {}
    for candidate in record["candidates"]:
        apart.setdefault(selection.limit_of(candidate), []).append(candidate)
    gaps = {str(at): _gap_among(record, candidates) for at, candidates in apart.items()}
    return {at: abs(gap) for at, gap in gaps.items() if gap is not None} or None


def _glue(record: Record, limit: float | None) -> MeasuredFigure | None:
    """Return the fine-tuned figures of the best network by validation at every size, by task.

    A task counts by its first metric, and only if it can rank networks of this size.
    """
    figures = {}
    for at, chosen in selection.headline_candidates(record["candidates"]).items():
        for task, scores in (chosen.get("test") or {}).items():
            metrics = sorted(
                (m for m, figure in scores.items() if selection.tuned(figure)), key=selection.tuned_place
            )
            figure = scores[metrics[0]] if metrics else {"value": None}
            if figure["value"] is not None and "unfit" not in figure:
                figures[f"{sanitize(task, 40)} at {at}"] = float(figure["value"])
    return figures or None


def _absolute_gap(record: Record, limit: float | None) -> float | None:
    """Return the size of ``_gap``, as the papers report it."""
    gap = _gap(record, limit)
    return None if gap is None else abs(gap)


def _hypervolume(record: Record, limit: float | None) -> float | None:
    """Return the hypervolume of the headline candidates from the task's frozen reference point."""
    chosen, metric = (
        selection.headline_candidates(record["candidates"]).values(),
        selection.metric_of(record),
    )
    points = [(_test(c, metric), (c.get("latency") or {}).get("ratio")) for c in chosen]
    pairs = [(q, float(x)) for q, x in points if q is not None and x is not None]
    return pareto.hypervolume(pairs, selection.reference_point(record["spec"]["task"])) if pairs else None


MEASURES: dict[str, Callable[[Record, float | None], MeasuredFigure | None]] = {
    "quality": _quality,
    "inherited": _inherited,
    "gap": _gap,
    "absolute-gap": _absolute_gap,
    "absolute-gap-at-each": _gap_at_each,
    "glue": _glue,
    "hypervolume": _hypervolume,
}
"""Name in ``claims.toml`` -> function of a record and a limit (None: no limit); None if it has no figure."""
