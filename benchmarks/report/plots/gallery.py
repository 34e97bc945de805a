"""All figures of a comparison, by file name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.analysis.table import Table
from benchmarks.report.plots import hypervolume, pareto, performance_profiles, search, spending, style

DRAWINGS: Mapping[str, Callable[[Table], Figure | None]] = {
    "pareto": pareto.draw,
    "hypervolume": hypervolume.draw,
    "search": search.draw,
    "budget": spending.draw,
    "performance": performance_profiles.draw,
}
"""File name without ending -> function that draws the figure; it returns None if there is nothing to draw."""


def images(
    table: Table, kinds: Sequence[str] = style.FORMATS, names: Sequence[str] = tuple(DRAWINGS)
) -> dict[str, bytes]:
    """Return ``pareto.svg``... -> image of every figure of ``names`` for which the table has data."""
    drawn: dict[str, bytes] = {}
    with mpl.rc_context(style.RC_PARAMS):
        for name in names:
            figure = DRAWINGS[name](table)
            if figure is not None:
                drawn |= {f"{name}.{kind}": style.image_bytes(figure, kind) for kind in kinds}
    return drawn
