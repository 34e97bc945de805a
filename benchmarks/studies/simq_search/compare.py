"""Compare searches over supernets: Student's t-tests with Holm's correction, and figures for claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.records.study_files import ClaimFigure
from benchmarks.stats import intervals
from benchmarks.stats.rounding import six_digits
from benchmarks.studies.simq_search.plan import ADDED, COMPARISONS, OBJECTIVES, SearchPlan
from benchmarks.studies.simq_search.score import CaseResult


@dataclass(frozen=True)
class Group:
    """Results with the same objectives and alphabet, one a supernet.

    Attributes:
        name: ``all``, with objectives and alphabet if they are not the first ones.
    """

    name: str
    cases: tuple[CaseResult, ...]

    @property
    def arms(self) -> set[str]:
        """Arms that ran on every case."""
        return set.intersection(*(set(case.shares) for case in self.cases))

    def mean(self, arm: str, at: int) -> list[float]:
        """Return the mean share over seeds of each supernet, after budget number ``at``."""
        return [float(case.shares[arm][:, at].mean()) for case in self.cases]

    def held(self, arm: str) -> list[float]:
        """Return the mean held-out share over seeds of each supernet, after the last budget."""
        return [float(case.held[arm].mean()) for case in self.cases]

    def with_added(self) -> Group:
        """Return the group of its cases that have ``ADDED`` among their precisions."""
        return Group(f"{self.name}, {ADDED}", tuple(case for case in self.cases if ADDED in case.uniform))


@dataclass(frozen=True)
class Comparison:
    """One of ``COMPARISONS`` over supernets.

    Attributes:
        values: mean difference of each supernet.
        held: the same with the losses of the held-out data, after the last budget.
        families: family -> mean of ``values`` over its supernets.
        p: of Student's t-test, after Holm over the comparisons of the group; None if it cannot be made.
    """

    ours: str
    theirs: str
    values: tuple[float, ...]
    held: tuple[float, ...]
    families: Mapping[str, float]
    p: float | None
    verdict: str


def group_results(results: Sequence[CaseResult]) -> list[Group]:
    """Group results by objectives and alphabet."""
    problems = dict.fromkeys((result.case.objectives, result.case.alphabet) for result in results)
    groups = []
    for objectives, alphabet in problems:
        cases = tuple(
            result
            for result in results
            if (result.case.objectives, result.case.alphabet) == (objectives, alphabet)
        )
        if alphabet:
            # Tables that have no other precision are cases of the paper's alphabet as they are.
            plain = [r for r in results if r.case.objectives == objectives and not r.case.alphabet]
            cases += tuple(result for result in plain if set(result.uniform) == set(alphabet))
        groups.append(Group(_group_name(objectives, alphabet), cases))
    return groups


def _group_name(objectives: tuple[str, ...], alphabet: tuple[str, ...]) -> str:
    parts = [", ".join(objectives)] if objectives != OBJECTIVES[0] else []
    parts += ["int8 and fp32"] if alphabet else []
    return ", ".join(["all", *parts])


def compare(group: Group, plan: SearchPlan) -> list[Comparison]:
    """Return the ``COMPARISONS`` whose arms both ran on every case of the group."""
    at = plan.budgets.index(plan.decides)
    differences = {
        (a, b): np.array(group.mean(a, at)) - np.array(group.mean(b, at))
        for a, b in COMPARISONS
        if {a, b} <= group.arms
    }
    raw = {f"{a}|{b}": p for (a, b), v in differences.items() if (p := t_test(v.tolist())) is not None}
    adjusted = intervals.holm(raw)
    families = [case.family for case in group.cases]
    comparisons = []
    for (a, b), values in differences.items():
        p = adjusted.get(f"{a}|{b}")
        within = {
            name: float(np.mean([x for x, f in zip(values, families, strict=True) if f == name]))
            for name in dict.fromkeys(families)
        }
        verdict = "significant" if p is not None and p < intervals.ALPHA else "no difference shown"
        if p is None:
            few = len(values) < intervals.SIGNIFICANT_FROM
            verdict = "not tested"
            verdict += f": {len(values)} of {intervals.SIGNIFICANT_FROM} supernets" if few else ""
        held = np.array(group.held(a)) - np.array(group.held(b))
        comparisons.append(Comparison(a, b, tuple(values.tolist()), tuple(held.tolist()), within, p, verdict))
    return comparisons


def gains_over_uniform(group: Group, arm: str, at: int) -> tuple[list[float], list[float]]:
    """Return an arm's share minus that of the best uniform precision, and the same on held-out items.

    One value a supernet; the precision is the best one on the search's own items, for both.
    """
    ours = zip(group.mean(arm, at), group.held(arm), group.cases, strict=True)
    pairs = [
        (share - case.uniform[case.best_uniform], held - case.held_uniform[case.best_uniform])
        for share, held, case in ours
    ]
    return [own for own, _ in pairs], [held for _, held in pairs]


def t_test(values: Sequence[float]) -> float | None:
    """Return the two-sided p of Student's test of a zero mean; None for few or equal values."""
    from scipy.stats import ttest_1samp

    if len(values) < intervals.SIGNIFICANT_FROM or np.ptp(values) == 0:
        return None
    return float(ttest_1samp(values, 0.0).pvalue)


def paired_figures(results: Sequence[CaseResult], plan: SearchPlan) -> dict[str, ClaimFigure]:
    """Return the figures for claims: ``NAME: OURS - THEIRS`` -> one value a supernet.

    The name is ``all`` or a family. ``uniform-int8`` is no search: it is the share that all points in that
    precision have together; ``best uniform`` is the greatest such share of any precision.
    """
    at = plan.budgets.index(plan.decides)
    figures: dict[str, ClaimFigure] = {}

    def put(key: str, values: Sequence[float], p: float | None = None) -> None:
        figures[key] = {"values": [round(x, 6) for x in values], "unit": "share of hypervolume"}
        if p is not None:
            figures[key]["p"] = six_digits(p)

    for group in group_results(results):
        for comparison in compare(group, plan):
            key = f"{group.name}: {comparison.ours} - {comparison.theirs}"
            put(key, comparison.values, comparison.p)
        if "linas" not in group.arms:
            continue
        baselines = {
            "uniform-int8": [case.uniform["int8"] for case in group.cases],
            "best uniform": [max(case.uniform.values()) for case in group.cases],
        }
        families = [case.family for case in group.cases]
        added = group.with_added()
        if added.cases:
            put(f"{added.name}: linas - best uniform", gains_over_uniform(added, "linas", at)[0])
        for theirs, shares in baselines.items():
            values = (np.array(group.mean("linas", at)) - np.array(shares)).tolist()
            put(f"{group.name}: linas - {theirs}", values)
            for family in dict.fromkeys(families):
                of_family = [x for x, name in zip(values, families, strict=True) if name == family]
                put(f"{group.name.replace('all', family, 1)}: linas - {theirs}", of_family)
    return {
        key: figure
        for key, figure in figures.items()
        if len(figure["values"]) == 1 or len(set(figure["values"])) > 1
    }
