"""Report of the study of searches: table, notes, and the facts of its JSON file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.records.study_files import StudyOutcome
from benchmarks.report.plots.style import render
from benchmarks.stats import intervals
from benchmarks.stats.rounding import six_digits
from benchmarks.studies.simq_search import plot
from benchmarks.studies.simq_search.compare import (
    Comparison,
    Group,
    compare,
    gains_over_uniform,
    group_results,
    paired_figures,
)
from benchmarks.studies.simq_search.plan import (
    ARMS,
    EXPLORATORY,
    MARGIN,
    OBJECTIVES,
    REACHED,
    RULE,
    SearchPlan,
)
from benchmarks.studies.simq_search.score import Array, CaseResult
from simq.tabular.latency import load_table

PredictionGains = Mapping[str, Mapping[str, float]]
"""Table -> comparison -> difference in shares of hypervolume that more predictions make."""


def outcome(results: Sequence[CaseResult], gains: PredictionGains, plan: SearchPlan) -> StudyOutcome:
    """Return the study's outcome."""
    groups = group_results(results)
    comparisons = {group.name: compare(group, plan) for group in groups}
    tables = [
        load_table(result.case.path)
        for result in results
        if not result.case.alphabet and result.case.objectives == OBJECTIVES[0]
    ]
    facts = {
        "study": "simq-search", "rule": RULE, "objectives": list(map(list, OBJECTIVES)), "margin": MARGIN,
        "seeds": plan.seeds, "budgets": list(plan.budgets), "decides": plan.decides, "inner": plan.inner,
        "arms": {name: {**vars(arm), "first_batch": plan.first_batch(name)} for name, arm in ARMS.items()},
        "latencies": {table.name: table.latency_model for table in tables},
        "tables": [_result_facts(result) for result in results],
        "supernets": {
            group.name: {
                "tables": [case.head["name"] for case in group.cases],
                "means": {
                    arm: [_rounded_interval(group.mean(arm, at)) for at in range(len(plan.budgets))]
                    for arm in _ordered_arms(group)
                },
                "comparisons": [_comparison_facts(comparison) for comparison in comparisons[group.name]],
                "exploratory": [
                    {"ours": ours, "theirs": theirs, "budget": budget, "difference": _rounded_interval(
                        np.subtract(group.mean(ours, at), group.mean(theirs, at)).tolist())}
                    for ours, theirs, budget in exploratory(group, plan)
                    for at in (plan.budgets.index(budget),)
                ],
            }
            for group in groups
        },
        "inner_full": plan.full, "full_seeds": plan.full_seeds,
        "with_inner_full": {
            table: {key: round(value, 6) for key, value in values.items()} for table, values in gains.items()
        },
        "paired": paired_figures(results, plan),
    }  # fmt: skip
    return StudyOutcome(
        title="Which search of architecture and precision finds most?",
        question="Loss and bytes of every network of a closed space were measured once, and its latency was"
        " predicted; how much of the true front's hypervolume does each search find with how many"
        " measurements?",
        rule=RULE,
        columns=("table", "search", *(f"after {b}, %" for b in plan.budgets), "held out, %", "to 95 %"),
        rows=[*(row for group in groups for row in _group_rows(group, plan)),
              *(row for result in results for row in _result_rows(result, plan))],
        notes=[*_method_notes(results, plan, [table.latency_model for table in tables]),
               *_comparison_notes(groups, comparisons, plan), *_gain_notes(gains, plan)],
        facts=facts,
        pictures=render(lambda: plot.draw([result for result in results if not result.case.alphabet], plan)),
    )  # fmt: skip


def _ordered_arms(group: Group) -> list[str]:
    return [name for name in ARMS if name in group.arms]


def percent(values: Sequence[float], signed: bool = False) -> str:
    """Return the mean of ``values`` in per cent, with a 95 % t-interval where two or more of them vary."""
    interval, sign = intervals.t_interval(values), "+" if signed else ""
    if interval.low is None or interval.high is None or np.ptp(values) == 0:
        return f"{100 * interval.mean:{sign}.1f}"
    form = sign + (".2f" if interval.high - interval.low < 0.002 else ".1f")
    high = interval.high if signed else min(interval.high, 1.0)
    return f"{100 * interval.mean:{form}} [{100 * interval.low:{form}}, {100 * high:{form}}]"


def _group_rows(group: Group, plan: SearchPlan) -> Iterator[tuple[str, ...]]:
    arms = sorted(_ordered_arms(group), key=lambda arm: -float(np.mean(group.mean(arm, -1))))
    name = f"{len(group.cases)} supernets" + group.name.removeprefix("all")
    for arm in arms:
        cells = [percent(group.mean(arm, at)) for at in range(len(plan.budgets))]
        cells = [_mark_random(cell, arm, b, plan) for cell, b in zip(cells, plan.budgets, strict=True)]
        held = float(np.mean(group.held(arm)))
        yield (name, arm, *cells, f"{100 * held:.1f}", "")


def _mark_random(cell: str, arm: str, budget: int, plan: SearchPlan) -> str:
    """Mark a cell if the search has evaluated only its first batch, which is random."""
    only_first = ARMS[arm].searcher != "random-joint" and budget <= plan.first_batch(arm)
    return f"{cell} (random)" if only_first else cell


def _result_rows(result: CaseResult, plan: SearchPlan) -> list[tuple[str, ...]]:
    last = max(plan.budgets)
    order = sorted(result.shares, key=lambda name: -float(result.shares[name][:, -1].mean()))
    rows = []
    for name in order:
        times = sorted(
            int(np.argmax(curve >= REACHED)) + 1 if (curve >= REACHED).any() else last + 1
            for curve in result.curves[name]
        )
        middle = times[(len(times) - 1) // 2]
        cells = [
            _mark_random(_spread(column), name, budget, plan)
            for column, budget in zip(result.shares[name].T, plan.budgets, strict=True)
        ]
        held = f"{100 * float(result.held[name].mean()):.1f}"
        rows.append((result.name, name, *cells, held, f"> {last}" if middle > last else str(middle)))
    return rows


def _spread(column: Array) -> str:
    """Return the mean over seeds, with the lowest and the highest seed if they differ in print."""
    low, high = f"{100 * column.min():.1f}", f"{100 * column.max():.1f}"
    return f"{100 * column.mean():.1f}" + (f" ({low} to {high})" if low != high else "")


def _method_notes(
    results: Sequence[CaseResult], plan: SearchPlan, latencies: Sequence[JsonView]
) -> list[str]:
    notes = [
        "Share of the true front's hypervolume of loss and bytes, or of what is named. Rows of supernets:"
        f" mean over supernets, each the mean of {plan.seeds} search seeds, with a 95 % t-interval over"
        " supernets. Rows of a table: mean over seeds (lowest to highest seed). Items are not resampled:"
        " tables hold sums over items.",
        f"Reference point: the worst of the true front, {MARGIN:.0%} of its range beyond it. Held out: the"
        " last front's, with losses over data that no search saw, of the front of those losses. To 95 %:"
        " evaluations, median over seeds (the lower of the middle two).",
        "(random): all of these evaluations are drawn at random, as the first batch of a search is, in a"
        " sequential one that of each half.",
        "Differences are of shares on the search's own items, which a search is asked for; behind each stands"
        " the same on held-out items, after the last budget, uncorrected.",
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
        f"{model['table']}: latency is predicted by an operator table, in units of the largest network in"
        f" fp32; median error {100 * model['median_error']:.1f} % over {model['held_out']} policies that"
        f" were measured and not fitted ({model['signature']})."
        for model in latencies
        if model
    ]
    for result in results:
        shares = "; ".join(f"{precision} {100 * share:.1f}" for precision, share in result.uniform.items())
        notes.append(
            f"{result.name}: the front of one precision everywhere has, in % of the true front: {shares}."
        )
    return notes


def _comparison_notes(
    groups: Sequence[Group], comparisons: Mapping[str, Sequence[Comparison]], plan: SearchPlan
) -> Iterator[str]:
    for group in groups:
        for comparison in comparisons[group.name]:
            families = ", ".join(f"{name} {100 * mean:+.1f}" for name, mean in comparison.families.items())
            p = "" if comparison.p is None else f"p {comparison.p:.3g}, "
            values = comparison.values
            yield (
                f"{group.name}: {comparison.ours} minus {comparison.theirs} after {plan.decides}:"
                f" {percent(values, signed=True)} over {len(values)} supernets"
                f" ({p}{comparison.verdict}); positive on {sum(v > 0 for v in values)}. Held out:"
                f" {percent(comparison.held, signed=True)}. By family: {families}."
            )
        for ours, theirs, budget in exploratory(group, plan):
            at = plan.budgets.index(budget)
            values = np.subtract(group.mean(ours, at), group.mean(theirs, at)).tolist()
            yield (
                f"{group.name}: {ours} minus {theirs} after {budget}: {percent(values, signed=True)} over"
                f" {len(values)} supernets (exploratory, not in the rule)."
            )
        if "linas" in group.arms:
            yield _uniform_note(group, plan)


def exploratory(group: Group, plan: SearchPlan) -> list[tuple[str, str, int]]:
    """Return the entries of ``EXPLORATORY`` whose arms ran on every case of a group."""
    return [
        (ours, theirs, budget)
        for ours, theirs, budget in EXPLORATORY
        if {ours, theirs} <= group.arms and budget in plan.budgets
    ]


def _uniform_note(group: Group, plan: SearchPlan) -> str:
    gain, held = gains_over_uniform(group, "linas", plan.budgets.index(plan.decides))
    perfect, held_perfect = gains_of_the_true_front(group)
    return (
        f"{group.name}: linas minus the best uniform precision after {plan.decides}:"
        f" {percent(gain, signed=True)} over {len(gain)} supernets; held out {percent(held, signed=True)}. A"
        f" perfect search gains {100 * min(perfect):.1f} to {100 * max(perfect):.1f}, on average"
        f" {100 * float(np.mean(perfect)):.1f}; held out {percent(held_perfect, signed=True)}."
    )


def gains_of_the_true_front(group: Group) -> tuple[list[float], list[float]]:
    """Return the share that the best uniform precision lacks, and the same on held-out items."""
    lacking = [1 - case.uniform[case.best_uniform] for case in group.cases]
    return lacking, [case.held_front - case.held_uniform[case.best_uniform] for case in group.cases]


def _gain_notes(gains: PredictionGains, plan: SearchPlan) -> Iterator[str]:
    keys = dict.fromkeys(key for of_table in gains.values() for key in of_table)
    for key in keys:
        values = [of_table[key] for of_table in gains.values()]
        yield (
            f"{key} between two batches, after {plan.decides}: {percent(values, signed=True)} over"
            f" {len(values)} supernets, search seeds of each: {min(plan.seeds, plan.full_seeds)}."
        )


def _result_facts(result: CaseResult) -> JsonObject:
    kept = ("name", "task", "commit", "recipe", "points", "weights_sha256", "validation", "device")
    return {
        "table": {key: result.head[key] for key in kept if key in result.head},
        "family": result.family,
        "objectives": list(result.case.objectives),
        "alphabet": list(result.case.alphabet or result.uniform),
        "shares": {name: np.round(shares, 6).tolist() for name, shares in result.shares.items()},
        "held_out": {name: np.round(shares, 6).tolist() for name, shares in result.held.items()},
        "uniform": {name: six_digits(share) for name, share in result.uniform.items()},
        "held_uniform": {name: six_digits(share) for name, share in result.held_uniform.items()},
        "held_front": six_digits(result.held_front),
    }


def _comparison_facts(comparison: Comparison) -> JsonObject:
    p = comparison.p
    return {
        "ours": comparison.ours,
        "theirs": comparison.theirs,
        "p_holm": None if p is None else six_digits(p),
        "verdict": comparison.verdict,
        "difference": _rounded_interval(comparison.values),
        "held_out": _rounded_interval(comparison.held),
        "families": {name: round(value, 6) for name, value in comparison.families.items()},
    }


def _rounded_interval(values: Sequence[float]) -> list[float | None]:
    """Return mean, lower and upper end of the t-interval over ``values``, to six digits."""
    interval = intervals.t_interval(values)
    if np.ptp(values) == 0:
        return [round(interval.mean, 6), None, None]
    return [None if x is None else round(x, 6) for x in (interval.mean, interval.low, interval.high)]
