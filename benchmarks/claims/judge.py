"""The papers' claims judged by what was measured: supported, refuted or undecided. Imports no torch.

The rule, for each claim of ``claims.toml`` on records. It was written down before the records that the newest
claims need were there; the board's table of comparisons prints the same figures for the pairs that both have.

1. Records are apart by everything that forbids comparing them (``grouping.groups``: task, tier,
   profile, space, allowance, settings, data). Only declared profiles and allowances that the claim asks for
   count, and only runs that ended by themselves: one that failed or was stopped never decides. Within a
   group each method counts with one version of its source, the one with most seeds.
2. The effect of a seed is the method's figure minus the other's, both of that seed. A figure that is a mean
   over parts (tasks, sizes) is over those that every run of both methods has.
3. A look is taken when seeds 1 to n, never fewer than ``stats.SIGNIFICANT_FROM``, are all paired, and a
   second and last one at seeds 1 to 2n. Other seeds count for nothing, so that nobody can add seeds until
   it fits. Each look may spend half of the error of 5 % (``hypotheses.LOOKS``). Before the first look: not
   tested.
4. At a look Student's paired t-test against the margin gives a p, and Holm corrects it over the *family*:
   all claims of the paper on this task and tier, as registered, those without records (p = 1) included.
   Below 2.5 % the claim is supported or refuted, by the side of the margin that the mean effect is on. At
   the first look that decides it stays decided; anything else is undecided. So the chance of one wrong
   verdict or more in a family is at most 5 %, over both looks. The 95 % interval beside it is of that
   comparison alone. The t-test assumes that differences of a seed are about normal. The exact sign-flip
   test does not, but its p on six pairs is never below 0.031: after Holm over two claims or more, six seeds
   could decide nothing.
5. A family is judged in one group of records: the one in which most of its claims have their n pairs, then
   the one with most pairs, then that of the profile which the claims name first. Groups are never pooled.
   Where another group, judged by itself in the same way, decides the opposite, the claim is undecided.
6. A claim whose two methods differ in more than what it is about is ``confounded``, and its verdict is
   never shown without that. A claim that no design here tests is not tested, for a stated reason
   (``untested``).
7. A claim on a study (``claim_studies``) is judged by each of its pairs: supported or refuted where the
   whole 95 % t-interval over at least n seeds lies on one side of the margin.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from benchmarks.api import OptionValues
from benchmarks.claims import studies as claim_studies
from benchmarks.claims.hypotheses import (
    LOOKS,
    NOT_TESTED,
    UNDECIDED,
    Claim,
    ClaimVerdict,
    Evidence,
    claims,
    compare_with_margin,
)
from benchmarks.claims.measures import MEASURES, MeasuredFigure
from benchmarks.comparability import grouping, run_summary
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.records import selection
from benchmarks.records.record import Record
from benchmarks.records.study_files import Study
from benchmarks.records.text import sanitize
from benchmarks.stats import intervals
from benchmarks.stats.rounding import p_text


def _runs(group: Sequence[RunSummary], method: str, options: OptionValues) -> dict[int, RunSummary]:
    """Return seed -> run of a method in a group, of the code with most seeds, on ties the last to end."""
    hindered = grouping.obstacles(group)
    codes: dict[str, list[RunSummary]] = {}
    for run in group:
        if run.method == method and run.options == options and run.id not in hindered:
            codes.setdefault(run.code, []).append(run)
    if not codes:
        return {}
    kept = [grouping.latest(those) for those in codes.values()]
    most = max(kept, key=lambda those: (len(those), max(run.ended for run in those)))
    return {run.seed: run for run in most}


@dataclass(frozen=True)
class _Pairs:
    """The paired effects of one claim in one group of comparable records."""

    effects: Mapping[int, float]
    """Seed -> effect, seeds in order."""
    records: Mapping[int, tuple[str, ...]]
    """Seed -> ids."""
    parts: tuple[str, ...]

    def until(self, last: int) -> list[float] | None:
        """Return the effects of seeds 1 to ``last``; None unless all are there."""
        seeds = range(1, last + 1)
        return [self.effects[seed] for seed in seeds] if self.effects.keys() >= set(seeds) else None


def _pairs(claim: Claim, group: Sequence[RunSummary]) -> _Pairs | None:
    """Return the paired effects in a group; None if it has no run of the claim's methods."""
    ours = _runs(group, claim.method, claim.method_options)
    theirs = _runs(group, claim.against, claim.against_options) if claim.against else ours
    if not ours and not theirs:
        return None
    figure = claim.measure, claim.limit
    figures: dict[int, tuple[MeasuredFigure, MeasuredFigure]] = {}
    for seed in sorted(set(ours) & set(theirs)):
        a = (ours[seed].measured or {}).get(figure)
        b = (theirs[seed].measured or {}).get(figure) if claim.against else 0.0
        if a is not None and b is not None:
            figures[seed] = a, b
    parts = _parts([figure for pair in figures.values() for figure in pair])
    effects: dict[int, float] = {}
    for seed, pair in figures.items():
        x, y = (_mean(figure, parts) for figure in pair)
        if x is not None and y is not None:
            effects[seed] = x - y
    both = (ours, theirs) if claim.against else (ours,)
    return _Pairs(effects, {seed: tuple(runs[seed].id for runs in both) for seed in effects}, parts)


def in_group(family: Sequence[Claim], group: Sequence[RunSummary]) -> dict[str, Evidence]:
    """Judge a family of claims in one group of comparable records.

    Args:
        family: all claims that are corrected together.
        group: runs of one group of ``grouping.groups``, with what the claims ``measured`` in them.

    Returns:
        Claim's id -> evidence, for the claims of which the group has runs and whose conditions it meets.
    """
    pairs: dict[str, _Pairs] = {}
    for claim in family:
        if not _unfit(claim, group[0]) and (paired := _pairs(claim, group)) is not None:
            pairs[claim.id] = paired
    evidence: dict[str, Evidence] = {}
    for claim in family:
        if claim.id in pairs:
            evidence[claim.id] = _untested(claim, group[0], pairs[claim.id])
    for look, (times, level) in enumerate(LOOKS, 1):
        tests: dict[str, tuple[float | None, str]] = {}
        for claim in family:
            if claim.id in pairs and (effects := pairs[claim.id].until(times * claim.n)) is not None:
                tests[claim.id] = compare_with_margin(claim, effects)
        # A claim without its seeds has p = 1: the family is the registered one, whatever has been run.
        corrected = intervals.holm({c.id: _or_one(tests[c.id][0]) if c.id in tests else 1.0 for c in family})
        for name, (p, verdict) in tests.items():
            if evidence[name].verdict in (NOT_TESTED, UNDECIDED):
                claim = next(claim for claim in family if claim.id == name)
                seeds, why = range(1, times * claim.n + 1), "not tested, as its effects do not vary"
                if p is not None:
                    among = f" after Holm over {len(family)} claims" if len(family) > 1 else ""
                    side = "below" if corrected[name] < level else "not below"
                    why = f"p {p_text(corrected[name])}{among} is {side} {level:g}, look {look} of"
                    why += f" {len(LOOKS)}, seeds 1 to {seeds[-1]}"
                verdict = verdict if p is not None and corrected[name] < level else UNDECIDED
                evidence[name] = _evidence(
                    group[0],
                    pairs[name],
                    seeds,
                    verdict=verdict,
                    why=why,
                    p=p,
                    p_holm=None if p is None else corrected[name],
                    looks=look,
                )
    return evidence


def _or_one(p: float | None) -> float:
    return 1.0 if p is None else p


def _untested(claim: Claim, run: RunSummary, pairs: _Pairs) -> Evidence:
    """Return evidence on a claim whose first look has not been reached."""
    seeds = [seed for seed in pairs.effects if seed <= claim.n]
    why = f"{len(seeds)} of {claim.n} paired seeds"
    if not pairs.effects:
        why += " with what this claim needs"
    return _evidence(run, pairs, seeds, verdict=NOT_TESTED, why=why)


def _evidence(
    run: RunSummary,
    pairs: _Pairs,
    seeds: Iterable[int],
    *,
    verdict: str,
    why: str,
    p: float | None = None,
    p_holm: float | None = None,
    looks: int = 0,
) -> Evidence:
    """Return the evidence of these seeds, with the t-interval of their effects."""
    counted = tuple(seeds)
    facts = run.facts
    profile, allowance = facts["profile"], facts.get("budget.tokens", "?")
    where = f"{profile}, {allowance} tokens, settings {facts['settings_sha256']}"
    if not counted:
        return Evidence(where, profile, (), None, None, None, None, verdict, why, (), pairs.parts)
    interval = intervals.t_interval([pairs.effects[seed] for seed in counted])
    used = tuple(name for seed in counted for name in pairs.records[seed])
    return Evidence(
        where, profile, counted, interval.mean, interval.low, interval.high, p, verdict, why, used,
        pairs.parts, p_holm, looks,
    )  # fmt: skip


def _parts(figures: Iterable[MeasuredFigure]) -> tuple[str, ...]:
    """Return the parts that all figures with parts share."""
    parts = [set(figure) for figure in figures if isinstance(figure, Mapping)]
    return tuple(sorted(set.intersection(*parts))) if parts else ()


def _mean(figure: MeasuredFigure, parts: Sequence[str]) -> float | None:
    if not isinstance(figure, Mapping):
        return figure
    return sum(figure[part] for part in parts) / len(parts) if parts else None


def _unfit(claim: Claim, run: RunSummary) -> str:
    """Return the reason why runs like this one do not count; empty if they do."""
    profile = run.facts["profile"]
    if profile not in claim.profiles:
        return f"profile {sanitize(profile, 80)} is not among those of the claim"
    least = claim.profiles[profile]
    if run.tokens is not None and run.tokens < least:
        return f"allowance of {run.tokens:,.10g} tokens on {profile}, below {least:,.10g}"
    return ""


def _judged_family(
    family: Sequence[Claim], groups: Sequence[Sequence[RunSummary]]
) -> dict[str, ClaimVerdict]:
    """Return the verdict on each claim of a family, by its id."""
    judged = [in_group(family, group) for group in groups]
    order = {profile: place for claim in reversed(family) for place, profile in enumerate(claim.profiles)}

    def weight(evidence: Mapping[str, Evidence]) -> tuple[int, int, int]:
        seeds = [len(entry.seeds) for entry in evidence.values()]
        tested = sum(entry.verdict != NOT_TESTED for entry in evidence.values())
        return tested, sum(seeds), -min(order[entry.profile] for entry in evidence.values())

    # Chosen by what was run, never by what it shows.
    weighed = sorted((evidence for evidence in judged if evidence), key=weight, reverse=True)
    verdicts: dict[str, ClaimVerdict] = {}
    for claim in family:
        reasons = (_unfit(claim, group[0]) for group in groups if _pairs(claim, group) is not None)
        unfit = tuple(dict.fromkeys(why for why in reasons if why))
        evidence = tuple(of[claim.id] for of in weighed if claim.id in of)
        decides = weighed[0].get(claim.id) if weighed else None
        profile = next(iter(weighed[0].values())).profile if weighed else next(iter(claim.profiles))
        verdicts[claim.id] = _verdict(claim, profile, decides, evidence, unfit)
    return verdicts


def _verdict(
    claim: Claim,
    profile: str,
    decides: Evidence | None,
    evidence: tuple[Evidence, ...],
    left_out: tuple[str, ...],
) -> ClaimVerdict:
    """Return the verdict on one claim, from the evidence of the deciding group and of all groups.

    Args:
        claim: of a family.
        profile: of the deciding group, else the one that the claim names first.
        decides: of the deciding group; None where it has no runs of the claim's methods.
        evidence: of all groups.
        left_out: why other groups do not count.
    """
    if decides is None:
        why = "no records of its methods" + (f" on {profile}, which decides its family" if evidence else "")
        command = command_for(claim, profile, claim.n)
        return ClaimVerdict(claim, NOT_TESTED, why, evidence=evidence, left_out=left_out, command=command)
    verdict, why, command = decides.verdict, decides.why, ""
    if len({entry.verdict for entry in evidence} - {UNDECIDED, NOT_TESTED}) > 1:
        verdict, why = UNDECIDED, "the groups of records contradict one another"
    else:
        if len(evidence) > 1 and decides.looks:
            why += f" ({decides.profile} decides, of {len(evidence)} groups of records)"
        if verdict in (NOT_TESTED, UNDECIDED) and decides.looks < len(LOOKS):
            command = command_for(claim, profile, LOOKS[decides.looks][0] * claim.n)
    return ClaimVerdict(
        claim,
        verdict,
        why,
        effect=decides.effect,
        low=decides.low,
        high=decides.high,
        n=len(decides.seeds),
        records=decides.records,
        evidence=evidence,
        left_out=left_out,
        command=command,
    )


Key = tuple[str, str, str, str]
"""A line of a table's comparisons: label of the method, of the baseline, compared figure, limit."""


def compared(group: Sequence[RunSummary], named: Mapping[str, str]) -> dict[Key, tuple[str, Evidence]]:
    """Return the comparisons of a group that claims have tested: its line -> verdict in words, and evidence.

    Args:
        group: runs of one table, with what the claims ``measured`` in them.
        named: record id -> label in the table.
    """
    lines: dict[Key, tuple[str, Evidence]] = {}
    for (_, task, tier), family in families().items():
        if (task, tier) != (group[0].facts["task"], group[0].facts["tier"]):
            continue
        evidence = in_group(family, group)
        for claim in family:
            shared = claim.measure == "quality" and claim.against and claim.limit
            if shared and not claim.margin and claim.id in evidence and evidence[claim.id].looks:
                judged = evidence[claim.id]
                ours, theirs = (named.get(name, "") for name in judged.records[:2])
                words = f"{ClaimVerdict(claim, judged.verdict, judged.why).words} (claim {claim.id})"
                lines[ours, theirs, "quality", str(selection.Limit(1, claim.limit or 0.0))] = words, judged
    return lines


def command_for(claim: Claim, profile: str, seeds: int) -> str:
    """Return the commands that produce the records of ``seeds`` seeds on a machine of that profile.

    One method with two sets of options takes two commands.
    """
    arms = [(claim.method, claim.method_options)]
    arms += [(claim.against, claim.against_options)] if claim.against else []
    together = [arms] if claim.method != claim.against else [[arm] for arm in arms]
    commands = []
    for methods in together:
        words = ["supernet-bench", "run", claim.suite, "--task", claim.task, "--tier", claim.tier]
        words += ["--profile", profile, "--methods", ",".join(name for name, _ in methods)]
        for name, options in methods:
            for key, value in options.items():
                words += ["--option", f"{name}.{key}={value}"]
        commands.append(shlex.join([*words, "--seeds", str(seeds)]))
    return " && ".join(commands)


def measured(record: Record, of: Sequence[Claim] | None = None) -> run_summary.Measured | None:
    """Return the figures of a record that claims (default: all) are about; None if no claim is about it.

    A run with a network that has not learnt (``selection.has_learnt``) has no figure.
    """
    spec = record["spec"]
    registered = (
        _registered_on(spec["task"], spec["tier"]) if of is None else _on(of, spec["task"], spec["tier"])
    )
    about = [claim for claim in registered if spec["method"] in (claim.method, claim.against)]
    if not about:
        return None
    measures = {(claim.measure, claim.limit) for claim in about}
    ranked = all(map(selection.has_learnt, record["candidates"]))
    return {(name, limit): MEASURES[name](record, limit) if ranked else None for name, limit in measures}


@lru_cache(maxsize=256)
def _registered_on(task: str, tier: str) -> list[Claim]:
    return _on(claims(), task, tier)


def _on(of: Iterable[Claim], task: str, tier: str) -> list[Claim]:
    """Return the claims that records of a task and tier test."""
    return [claim for claim in of if not claim.untested and (claim.task, claim.tier) == (task, tier)]


def judge(
    records: Iterable[Record], of: Sequence[Claim] | None = None, studies: Mapping[str, Study] | None = None
) -> list[ClaimVerdict]:
    """Return a verdict on every claim (default: all of ``claims.toml``), in their order.

    Pure: the same records in any order give the same verdicts. Texts of records reach a verdict only
    through ``grouping.facts`` and ``text.sanitize``; escape them for their destination.
    """
    figures = ((record, measured(record, of)) for record in records)
    return judge_runs(
        [run_summary.summarize(r, keep=False, measured=m) for r, m in figures if m is not None], of, studies
    )


def judge_runs(
    runs: Iterable[RunSummary], of: Sequence[Claim] | None = None, studies: Mapping[str, Study] | None = None
) -> list[ClaimVerdict]:
    """Return the verdicts of ``judge`` from summaries that hold the figures ``measured`` for the claims."""
    asked = claims() if of is None else of
    relevant: dict[tuple[str, str], list[RunSummary]] = {}
    for run in runs:
        relevant.setdefault((run.facts["task"], run.facts["tier"]), []).append(run)
    grouped = {place: grouping.groups(of_place) for place, of_place in relevant.items()}
    verdicts: dict[str, ClaimVerdict] = {}
    for (_, task, tier), family in families(asked).items():
        verdicts |= _judged_family(family, grouped.get((task, tier), []))
    for claim in asked:
        if claim.untested:
            verdicts[claim.id] = ClaimVerdict(claim, NOT_TESTED, claim.untested)
        elif claim.study:
            verdicts[claim.id] = claim_studies.judge(claim, studies or {})
    return [verdicts[claim.id] for claim in asked]


def families(of: Sequence[Claim] | None = None) -> dict[tuple[str, str, str], list[Claim]]:
    """Return the families of claims on records that some design tests."""
    apart: dict[tuple[str, str, str], list[Claim]] = {}
    for claim in claims() if of is None else of:
        if claim.task and not claim.untested:
            apart.setdefault(claim.family, []).append(claim)
    return apart
