"""The papers' claims as hypotheses over records: supported, refuted or undecided. Imports no torch.

The rule, for each claim of ``claims.toml``:

1. Records are apart by everything that forbids comparing them (``report.comparable.groups``: task, tier,
   profile, space, allowance, settings, data). Only declared profiles and allowances that the claim asks
   for count. Within a group each method counts with one version of its source, the one with most seeds.
2. The effect of a seed is the method's figure minus the other's, both of that seed.
3. Fewer than ``n`` paired seeds, never below ``stats.SIGNIFICANT_FROM``: undecided.
4. Else the 95 % t-interval of the mean effect decides. ``above`` a margin: supported where the whole
   interval lies above it, refuted where it lies wholly below; ``below`` the other way round; ``within``:
   supported where it lies wholly between -margin and +margin, refuted where wholly outside. Anything
   else is undecided.
5. Groups that contradict one another leave the claim undecided.

Every claim is judged by itself: nothing is corrected for the number of claims.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import stats
from benchmarks.claim_measures import MEASURES
from benchmarks.records import Record
from benchmarks.report import comparable, rows, runs
from benchmarks.report.runs import Run

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"
SIDES = ("above", "below", "within")
EXACT_UP_TO = 20


@dataclass(frozen=True)
class Claim:
    """One hypothesis; ``claims.toml`` says what each field means."""

    id: str
    paper: str
    statement: str
    figure: str
    estimand: str
    suite: str
    tier: str
    profiles: Mapping[str, float]
    claimed: str
    margin: float
    unit: str
    n: int
    task: str = ""
    """Empty: nothing can be run yet, as ``missing`` says."""
    missing: str = ""
    """What the suite lacks to judge it; empty: the suite itself is not there."""
    method: str = ""
    method_options: Mapping[str, Any] = field(default_factory=dict)
    against: str = ""
    """Empty: the figure itself is the effect."""
    against_options: Mapping[str, Any] = field(default_factory=dict)
    measure: str = ""
    limit: float | None = None
    relative: bool = False
    """The effect is method / against - 1, in per cent."""
    value: float | None = None

    def __post_init__(self) -> None:
        """Refuse a claim that could never be judged, at import of the file rather than in a table."""
        if self.n < stats.SIGNIFICANT_FROM:
            raise ValueError(f"claim {self.id}: n = {self.n}, at least {stats.SIGNIFICANT_FROM}")
        if self.claimed not in SIDES or (self.task and self.measure not in MEASURES):
            raise ValueError(f"claim {self.id}: claimed {self.claimed!r}, measure {self.measure!r}")
        if not self.profiles or (self.claimed == "within" and self.margin <= 0):
            raise ValueError(f"claim {self.id}: needs a profile, and a margin above zero where 'within'")

    @property
    def rule(self) -> str:
        """What would support it, in words."""
        where = f"within -{self.margin:g} and +{self.margin:g}"
        where = where if self.claimed == "within" else f"{self.claimed} {self.margin:g}"
        return f"95 % t-interval over {self.n} or more paired seeds wholly {where} {self.unit}"


@dataclass(frozen=True)
class Evidence:
    """What one group of comparable records says about a claim."""

    profile: str
    conditions: Mapping[str, str]
    """What all its runs have in common."""
    seeds: tuple[int, ...]
    """Paired seeds."""
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    """Exact two-sided sign-flip test of "the effect equals the margin"; None where not tested."""
    verdict: str
    why: str
    records: tuple[str, ...]
    """Ids of the records used."""


@dataclass(frozen=True)
class Verdict:
    """A claim with its verdict; ``effect``, ``low``, ``high`` and ``n`` are those of the deciding group."""

    claim: Claim
    verdict: str
    why: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    records: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    left_out: tuple[str, ...] = ()
    """Groups of records that are about this claim but do not count: why."""
    command: str = ""
    """What would produce the missing records; empty where the verdict stands or nothing can yet."""

    def to_dict(self) -> dict[str, Any]:
        """As plain data, six significant digits."""
        rounded: dict[str, Any] = _rounded(asdict(self))
        rounded["claim"]["rule"] = self.claim.rule
        return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("claims.toml").read_text("utf-8"))


@cache
def claims() -> tuple[Claim, ...]:
    """Every claim, in the order of the file."""
    found = tuple(Claim(**entry) for entry in _file()["claim"])
    if len({c.id for c in found}) != len(found) or not {c.paper for c in found} <= set(papers()):
        raise ValueError("claims.toml: two claims of one id, or a paper that is not named")
    return found


def papers() -> dict[str, str]:
    """Short name -> title and source of each paper."""
    return {name: entry["title"] for name, entry in _file()["paper"].items()}


def decide(claim: Claim, interval: stats.Interval) -> tuple[str, str]:
    """Verdict and reason, by rules 3 and 4 of this module."""
    low, high, m = interval.low, interval.high, claim.margin
    if interval.n < claim.n or low is None or high is None:
        return UNDECIDED, f"{interval.n} of {claim.n} paired seeds"
    span = f"[{low:+.2f}, {high:+.2f}] {claim.unit}"
    if claim.claimed == "within":
        if -m < low and high < m:
            return SUPPORTED, f"the interval {span} lies within {m:g} of zero"
        if high < -m or low > m:
            return REFUTED, f"the interval {span} lies wholly outside {m:g} of zero"
        return UNDECIDED, f"the interval {span} crosses the margin of {m:g}"
    above, below = low > m, high < m
    if above or below:
        held = above == (claim.claimed == "above")
        side = "above" if above else "below"
        return SUPPORTED if held else REFUTED, f"the interval {span} lies wholly {side} {m:g}"
    return UNDECIDED, f"the interval {span} holds the margin {m:g}"


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
    figure, effects, used = (claim.measure, claim.limit), {}, []
    for seed in sorted(set(ours) & set(theirs)):
        a = (ours[seed].measured or {}).get(figure)
        b = (theirs[seed].measured or {}).get(figure) if claim.against else 0.0
        if a is None or b is None or (claim.relative and b == 0):
            continue
        effects[seed] = 100 * (a / b - 1) if claim.relative else a - b
        used += [ours[seed].id] + ([theirs[seed].id] if claim.against else [])
    conditions = group[0].facts
    if not effects:
        why = f"0 of {claim.n} paired seeds with what this claim needs"
        return Evidence(conditions["profile"], conditions, (), None, None, None, None, UNDECIDED, why, ())
    values = list(effects.values())
    interval = stats.t_interval(values)
    tested = claim.claimed != "within" and stats.SIGNIFICANT_FROM <= len(values) <= EXACT_UP_TO
    p = stats.sign_flip(values, [claim.margin] * len(values)) if tested else None
    verdict, why = decide(claim, interval)
    return Evidence(
        conditions["profile"], conditions, tuple(effects), interval.mean, interval.low, interval.high, p,
        verdict, why, tuple(used),
    )  # fmt: skip


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
    if not claim.task:
        lacks = f"has no {claim.missing} yet" if claim.missing else "is not there yet"
        return Verdict(claim, UNDECIDED, f"the suite '{claim.suite}' {lacks}: nothing can be run")
    evidence, left_out = [], []
    for group in groups:
        found = _evidence(claim, group)
        unfit = _unfit(claim, group[0])
        if found is not None and unfit:
            left_out.append(unfit)
        elif found is not None:
            evidence.append(found)
    evidence.sort(key=lambda e: (e.verdict == UNDECIDED, -len(e.seeds)))
    decided = {e.verdict for e in evidence} - {UNDECIDED}
    first = evidence[0] if evidence else None
    if first is None:
        verdict, why = UNDECIDED, "no records of its methods"
    elif len(decided) > 1:
        verdict, why = UNDECIDED, "the groups of records contradict one another"
    else:
        verdict, why = first.verdict, first.why
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


def judge(records: Iterable[Record], of: Sequence[Claim] | None = None) -> list[Verdict]:
    """A verdict for every claim (default: all of ``claims.toml``), in their order.

    Pure: the same records in any order give the same verdicts. Texts of records reach a verdict only
    through ``report.comparable.facts`` and ``rows.plain``; escape them for where they go.
    """
    found = ((record, measured(record, of)) for record in records)
    return judge_runs([runs.of(r, keep=False, measured=m) for r, m in found if m is not None], of)


def judge_runs(found: Iterable[Run], of: Sequence[Claim] | None = None) -> list[Verdict]:
    """``judge`` from runs with what the same claims ``measured`` in them."""
    asked = claims() if of is None else of
    relevant: dict[tuple[str, str], list[Run]] = {}
    for run in found:
        relevant.setdefault((run.facts["task"], run.facts["tier"]), []).append(run)
    grouped = {place: comparable.groups(there) for place, there in relevant.items()}
    return [_judged(claim, grouped.get((claim.task, claim.tier), [])) for claim in asked]
