"""Plot of the study of searches: share of the true front against evaluations, two panels in a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure as Drawing

from benchmarks.records.canonical import JsonObject
from benchmarks.report.method_styles import method_styles
from benchmarks.report.plots import style
from benchmarks.studies.simq_search.plan import SearchPlan
from benchmarks.studies.simq_search.score import CaseResult

DRAWN = (
    *("random-joint", "nsga2-joint, population 50", "nsga2-joint, population 10", "linas-as-published"),
    *("linas", "bayes-joint", "arch-then-quant", "quant-then-arch"),
)
"""Names of the arms that are drawn."""
BESIDE = 2
"""Panels in a row: as many as can be read on a page."""


def draw(results: Sequence[CaseResult], plan: SearchPlan) -> Drawing:
    """Draw searches in different lines, markers and colours, with bands from lowest to highest seed."""
    tables = list(dict.fromkeys(str(result.head["name"]) for result in results))
    panels = sorted(results, key=lambda result: tables.index(str(result.head["name"])))
    wide, tall = 3.65 * BESIDE + 0.1, 2.5 * -(-len(panels) // BESIDE) + 2.0
    figure = Drawing(figsize=(wide, tall))
    figure.text(0.016, 1 - 0.12 / tall, "Which search finds most?", fontsize=14, fontweight="bold", va="top",
                color=style.INK)  # fmt: skip
    subtitle = (
        f"Share of the true front's hypervolume.\nMean of {plan.seeds} search seeds; band: lowest to highest."
    )
    figure.text(0.016, 1 - 0.42 / tall, subtitle, fontsize=9, va="top", color=style.INK)
    shown = {id(j): {name: c for name, c in j.curves.items() if name in DRAWN} for j in results}
    styles = method_styles(name for curves in shown.values() for name in curves)
    lowest = min(float(c[:, plan.budgets[0] - 1].mean()) for some in shown.values() for c in some.values())
    labels: JsonObject = {}
    for place, result in enumerate(panels):
        row, column = divmod(place, BESIDE)
        axes = figure.add_axes(
            ((0.88 + 3.65 * column) / wide, 1 - (2.5 * row + 2.9) / tall, 2.6 / wide, 1.75 / tall)
        )
        for name, curves in shown[id(result)].items():
            at = np.arange(plan.budgets[0], curves.shape[1] + 1, max(1, curves.shape[1] // 80))
            band = 100 * curves[:, at - 1]
            look = styles[name]
            (line,) = axes.plot(at, band.mean(axis=0), color=look.colour, linestyle=look.line, linewidth=1.6,
                                markersize=5, markevery=0.2, **look.mark)  # fmt: skip
            labels.setdefault(name, line)
            axes.fill_between(
                at, band.min(axis=0), band.max(axis=0), color=look.colour, alpha=0.1, linewidth=0
            )
        axes.set_ylim(min(95.0, 100 * lowest - 2), 100.5)
        axes.set_xlabel("evaluations")
        axes.set_ylabel("% of the true front \u2192")
        title = f"{result.head['name']}: {', '.join(result.case.objectives)}"
        axes.set_title(title, fontsize=10, loc="left", color=style.INK)
    figure.legend(list(labels.values()), list(labels), loc="lower left", fontsize=9, frameon=False, ncol=2,
                  bbox_to_anchor=(0.1 / wide, 0.02 / tall))  # fmt: skip
    return figure
