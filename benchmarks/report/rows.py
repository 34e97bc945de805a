"""From records to figures: what may share a table, and which candidate speaks for a run.

One line of ``headlines`` is one (method, seed, latency limit): the candidate of that limit with the
best *validation* score. Test scores choose nothing.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import records as store
from benchmarks import rulesets
from benchmarks.api import LIMITED, UsageError
from benchmarks.records import Record

if TYPE_CHECKING:
    import pandas as pd

P90_FROM = 64
"""Timed inferences: with fewer, a 90th percentile has no 99 % confidence (one sample may lie above)."""


def plain(text: object, limit: int = 300) -> str:
    """One printable line of a text that may be hostile: no control or direction characters."""
    cleaned = str(text)
    if not cleaned.isprintable():
        cleaned = "".join(c if c.isprintable() else " " for c in cleaned)
    cleaned = " ".join(cleaned.split())
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 3] + "..."


def facts(record: Mapping[str, Any]) -> dict[str, str]:
    """What two records must have in common to stand in one table, as texts."""
    spec = record["spec"]
    shown = {name: plain(spec[name]) for name in ("task", "tier", "profile", "space")}
    for kind in LIMITED:
        amount = spec["budget"].get(kind)
        shown[f"budget.{kind}"] = "no limit" if amount is None else f"{amount:,.10g}"
    shown["settings_sha256"] = spec["settings_sha256"][:12]
    if rulesets.of(spec) != rulesets.SELF:
        shown["ruleset"] = rulesets.of(spec)
    if record["provenance"]["data"]:
        shown["data"] = hashlib.sha256(store.canonical(record["provenance"]["data"])).hexdigest()[:12]
    return shown


def groups(records: Iterable[Record]) -> list[list[Record]]:
    """Records apart by everything that forbids comparing them, in a fixed order.

    A run that failed before it had data goes with the runs that are otherwise like it.
    """
    keyed = []
    for record in records:
        shown, spec = facts(record), record["spec"]
        place = "data" not in shown, tuple(shown.values()), spec["method"], spec["seed"], record["id"]
        keyed.append((place, record))
    found: dict[tuple[str, ...], list[Record]] = {}
    for (without, key, *_), record in sorted(keyed, key=lambda pair: pair[0]):
        if without:
            key = next((known for known in found if known[:-1] == key), key)
        found.setdefault(key, []).append(record)
    return [found[key] for key in sorted(found)]


def require_comparable(records: Sequence[Record]) -> None:
    """Raise UsageError, listing every difference, where records must not share a table."""
    apart = groups(records)
    if len(apart) < 2:
        return
    lines = []
    for name in dict.fromkeys(name for group in apart for name in facts(group[0])):
        seen: dict[str, list[str]] = {}
        for record in records:
            value = facts(record).get(name, rulesets.SELF if name == "ruleset" else None)
            if value is not None:
                seen.setdefault(value, []).append(f"{record['spec']['method']} seed {record['spec']['seed']}")
        if len(seen) > 1:
            told = [
                f"{value} ({', '.join(who[:2])}{', ...' if len(who) > 2 else ''})"
                for value, who in seen.items()
            ]
            lines.append(f"  {name:18} " + "   ".join(told))
    raise UsageError(
        "these records cannot share a table; they differ in\n" + "\n".join(lines) + "\n"
        "only equal allowances on equal hardware and data are compared. One table for each:"
        " supernet-bench leaderboard"
    )


def labels(records: Sequence[Record]) -> dict[str, str]:
    """Record id -> the method's name in the table.

    Runs of one name with other options or another source are different methods: the name then
    carries what tells them apart, so that they are never averaged.
    """
    kinds: dict[str, dict[tuple[str, str], list[str]]] = {}
    for record in records:
        spec = record["spec"]
        options = " ".join(f"{k}={v}" for k, v in sorted(spec["options"].items()))
        kind = plain(options, 60), spec["method_sha256"][:7]
        kinds.setdefault(spec["method"], {}).setdefault(kind, []).append(record["id"])
    named: dict[str, str] = {}
    for method, others in kinds.items():
        apart = [len(set(those)) > 1 for those in zip(*others, strict=True)]
        for (options, source), ids in others.items():
            name = method + (f" ({options or 'default options'})" if apart[0] else "")
            named |= dict.fromkeys(ids, name + (f" @{source}" if apart[1] else ""))
    return named


def latest(records: Sequence[Record]) -> list[Record]:
    """One record for each (method label, seed): where there are several, the one that ended last."""
    named = labels(records)
    kept: dict[tuple[str, int], Record] = {}
    for record in sorted(records, key=lambda r: (r["status"] != "failed", r["provenance"]["ended"], r["id"])):
        kept[named[record["id"]], record["spec"]["seed"]] = record
    return sorted(kept.values(), key=lambda r: (named[r["id"]], r["spec"]["seed"]))


def metric_of(records: Sequence[Record]) -> str:
    """The metric that decides: ``bleu`` where there is one, else the first one recorded; none of
    fine-tuning."""
    first = None
    for record in records:
        for candidate in record["candidates"]:
            for scores in direct(candidate).values():
                if "bleu" in scores:
                    return "bleu"
                first = first or next(iter(scores), None)
    return first or "bleu"


def tuned(figure: Mapping[str, Any]) -> bool:
    """Whether a figure is of fine-tuned copies: it has a value of each."""
    return "values" in figure


def direct(candidate: Mapping[str, Any]) -> dict[str, Any]:
    """The test sets on which the network itself was scored, not copies fine-tuned on something."""
    sets = candidate.get("test") or {}
    return {name: scores for name, scores in sets.items() if not any(map(tuned, scores.values()))}


def deciding_set(candidate: Mapping[str, Any]) -> str | None:
    """The test set that decides: ``pooled``, else the first; none that was fine-tuned on."""
    sets = direct(candidate)
    return "pooled" if "pooled" in sets else next(iter(sets), None)


@dataclass(frozen=True, order=True)
class Limit:
    """What a network was searched for, as rows are grouped by it: none sorts last."""

    rank: int
    """0: none; 1: share of the reference network's latency; 2: milliseconds; 3: parameters, ``low`` to
    ``value``, in millions."""
    value: float
    low: float = 0.0

    def __str__(self) -> str:
        told = "none", f"{self.value:g} x ref", f"{self.value:g} ms", f"{self.low:g}-{self.value:g} M"
        return told[self.rank]


def limit_of(candidate: Mapping[str, Any]) -> Limit:
    """By share of the reference's latency where recorded: milliseconds drift between runs."""
    if (window := candidate.get("window")) is not None:
        return Limit(3, *(float(f"{count / 1e6:.4g}") for count in reversed(window)))
    if candidate.get("limit_share") is not None:
        return Limit(1, float(f"{candidate['limit_share']:.4g}"))
    if candidate["limit_ms"] is not None:
        return Limit(2, float(f"{candidate['limit_ms']:.3g}"))
    return Limit(0, 0.0)


def best(candidates: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The candidate with the best validation score: BLEU where all have it, else the loss."""
    if len(candidates) == 1:
        return candidates[0]
    if all(c["valid"].get("bleu") is not None for c in candidates):
        return max(candidates, key=lambda c: (c["valid"]["bleu"], -c["index"]))
    scored = [c for c in candidates if c["valid"]["loss"] is not None] or list(candidates)
    return min(scored, key=lambda c: (c["valid"]["loss"] or 0.0, c["index"]))


def by_limit(candidates: Iterable[Mapping[str, Any]]) -> dict[Limit, Mapping[str, Any]]:
    """The headline candidate of each limit, tightest limit first and no limit last."""
    apart: dict[Limit, list[Mapping[str, Any]]] = {}
    for candidate in candidates:
        apart.setdefault(limit_of(candidate), []).append(candidate)
    ordered = sorted(apart, key=lambda limit: (limit.rank == 0, limit.rank, limit.value))
    return {limit: best(apart[limit]) for limit in ordered}


def headlines(records: Sequence[Record]) -> pd.DataFrame:
    """One line per (method, seed, limit); figures that a record lacks are NaN."""
    import pandas as pd  # here, so that the harness can use the rest of this module without it

    named, metric = labels(records), metric_of(records)
    lines: list[dict[str, Any]] = []
    for record in records:
        for limit, c in by_limit(record["candidates"]).items():
            scores = (c.get("test") or {}).get(deciding_set(c) or "", {})
            figure = scores.get(metric) or {}
            latency, cost = c.get("latency") or {}, c.get("cost") or {}
            lines.append(
                {"method": named[record["id"]], "seed": record["spec"]["seed"], "limit": limit}
                | {"limit_ms": c["limit_ms"], "origin": plain(c["origin"], 30), "candidate": c}
                | {"quality": figure.get("value"), "low": figure.get("low"), "high": figure.get("high")}
                | _named_figure("chrf", scores.get("chrf") or {})
                | {"valid_loss": c["valid"]["loss"]}
                | {
                    "p50": latency.get("p50"),
                    "p90": latency.get("p90") if latency.get("n", 0) >= P90_FROM else None,
                }
                | {k: latency.get(k) for k in ("ratio", "ratio_low", "ratio_high", "reference_p50")}
                | {k: cost.get(k) for k in ("params", "macs", "bytes")}
                | {"peak_bytes": (c.get("memory") or {}).get("peak_bytes")}
            )
    frame = pd.DataFrame(lines, columns=COLUMNS)
    figures = [c for c in COLUMNS if c not in ("method", "seed", "limit", "origin", "candidate")]
    return frame.astype(dict.fromkeys(figures, "float64"))


def _named_figure(name: str, figure: Mapping[str, Any]) -> dict[str, Any]:
    return {name: figure.get("value"), f"{name}_low": figure.get("low"), f"{name}_high": figure.get("high")}


COLUMNS = [
    "method", "seed", "limit", "limit_ms", "origin", "candidate", "quality", "low", "high", "chrf",
    "chrf_low", "chrf_high", "valid_loss", "p50", "p90", "ratio", "ratio_low", "ratio_high",
    "reference_p50", "params", "macs", "bytes", "peak_bytes",
]  # fmt: skip


@cache
def _targets() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parents[1] / "targets.toml").read_text("utf-8"))


def reference_point(task: str) -> tuple[float, float]:
    """(lowest quality, highest latency ratio) that count in this task's hypervolume; frozen."""
    target = _targets()["task"].get(task, _targets()["default"])
    return float(target["quality"]), float(target["latency"])


def results_version() -> str:
    """The version of the frozen reference points."""
    return str(_targets()["version"])
