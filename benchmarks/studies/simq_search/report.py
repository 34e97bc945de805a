"""The outcome of ``simq_search``: comparisons over supernets, tables, notes and facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.records.studies import Outcome
from benchmarks.registry import arena
from benchmarks.stats import intervals
from benchmarks.studies.simq_search import plot
from benchmarks.studies.simq_search.study import (
    ARMS,
    COMPARISONS,
    MARGIN,
    OBJECTIVES,
    REACHED,
    RULE,
    Judged,
    Plan,
)

More = Mapping[str, Mapping[str, float]]
"""Table -> difference that more predictions make -> points."""


@dataclass(frozen=True)
class Group:
    """The cases of one question, a supernet each.

    Attributes:
        name: ``all``, with objectives and alphabet where they are not the first ones.
    """

    name: str
    cases: tuple[Judged, ...]

    def mean(self, arm: str, at: int) -> list[float]:
        """Return the mean share over seeds of each supernet."""
        return [float(case.shares[arm][:, at].mean()) for case in self.cases]


@dataclass(frozen=True)
class Compared:
    """One of ``COMPARISONS`` over supernets.

    Attributes:
        values: mean difference of each supernet.
        families: the same, averaged over each family's supernets.
        p: Student's t-test, after Holm over the comparisons of the question; None where it cannot be made.
    """

    ours: str
    theirs: str
    values: tuple[float, ...]
    families: Mapping[str, float]
    p: float | None
    verdict: str


def groups(judged: Sequence[Judged]) -> list[Group]:
    """Gather the cases of each question."""
    asked = dict.fromkeys((one.case.objectives, one.case.alphabet) for one in judged)
    found = []
    for objectives, alphabet in asked:
        cases = tuple(
            one for one in judged if (one.case.objectives, one.case.alphabet) == (objectives, alphabet)
        )
        if alphabet:
            # Tables that have no other precision are cases of the paper's alphabet as they are.
            plain = [one for one in judged if one.case.objectives == objectives and not one.case.alphabet]
            cases += tuple(one for one in plain if set(one.uniform) == set(alphabet))
        found.append(Group(_name("all", objectives, alphabet), cases))
    return found


def _name(name: str, objectives: tuple[str, ...], alphabet: tuple[str, ...]) -> str:
    parts = [", ".join(objectives)] if objectives != OBJECTIVES[0] else []
    parts += ["int8 and fp32"] if alphabet else []
    return ", ".join([name, *parts])


def compare(group: Group, plan: Plan) -> list[Compared]:
    """Return those comparisons of which both searches ran in every case of the group."""
    at = plan.budgets.index(plan.decides)
    arms = set.intersection(*(set(case.shares) for case in group.cases))
    values = {
        (a, b): np.array(group.mean(a, at)) - np.array(group.mean(b, at))
        for a, b in COMPARISONS
        if {a, b} <= arms
    }
    raw = {f"{a}|{b}": p for (a, b), v in values.items() if (p := t_test(v.tolist())) is not None}
    adjusted = intervals.holm(raw)
    families = [case.family for case in group.cases]
    found = []
    for (a, b), v in values.items():
        p = adjusted.get(f"{a}|{b}")
        within = {name: float(np.mean([x for x, f in zip(v, families, strict=True) if f == name]))
                  for name in dict.fromkeys(families)}  # fmt: skip
        verdict = "significant" if p is not None and p < intervals.ALPHA else "no difference shown"
        if p is None:
            few = len(v) < intervals.SIGNIFICANT_FROM
            verdict = "not tested" + (f": {len(v)} of {intervals.SIGNIFICANT_FROM} supernets" if few else "")
        found.append(Compared(a, b, tuple(v.tolist()), within, p, verdict))
    return found


def t_test(values: Sequence[float]) -> float | None:
    """Return the two-sided p of Student's test that the mean is zero; None where nothing varies."""
    from scipy.stats import ttest_1samp

    if len(values) < intervals.SIGNIFICANT_FROM or np.ptp(values) == 0:
        return None
    return float(ttest_1samp(values, 0.0).pvalue)


def paired(judged: Sequence[Judged], plan: Plan) -> dict[str, Any]:
    """Return the figures for claims: ``NAME: OURS - THEIRS`` -> one value a supernet.

    The name is ``all`` or a family. ``uniform-int8`` is no search: it is the share that all points in that
    precision have together, ``best uniform`` the greatest such share of any precision.
    """
    at = plan.budgets.index(plan.decides)
    found: dict[str, Any] = {}

    def put(key: str, values: Sequence[float], p: float | None = None) -> None:
        found[key] = {"values": [round(x, 6) for x in values], "unit": "share of hypervolume"}
        if p is not None:
            found[key]["p"] = float(f"{p:.6g}")

    for group in groups(judged):
        for one in compare(group, plan):
            put(f"{group.name}: {one.ours} - {one.theirs}", one.values, one.p)
        if "linas" not in set.intersection(*(set(case.shares) for case in group.cases)):
            continue
        against = {
            "uniform-int8": [case.uniform["int8"] for case in group.cases],
            "best uniform": [max(case.uniform.values()) for case in group.cases],
        }
        for theirs, shares in against.items():
            values = np.array(group.mean("linas", at)) - np.array(shares)
            put(f"{group.name}: linas - {theirs}", values.tolist())
            for family in dict.fromkeys(case.family for case in group.cases):
                mine = [
                    x for x, case in zip(values.tolist(), group.cases, strict=True) if case.family == family
                ]
                put(f"{group.name.replace('all', family, 1)}: linas - {theirs}", mine)
    return {
        key: entry for key, entry in found.items()
        if len(entry["values"]) == 1 or len(set(entry["values"])) > 1
    }  # fmt: skip


def outcome(judged: Sequence[Judged], more: More, plan: Plan) -> Outcome:
    """Return the study's outcome."""
    asked = groups(judged)
    compared = {group.name: compare(group, plan) for group in asked}
    paths = [
        one.case.path for one in judged if not one.case.alphabet and one.case.objectives == OBJECTIVES[0]
    ]
    place = arena()
    facts = {
        "study": "simq-search", "rule": RULE, "objectives": list(map(list, OBJECTIVES)), "margin": MARGIN,
        "seeds": plan.seeds, "budgets": list(plan.budgets), "decides": plan.decides, "inner": plan.inner,
        "arms": {name: {**vars(arm), "first_batch": plan.first_batch(name)} for name, arm in ARMS.items()},
        "latencies": {place.head(path)["name"]: place.latency(path) for path in paths},
        "tables": [_facts(one) for one in judged],
        "supernets": {
            group.name: {
                "tables": [case.head["name"] for case in group.cases],
                "means": {
                    arm: [_ends(group.mean(arm, at)) for at in range(len(plan.budgets))]
                    for arm in _arms(group)
                },
                "comparisons": [_comparison(one) for one in compared[group.name]],
            }
            for group in asked
        },
        "inner_full": plan.full, "full_seeds": plan.full_seeds,
        "with_inner_full": {
            table: {key: round(value, 6) for key, value in values.items()} for table, values in more.items()
        },
        "paired": paired(judged, plan),
    }  # fmt: skip
    return Outcome(
        title="Which search of architecture and precision finds most?",
        question="Loss and bytes of every network of a closed space were measured once, and its latency was"
        " predicted; how much of the true front's hypervolume does each search find with how many"
        " measurements?",
        rule=RULE,
        columns=("table", "search", *(f"after {b}, %" for b in plan.budgets), "held out, %", "to 95 %"),
        rows=[*(row for group in asked for row in _means(group, plan)),
              *(row for one in judged for row in _rows(one, plan))],
        notes=[*_about(judged, plan, [place.latency(path) for path in paths]),
               *_verdicts(asked, compared, plan), *_more(more, plan)],
        facts=facts,
        pictures=plot.pictures([one for one in judged if not one.case.alphabet], plan),
    )  # fmt: skip


def _arms(group: Group) -> list[str]:
    arms = set.intersection(*(set(case.shares) for case in group.cases))
    return [name for name in ARMS if name in arms]


def percent(values: Sequence[float], signed: bool = False) -> str:
    """Return the mean of ``values`` in per cent, with a 95 % t-interval where two or more of them vary."""
    interval, sign = intervals.t_interval(values), "+" if signed else ""
    if interval.low is None or interval.high is None or np.ptp(values) == 0:
        return f"{100 * interval.mean:{sign}.1f}"
    form = sign + (".2f" if interval.high - interval.low < 0.002 else ".1f")
    high = interval.high if signed else min(interval.high, 1.0)
    return f"{100 * interval.mean:{form}} [{100 * interval.low:{form}}, {100 * high:{form}}]"


def _means(group: Group, plan: Plan) -> Iterator[tuple[str, ...]]:
    arms = sorted(_arms(group), key=lambda arm: -float(np.mean(group.mean(arm, -1))))
    name = f"{len(group.cases)} supernets" + group.name.removeprefix("all")
    for arm in arms:
        cells = [percent(group.mean(arm, at)) for at in range(len(plan.budgets))]
        cells = [_random(cell, arm, b, plan) for cell, b in zip(cells, plan.budgets, strict=True)]
        held = float(np.mean([case.held[arm].mean() for case in group.cases]))
        yield (name, arm, *cells, f"{100 * held:.1f}", "")


def _random(cell: str, arm: str, budget: int, plan: Plan) -> str:
    """Return a cell, marked where the search has taken nothing but its first batch, which is random."""
    alone = ARMS[arm].searcher != "random-joint" and budget <= plan.first_batch(arm)
    return f"{cell} (random)" if alone else cell


def _rows(judged: Judged, plan: Plan) -> list[tuple[str, ...]]:
    last = max(plan.budgets)
    order = sorted(judged.shares, key=lambda name: -float(judged.shares[name][:, -1].mean()))
    found = []
    for name in order:
        times = sorted(
            int(np.argmax(curve >= REACHED)) + 1 if (curve >= REACHED).any() else last + 1
            for curve in judged.curves[name]
        )
        middle = times[(len(times) - 1) // 2]
        cells = [
            _random(_spread(column), name, budget, plan)
            for column, budget in zip(judged.shares[name].T, plan.budgets, strict=True)
        ]
        held = f"{100 * float(judged.held[name].mean()):.1f}"
        found.append((judged.name, name, *cells, held, f"> {last}" if middle > last else str(middle)))
    return found


def _spread(column: Any) -> str:
    """Return the mean over seeds, with the lowest and the highest seed where they differ in print."""
    low, high = f"{100 * column.min():.1f}", f"{100 * column.max():.1f}"
    return f"{100 * column.mean():.1f}" + (f" ({low} to {high})" if low != high else "")


def _about(judged: Sequence[Judged], plan: Plan, latencies: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = [
        "Share of the true front's hypervolume of loss and bytes, or of what is named. Rows of supernets:"
        f" mean over supernets, each the mean of {plan.seeds} search seeds, with a 95 % t-interval over"
        " supernets. Rows of a table: mean over seeds (lowest to highest seed). Items are not resampled:"
        " tables hold sums over items.",
        f"Reference point: the worst of the true front, {MARGIN:.0%} of its range beyond it. Held out: the"
        " last front's, with losses over data that no search saw, of the front of those losses. To 95 %:"
        " evaluations, median over seeds (the lower of the middle two).",
        "(random): all of these evaluations are the search's first batch, which is random in every search.",
        "linas counts bytes, and takes the table's latencies as they are; it predicts the loss alone. Bytes"
        " predicted: it learns them from measured points, as the public code does and as linas did in earlier"
        " versions of this study. Bayesian optimisation counts them too.",
        "linas-as-published: the public code on pymoo since 0.6.1, with its whole grid of predictors.",
        "A sequential search spends half of its evaluations on each half of the genes, in batches of 25: each"
        " of its figures is that of a search with just that budget; the picture has the one of the largest,"
        " under way.",
        "The spaces are small: 22,608 to 24,000 points, one precision a layer or block. The paper's have"
        " 10**35 points and more, one precision a linear layer.",
        "No table of residual networks is searched for latency: its INT8 convolutions take their ranges from"
        " each input, which no deployment does and which takes longer than fp32. What stood here of them is"
        " withdrawn until INT8 is static.",
        "Latencies of w4 layers were fitted to kernels with float32 sums (accuracy_level 1), which are slower"
        " than those that exports have now: what w4 is worth in latency is understated.",
    ]
    notes += [
        f"{one['table']}: latency is predicted by an operator table, in units of the largest network in"
        f" fp32; median error {100 * one['median_error']:.1f} % over {one['held_out']} policies that"
        f" were measured and not fitted ({one['signature']})."
        for one in latencies
        if one
    ]
    for one in judged:
        told = "; ".join(f"{precision} {100 * share:.1f}" for precision, share in one.uniform.items())
        notes.append(
            f"{one.name}: the front of one precision everywhere has, in % of the true front: {told}."
        )
    return notes


def _verdicts(
    asked: Sequence[Group], compared: Mapping[str, Sequence[Compared]], plan: Plan
) -> Iterator[str]:
    for group in asked:
        for one in compared[group.name]:
            families = ", ".join(f"{name} {100 * value:+.1f}" for name, value in one.families.items())
            p = "" if one.p is None else f"p {one.p:.3g}, "
            yield (
                f"{group.name}: {one.ours} minus {one.theirs} after {plan.decides}:"
                f" {percent(one.values, signed=True)} over {len(one.values)} supernets"
                f" ({p}{one.verdict}); positive on {sum(v > 0 for v in one.values)}. By family: {families}."
            )
        at = plan.budgets.index(plan.decides)
        if "linas" in _arms(group):
            best = [max(case.uniform.values()) for case in group.cases]
            left = [1 - share for share in best]
            gain = (np.array(group.mean("linas", at)) - np.array(best)).tolist()
            yield (
                f"{group.name}: linas minus the best uniform precision after {plan.decides}:"
                f" {percent(gain, signed=True)} over {len(gain)} supernets. A perfect search gains"
                f" {100 * min(left):.1f} to {100 * max(left):.1f}, on average"
                f" {100 * float(np.mean(left)):.1f}."
            )


def _more(more: More, plan: Plan) -> Iterator[str]:
    keys = dict.fromkeys(key for values in more.values() for key in values)
    for key in keys:
        values = [values[key] for values in more.values()]
        yield (
            f"{key} between two batches, after {plan.decides}: {percent(values, signed=True)} over"
            f" {len(values)} supernets, search seeds of each: {min(plan.seeds, plan.full_seeds)}."
        )


def _facts(judged: Judged) -> dict[str, Any]:
    kept = ("name", "task", "commit", "recipe", "points", "weights_sha256", "validation", "device")
    return {
        "table": {key: judged.head[key] for key in kept if key in judged.head},
        "family": judged.family,
        "objectives": list(judged.case.objectives),
        "alphabet": list(judged.case.alphabet or judged.uniform),
        "shares": {name: np.round(shares, 6).tolist() for name, shares in judged.shares.items()},
        "held_out": {name: np.round(shares, 6).tolist() for name, shares in judged.held.items()},
        "uniform": {name: float(f"{share:.6g}") for name, share in judged.uniform.items()},
    }


def _comparison(one: Compared) -> dict[str, Any]:
    return {
        "ours": one.ours, "theirs": one.theirs, "p_holm": None if one.p is None else float(f"{one.p:.6g}"),
        "verdict": one.verdict, "difference": _ends(one.values),
        "families": {name: round(value, 6) for name, value in one.families.items()},
    }  # fmt: skip


def _ends(values: Sequence[float]) -> list[float | None]:
    """Return mean, lower and upper end of the t-interval over ``values``, to six digits."""
    interval = intervals.t_interval(values)
    if np.ptp(values) == 0:
        return [round(interval.mean, 6), None, None]
    return [None if x is None else round(x, 6) for x in (interval.mean, interval.low, interval.high)]
