"""Plot of a retraining study: the score over the share of the updates, a panel a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Drawing

from benchmarks.report.plots import style
from benchmarks.stats.intervals import t_interval
from benchmarks.studies.retraining.plan import NOTHING, UNITS, RetrainingPlan, network_label

LOOKS = (
    ("o", "#1a1a1a", (0, (1, 1.5))),
    ("s", "#d55e00", (0, (4, 2))),
    ("v", "#666666", (0, (6, 2, 1, 2))),
    ("^", "#009e73", (0, (2, 2))),
    ("D", "#0072b2", "solid"),
    ("P", "#cc79a7", (0, (8, 3))),
    ("X", "#8c6d00", (0, (3, 1, 1, 1))),
)
"""Mark, colour and line of each start; they differ in grayscale too."""


def draw(plan: RetrainingPlan, curves: Mapping[tuple[str, int], Sequence[Sequence[float]]]) -> Drawing:
    """Draw each start's mean over seeds with 95 % t-intervals, and training from nothing as a level."""
    count = len(plan.architectures)
    figure = Drawing(figsize=(3.4 * count + 0.6, 4.6))
    figure.suptitle(
        "Training on from inherited weights, and from nothing", x=0.01, ha="left", fontweight="bold",
        color=style.INK,
    )  # fmt: skip
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    starts = (NOTHING, *plan.starts)
    places = np.arange(len(plan.shares), dtype=float)
    for network, axes in enumerate(panels):
        from_nothing = float(np.mean([seed[-1] for seed in curves[NOTHING, network]]))
        level = axes.axhline(from_nothing, color=style.INK, linewidth=0.9, linestyle=(0, (4, 3)))
        for number, start in enumerate(starts):
            marker, colour, line = LOOKS[number % len(LOOKS)]
            at = places + 0.08 * (number - len(starts) / 2)
            spans = [t_interval(list(values)) for values in zip(*curves[start, network], strict=True)]
            means = [span.mean for span in spans]
            ends = [
                [0.0 if end is None else abs(span.mean - end) for span, end in zip(spans, side, strict=True)]
                for side in (
                    [span.low and max(0.0, span.low) for span in spans],  # no score is negative
                    [span.high for span in spans],
                )
            ]
            axes.errorbar(
                at, means, ends, marker=marker, color=colour, linestyle=line, linewidth=1.3, markersize=5,
                capsize=2, elinewidth=0.8, label=start,
            )  # fmt: skip
        axes.set_xticks(places, [f"{100 * share:g}" for share in plan.shares], fontsize=9)
        axes.set_title(network_label(plan, network), fontsize=10, loc="left", color=style.INK)
    figure.supxlabel("share of the updates, %", fontsize=10, color=style.INK)
    unit = UNITS[plan.metric]
    panels[0].set_ylabel("test BLEU" if plan.metric == "bleu" else f"test, {unit}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        [*handles, level], [*labels, "nothing, all updates"], loc="upper left", bbox_to_anchor=(0.0, 0.94),
        ncols=len(labels) + 1, fontsize=9.5,
        frameon=False,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 0.9))
    return figure
