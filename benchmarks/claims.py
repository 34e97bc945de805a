"""The papers' claims judged by what was measured: supported, refuted or undecided. Imports no torch.

The rule, for each claim of ``claims.toml``:

1. Records are apart by everything that forbids comparing them (``report.comparable.groups``: task, tier,
   profile, space, allowance, settings, data). Only declared profiles and allowances that the claim asks
   for count. Within a group each method counts with one version of its source, the one with most seeds.
2. The effect of a seed is the method's figure minus the other's, both of that seed. A figure that is a mean
   over parts (tasks, sizes) is over those that every run of both methods has.
3. Fewer than ``n`` paired seeds, never below ``stats.SIGNIFICANT_FROM``: undecided.
4. Else the 95 % t-interval of the mean effect decides. ``above`` a margin: supported where the whole
   interval lies above it, refuted where it lies wholly below; ``below`` the other way round; ``within``:
   supported where it lies wholly between -margin and +margin, refuted where wholly outside. Anything
   else is undecided.
5. Of several groups the one with most paired seeds decides; of several such, that of the profile which the
   claim names first. Groups are chosen before they are looked at, and never pooled. Where another group
   with enough seeds contradicts it, the claim is undecided.
6. A claim on a study (``claim_studies``) is judged by each of its pairs, by rules 3 and 4.

Every claim is judged by itself: nothing is corrected for the number of claims.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks import claim_studies, stats
from benchmarks.claim_measures import MEASURES, Figure
from benchmarks.hypotheses import UNDECIDED, Claim, Evidence, Verdict, claims, decide, sign_flip
from benchmarks.records import Record
from benchmarks.report import comparable, rows, runs
from benchmarks.report.runs import Run
from benchmarks.studies.stored import Study


def _runs(group: Iterable[Run], method: str, options: Mapping[str, Any]) -> dict[int, Run]:
    """Seed -> run of one method in one group; of its sources the one with most seeds, the last to end."""
    sources: dict[str, list[Run]] = {}
    for run in group:
        if run.method == method and run.options == options and run.status != "failed":
            sources.setdefault(run.source, []).append(run)
    if not sources:
        return {}
    kept = [comparable.latest(those) for those in sources.values()]
    most = max(kept, key=lambda those: (len(those), max(run.ended for run in those)))
    return {run.seed: run for run in most}


def _evidence(claim: Claim, group: Sequence[Run]) -> Evidence | None:
    """What a group says; None where it has no run of the claim's methods."""
    ours = _runs(group, claim.method, claim.method_options)
    theirs = _runs(group, claim.against, claim.against_options) if claim.against else ours
    if not ours and not theirs:
        return None
    figure = claim.measure, claim.limit
    found: dict[int, tuple[Figure, Figure]] = {}
    for seed in sorted(set(ours) & set(theirs)):
        a = (ours[seed].measured or {}).get(figure)
        b = (theirs[seed].measured or {}).get(figure) if claim.against else 0.0
        if a is not None and b is not None:
            found[seed] = a, b
    parts = _parts([figure for pair in found.values() for figure in pair])
    effects: dict[int, float] = {}
    for seed, pair in found.items():
        x, y = (_mean(figure, parts) for figure in pair)
        if x is not None and y is not None and not (claim.relative and y == 0):
            effects[seed] = 100 * (x / y - 1) if claim.relative else x - y
    facts = group[0].facts
    profile, allowance = facts["profile"], facts.get("budget.tokens", "?")
    where = f"{profile}, {allowance} tokens, settings {facts['settings_sha256']}"
    if not effects:
        why = f"0 of {claim.n} paired seeds with what this claim needs"
        return Evidence(where, profile, (), None, None, None, None, UNDECIDED, why, ())
    interval = stats.t_interval(list(effects.values()))
    verdict, why = decide(claim, interval)
    used = [of[seed].id for seed in effects for of in ((ours, theirs) if claim.against else (ours,))]
    return Evidence(
        where, profile, tuple(effects), interval.mean, interval.low, interval.high,
        sign_flip(claim, list(effects.values())), verdict, why, tuple(used), parts,
    )  # fmt: skip


def _parts(figures: Iterable[Figure]) -> tuple[str, ...]:
    """What all the figures that are means have in common."""
    there = [set(figure) for figure in figures if isinstance(figure, Mapping)]
    return tuple(sorted(set.intersection(*there))) if there else ()


def _mean(figure: Figure, parts: Sequence[str]) -> float | None:
    if not isinstance(figure, Mapping):
        return figure
    return sum(figure[part] for part in parts) / len(parts) if parts else None


def _unfit(claim: Claim, run: Run) -> str:
    """Why runs like this one do not count, or nothing."""
    profile = run.facts["profile"]
    if profile not in claim.profiles:
        return f"profile {rows.plain(profile, 80)} is not one that the claim asks for"
    least = claim.profiles[profile]
    if run.tokens is not None and run.tokens < least:
        return f"allowance of {run.tokens:,.10g} tokens on {profile}, below {least:,.10g}"
    return ""


def _judged(claim: Claim, groups: Sequence[Sequence[Run]]) -> Verdict:
    evidence, left_out = [], []
    for group in groups:
        found = _evidence(claim, group)
        unfit = _unfit(claim, group[0])
        if found is not None and unfit:
            left_out.append(unfit)
        elif found is not None:
            evidence.append(found)
    order = list(claim.profiles)
    evidence.sort(key=lambda e: (-len(e.seeds), order.index(e.profile)))
    decided = {e.verdict for e in evidence} - {UNDECIDED}
    first = evidence[0] if evidence else None
    if first is None:
        verdict, why = UNDECIDED, "no records of its methods"
    elif len(decided) > 1:
        verdict, why = UNDECIDED, "the groups of records contradict one another"
    else:
        verdict, why = first.verdict, first.why
        if len(evidence) > 1 and len(first.seeds) >= claim.n:
            why += f" ({first.profile} decides, of {len(evidence)} groups of records)"
    base = Verdict(claim, verdict, why, evidence=tuple(evidence), left_out=tuple(left_out))
    if verdict != UNDECIDED or len(decided) > 1:
        command = ""
    else:
        there = len(first.seeds) if first else 0
        profile = first.profile if first and there else next(iter(claim.profiles))
        command = command_for(claim, profile, claim.n if there < claim.n else 2 * there)
    if first is None:
        return Verdict(**vars(base) | {"command": command})
    figures = {"effect": first.effect, "low": first.low, "high": first.high, "n": len(first.seeds)}
    return Verdict(**vars(base) | figures | {"records": first.records, "command": command})


def command_for(claim: Claim, profile: str, seeds: int) -> str:
    """What produces the records of ``seeds`` seeds on a machine of that profile."""
    methods = [claim.method] + ([claim.against] if claim.against else [])
    words = ["supernet-bench", "run", claim.suite, "--task", claim.task, "--tier", claim.tier]
    words += ["--profile", profile, "--methods", ",".join(methods)]
    for name, options in ((claim.method, claim.method_options), (claim.against, claim.against_options)):
        for key, value in options.items():
            words += ["--option", f"{name}.{key}={value}"]
    return shlex.join([*words, "--seeds", str(seeds)])


def measured(record: Record, of: Sequence[Claim] | None = None) -> runs.Measured | None:
    """What the claims (default: all of ``claims.toml``) find in a record; None where none looks at it."""
    spec, asked = record["spec"], claims() if of is None else of
    looking = [
        claim
        for claim in asked
        if (claim.task, claim.tier) == (spec["task"], spec["tier"])
        and spec["method"] in (claim.method, claim.against)
    ]
    if not looking:
        return None
    wanted = {(claim.measure, claim.limit) for claim in looking}
    return {(name, limit): MEASURES[name](record, limit) for name, limit in wanted}


def judge(
    records: Iterable[Record], of: Sequence[Claim] | None = None, studies: Mapping[str, Study] | None = None
) -> list[Verdict]:
    """A verdict for every claim (default: all of ``claims.toml``), in their order.

    Pure: the same records in any order give the same verdicts. Texts of records reach a verdict only
    through ``report.comparable.facts`` and ``rows.plain``; escape them for where they go.
    """
    found = ((record, measured(record, of)) for record in records)
    return judge_runs([runs.of(r, keep=False, measured=m) for r, m in found if m is not None], of, studies)


def judge_runs(
    found: Iterable[Run], of: Sequence[Claim] | None = None, studies: Mapping[str, Study] | None = None
) -> list[Verdict]:
    """``judge`` from runs with what the same claims ``measured`` in them."""
    asked = claims() if of is None else of
    relevant: dict[tuple[str, str], list[Run]] = {}
    for run in found:
        relevant.setdefault((run.facts["task"], run.facts["tier"]), []).append(run)
    grouped = {place: comparable.groups(there) for place, there in relevant.items()}
    return [
        claim_studies.judge(claim, studies or {})
        if claim.study
        else _judged(claim, grouped.get((claim.task, claim.tier), []))
        for claim in asked
    ]
