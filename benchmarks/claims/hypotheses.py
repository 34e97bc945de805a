"""Claims of papers, evidence on them, and the rule that turns an interval into a verdict.

Pure; imports no torch. ``claims`` judges claims by records, ``claim_studies`` by studies.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from benchmarks.api import OptionValues
from benchmarks.claims.measures import MEASURES
from benchmarks.records.canonical import JsonObject
from benchmarks.stats import intervals
from benchmarks.stats.rounding import six_digits_within

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"
NOT_TESTED = "not tested"
"""No design tests the claim, its first look has not been reached, or its study has too few replicates."""
SIDES = ("above", "below", "within")
QUANTIFIERS = ("every", "some")
BOUNDED = "measured candidates"
"""``replicates`` of a figure that the study bounds itself, and of which there are no replicates."""
LOOKS = ((1, 0.025), (2, 0.025))
"""Looks at a claim's records: how many times ``n`` paired seeds, and the error that the look may spend.

Together they spend ``stats.ALPHA``, whatever the dependence between looks (Bonferroni's inequality).
"""


@dataclass(frozen=True)
class Claim:
    """One hypothesis; ``claims.toml`` explains each field."""

    id: str
    paper: str
    statement: str
    figure: str
    estimand: str
    suite: str
    claimed: str
    margin: float
    unit: str
    n: int
    study: str = ""
    """Judged by this study and not by records."""
    pairs: tuple[str, ...] = ()
    """Pairs of the study; the claim must hold for each, or for some: see ``quantifier``."""
    quantifier: str = "every"
    """``some`` for an existential claim: one pair that supports it is enough, and all must refute it."""
    replicates: str = "paired seeds"
    """Replicates that an interval of the study is over; ``n`` counts them."""
    task: str = ""
    tier: str = ""
    profiles: Mapping[str, float] = field(default_factory=dict)
    method: str = ""
    method_options: OptionValues = field(default_factory=dict)
    against: str = ""
    """Empty: the figure itself is the effect."""
    against_options: OptionValues = field(default_factory=dict)
    measure: str = ""
    limit: float | None = None
    value: float | None = None
    confounded: str = ""
    """Differences between the two methods other than the one that the claim is about."""
    untested: str = ""
    """Reason why no design here tests the claim; empty where one does."""
    remark: str = ""
    """Limits of the estimand that its measurements showed; written after them, and no part of the rule."""

    def __post_init__(self) -> None:
        """Refuse a claim that could never be judged, at import of the file rather than in a table."""
        if self.n < intervals.SIGNIFICANT_FROM:
            raise ValueError(f"claim {self.id}: n = {self.n}, at least {intervals.SIGNIFICANT_FROM}")
        if self.claimed not in SIDES or (self.task and self.measure not in MEASURES):
            raise ValueError(f"claim {self.id}: claimed {self.claimed!r}, measure {self.measure!r}")
        if self.quantifier not in QUANTIFIERS:
            raise ValueError(f"claim {self.id}: quantifier {self.quantifier!r}, one of {QUANTIFIERS}")
        if self.claimed == "within" and self.margin <= 0:
            raise ValueError(f"claim {self.id}: needs a margin above zero where 'within'")
        if self.untested:
            return
        by_records, by_study = (self.task, self.tier, self.profiles), (self.study, self.pairs)
        if not (all(by_records) and not any(by_study) or all(by_study) and not any(by_records)):
            raise ValueError(f"claim {self.id}: needs a task, tier and profile, or a study and its pairs")

    @property
    def family(self) -> tuple[str, str, str]:
        """Return the common property of the claims that are corrected together."""
        return self.paper, self.task, self.tier

    @property
    def _rule_of_looks(self) -> str:
        """Return the condition that supports a claim on records, in words."""
        side = (
            f"{self.claimed} {self.margin:g}" if self.claimed != "within" else f"within {self.margin:g} of 0"
        )
        (_, first), (times, second) = LOOKS
        return (
            f"mean effect over seeds 1 to {self.n} {side} {self.unit}, t-test against the margin with p after"
            f" Holm over its family of claims below {first:g}; else once more over seeds 1 to"
            f" {times * self.n}, below {second:g}"
        )

    @property
    def rule(self) -> str:
        """Condition that supports the claim, in words."""
        if self.untested:
            return "nothing that can be run here"
        if self.task:
            return self._rule_of_looks
        where = f"within -{self.margin:g} and +{self.margin:g}"
        where = where if self.claimed == "within" else f"{self.claimed} {self.margin:g}"
        each = "each" if self.quantifier == "every" else "some"
        each = f", on {each} of {len(self.pairs)} tables" if len(self.pairs) > 1 else ""
        if self.replicates == BOUNDED:
            return f"95 % bounds over all {BOUNDED} wholly {where} {self.unit}{each}"
        return f"95 % t-interval over {self.n} or more {self.replicates} wholly {where} {self.unit}{each}"

    @property
    def form(self) -> str:
        """Format of its figures: with a sign, except for ratios; a study's are shares of one."""
        return ("" if self.unit == "ratio" else "+") + (".3f" if self.study else ".2f")


@dataclass(frozen=True)
class Evidence:
    """Evidence on a claim from one group of comparable records, or from one pair of a study."""

    where: str
    """Shared facts of the group's runs, or the study with its pair and commit."""
    profile: str
    """Profile of the runs, or the table of a study's pair."""
    seeds: tuple[int, ...]
    """Paired seeds."""
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    """p of "the effect equals the margin"; None if not tested.

    On records it is of a two-sided t-test before any correction; on a study the study's own, after its
    correction, else of the two-sided t-test against the margin after Holm over the pairs of the claim.
    """
    verdict: str
    why: str
    records: tuple[str, ...]
    """Ids of the records used."""
    parts: tuple[str, ...] = ()
    """Parts that the figures are means over; empty if they are no means."""
    p_holm: float | None = None
    """``p`` after Holm over the family of claims; None where not tested by records."""
    looks: int = 0
    """Looks taken of ``LOOKS``."""
    is_p_of_study: bool = False
    """Origin of ``p``: True where it is the study's own."""


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim with its verdict; ``effect``, ``low``, ``high`` and ``n`` are those of the deciding group. Over
    several pairs of a study there is no such figure, and ``n`` is the least."""

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
    """Command that produces the missing records; empty if the verdict stands or no command can."""

    @property
    def words(self) -> str:
        """Return the verdict as it may be quoted: with what it is confounded with, if anything."""
        if self.claim.confounded and self.verdict in (SUPPORTED, REFUTED):
            return f"{self.verdict}, confounded with {self.claim.confounded.partition(':')[0]}"
        return self.verdict

    def to_dict(self) -> JsonObject:
        """Return plain data, figures with six significant digits."""
        rounded: JsonObject = six_digits_within(asdict(self))
        rounded["verdict"] = self.words
        rounded["claim"]["rule"] = self.claim.rule
        return rounded


@cache
def _file() -> JsonObject:
    return tomllib.loads(Path(__file__).with_name("claims.toml").read_text("utf-8"))


@cache
def claims() -> tuple[Claim, ...]:
    """Return every claim, in the order of the file."""
    known = tuple(Claim(**entry | {"pairs": tuple(entry.get("pairs", ()))}) for entry in _file()["claim"])
    if len({c.id for c in known}) != len(known) or not {c.paper for c in known} <= set(papers()):
        raise ValueError("claims.toml: two claims of one id, or a paper that is not named")
    return known


def papers() -> dict[str, str]:
    """Return short name -> title and source of each paper."""
    return {name: entry["title"] for name, entry in _file()["paper"].items()}


def compare_with_margin(claim: Claim, effects: Sequence[float]) -> tuple[float | None, str]:
    """Test paired effects against the claim's margin.

    Returns:
        The two-sided p of Student's t-test (for ``within``: of the two one-sided tests, or of being outside),
        None where the effects do not vary; and the verdict on the claim if that p is small enough.
    """
    mean = sum(effects) / len(effects)
    if claim.claimed != "within":
        side = "above" if mean > claim.margin else "below"
        p = intervals.t_test([effect - claim.margin for effect in effects])
        return p, SUPPORTED if side == claim.claimed else REFUTED
    edges = [
        intervals.t_test([effect - edge for effect in effects]) for edge in (-claim.margin, claim.margin)
    ]
    nearest = max((p for p in edges if p is not None), default=None)
    return nearest, SUPPORTED if abs(mean) < claim.margin else REFUTED


def decide(claim: Claim, interval: intervals.Interval) -> tuple[str, str]:
    """Return verdict and reason of one pair of a study, by the whole of its 95 % t-interval."""
    low, high, m = interval.low, interval.high, claim.margin
    if interval.n < claim.n or low is None or high is None:
        return NOT_TESTED, f"{interval.n} of {claim.n} {claim.replicates}"
    span = f"[{low:{claim.form}}, {high:{claim.form}}] {claim.unit}"
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


def margin_test(claim: Claim, effects: Sequence[float]) -> float | None:
    """Return the two-sided p of Student's test against the margin; None if there are too few effects."""
    if claim.claimed == "within" or len(effects) < claim.n:
        return None
    return intervals.t_test([effect - claim.margin for effect in effects])
