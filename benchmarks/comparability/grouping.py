"""Groups of comparable records, labels of their methods, and the run that counts for each seed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from benchmarks import identity
from benchmarks.api import BUDGETED_KINDS, OptionValues, UsageError
from benchmarks.records.canonical import JsonView, canonical
from benchmarks.records.spec import SELF, ruleset_of
from benchmarks.records.text import sanitize

if TYPE_CHECKING:
    from benchmarks.comparability.run_summary import RunSummary


COUNTED = tuple(kind for kind in BUDGETED_KINDS if kind != "seconds")
"""Kinds of allowance that comparable runs share.

Seconds are a safety net: a run that they did not stop is the same under any, and a stopped one is never
compared.
"""

_LONGEST = 60
"""Characters of the options in a label, at most."""


def facts(record: JsonView) -> Mapping[str, str]:
    """Return the facts that two records of one table share, as texts."""
    spec = record["spec"]
    return _facts(
        *(spec[name] for name in ("task", "tier", "profile", "space", "settings_sha256")),
        tuple(spec["budget"].get(kind) for kind in COUNTED),
        ruleset_of(spec),
        identity.of_record(record)[1:],
        tuple(record["provenance"]["data"].items()),
        _own_profile(record),
    )


def _own_profile(record: JsonView) -> str:
    """Return the digest of a profile that is the user's own; empty for one that is declared here."""
    profile = record.get("declared", {}).get("profile")
    return "" if profile is None else hashlib.sha256(canonical(profile)).hexdigest()[:12]


@lru_cache(maxsize=4096)
def _facts(
    task: str, tier: str, profile: str, space: str, settings: str, budget: tuple[float | None, ...],
    ruleset: str, code: tuple[str, ...], data: tuple[tuple[str, str], ...],
    own_profile: str,
) -> dict[str, str]:  # fmt: skip
    shown = {
        "task": sanitize(task),
        "tier": sanitize(tier),
        "profile": sanitize(profile),
        "space": sanitize(space),
    }
    for kind, amount in zip(COUNTED, budget, strict=True):
        shown[f"budget.{kind}"] = "no limit" if amount is None else f"{amount:,.10g}"
    shown["settings_sha256"] = settings[:12]
    if own_profile:
        shown["profile_sha256"] = own_profile
    if ruleset != SELF:
        shown["ruleset"] = ruleset
    # A text with a space is no digest but a commit that stands for one.
    digests = [sanitize(digest, 40) if " " in digest else digest[:12] for digest in code]
    shown["task_sha256"], shown["substrate_sha256"] = digests
    if data:
        shown["data"] = hashlib.sha256(canonical(dict(data))).hexdigest()[:12]
    return shown


def groups(runs: Iterable[RunSummary]) -> list[list[RunSummary]]:
    """Return the groups of runs that may be compared, in a fixed order.

    A run that failed before it had data joins the runs that share its other facts.
    """
    keyed = []
    for run in runs:
        place = "data" not in run.facts, tuple(run.facts.values()), run.method, run.seed, run.id
        keyed.append((place, run))
    grouped: dict[tuple[str, ...], list[RunSummary]] = {}
    for (without, key, *_), run in sorted(keyed, key=lambda pair: pair[0]):
        if without:
            key = next((known for known in grouped if known[:-1] == key), key)
        grouped.setdefault(key, []).append(run)
    return [grouped[key] for key in sorted(grouped)]


def require_comparable(runs: Sequence[RunSummary]) -> None:
    """Refuse runs that must not share a table.

    Raises:
        UsageError: listing every difference.
    """
    apart = groups(runs)
    if len(apart) < 2:
        return
    lines = []
    for name in dict.fromkeys(name for group in apart for name in group[0].facts):
        seen: dict[str, list[str]] = {}
        for run in runs:
            value = run.facts.get(name, SELF if name == "ruleset" else None)
            if value is not None:
                seen.setdefault(value, []).append(f"{run.method} seed {run.seed}")
        if len(seen) > 1:
            values = [
                f"{value} ({', '.join(who[:2])}{', ...' if len(who) > 2 else ''})"
                for value, who in seen.items()
            ]
            lines.append(f"  {name:18} " + "   ".join(values))
    raise UsageError(
        "these records cannot share a table; they differ in\n" + "\n".join(lines) + "\n"
        "only equal allowances on equal hardware and data are compared. One table for each:"
        " supernet-bench leaderboard"
    )


def labels(runs: Sequence[RunSummary]) -> dict[str, str]:
    """Return record id -> the method's label in a table.

    Runs of one method with other options or other code are different methods and are never averaged: the
    label adds the options that are not default, and the code's digest if there are several. Code that is
    declared equal (``equivalences.toml``) is one. All options and all digits count, also where the label is
    cut.
    """
    kinds: dict[str, dict[tuple[bytes, str], list[RunSummary]]] = {}
    for run in runs:
        kind = canonical(run.options) if run.options else b"", run.code
        kinds.setdefault(run.method, {}).setdefault(kind, []).append(run)
    named: dict[str, str] = {}
    for method, others in kinds.items():
        texts = _option_texts({options: those[0].options for (options, _), those in others.items()})
        codes = {code for _, code in others}
        digits = next((n for n in range(7, 64) if len({code[:n] for code in codes}) == len(codes)), 64)
        for (options, code), those in others.items():
            text = texts[options] or ("default options" if len(texts) > 1 else "")
            name = method + (f" ({text})" if text else "")
            name += f" @{code[:digits]}" if len(codes) > 1 else ""
            named |= dict.fromkeys([run.id for run in those], name)
    return named


def _option_texts(options: Mapping[bytes, OptionValues]) -> dict[bytes, str]:
    """Return the display text of each set of options, by its canonical form; no two sets share a text.

    A text that is cut, changed by sanitising or shared ends with a digest of all options.
    """
    full = {key: " ".join([f"{k}={v}" for k, v in sorted(values.items())]) for key, values in options.items()}
    shared = Counter(full.values())
    return {
        key: text
        if sanitize(text, _LONGEST) == text and shared[text] == 1
        else f"{sanitize(text, _LONGEST - 11)} #{hashlib.sha256(key).hexdigest()[:9]}"
        for key, text in full.items()
    }


def obstacle(run: RunSummary) -> str:
    """Return the reason why a run must not be compared, ranked, drawn or tested; empty if it may.

    ``obstacles`` also checks the runs that it follows.

    A stopped method would be judged by an accident of the time at which it was stopped.
    """
    if run.status == "failed":
        return f"failed: {run.message}"
    if run.status != "done":
        return f"stopped: {run.message}"
    for kind, share in zip(BUDGETED_KINDS, run.spent, strict=False):
        if kind != "seconds" and share > 1 + 1e-6:
            return f"spent {share:.0%} of its {kind}"
    return ""


def obstacles(runs: Iterable[RunSummary]) -> dict[str, str]:
    """Return record id -> the reason why a run, or one that it follows, must not be compared.

    Of several records of one run the one that may be compared counts.
    """
    by_id = {run.id: run for run in sorted(runs, key=lambda run: not obstacle(run))}
    reasons: dict[str, str] = {}
    for run in by_id.values():
        at: RunSummary | None = run
        seen: set[str] = set()
        while at is not None and at.id not in seen:
            if reason := obstacle(at):
                follows = "" if at is run else f"follows {at.method} seed {at.seed}, which "
                reasons[run.id] = follows + reason
                break
            seen.add(at.id)
            at = by_id.get(at.follows)
    return reasons


def latest(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Return one run for each method label and seed.

    Of several the last to end counts, and one that may be compared before any that may not.
    """
    named, hindered = labels(runs), obstacles(runs)
    kept: dict[tuple[str, int], RunSummary] = {}
    for run in sorted(
        runs, key=lambda r: (not obstacle(r), r.id not in hindered, r.status != "failed", r.ended, r.id)
    ):
        kept[named[run.id], run.seed] = run
    return sorted(kept.values(), key=lambda r: (named[r.id], r.seed))


def metric_of(runs: Sequence[RunSummary]) -> str:
    """Return the deciding metric of comparable runs: the task's own, else the first that one of them has."""
    metric = runs[0].units.metric
    scored = [run.metric for run in runs if run.metric is not None]
    return metric if metric in scored or not scored else scored[0]
