"""Emissions under a declared carbon intensity and PUE, computed from a table's joules and shown apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.analysis.number_format import Row
from benchmarks.api import UsageError

JOULES_PER_KWH = 3.6e6
HIGHEST_INTENSITY = 2000.0
"""Grams of CO2 equivalent a kWh, at most: no grid emits more, so a larger number has another unit."""
HIGHEST_PUE = 10.0


@dataclass(frozen=True)
class CarbonDeclaration:
    """A user's statement about the electricity of their machine; no record holds it.

    Attributes:
        intensity: grams of CO2 equivalent a kWh of electricity.
        pue: power usage effectiveness, the building's energy over the machine's.

    Raises:
        UsageError: a figure is out of its range.
    """

    intensity: float
    pue: float = 1.0

    def __post_init__(self) -> None:
        """Refuse figures that no grid or building has."""
        _require_intensity(self.intensity)
        _require_pue(self.pue)

    @property
    def text(self) -> str:
        """The declaration in words."""
        return f"{self.intensity:g} g CO2e/kWh and a PUE of {self.pue:g}"


def intensity(text: str) -> float:
    """Return the carbon intensity that a text states.

    Raises:
        UsageError: no grid has it.
        ValueError: the text is no number.
    """
    return _require_intensity(float(text))


def pue(text: str) -> float:
    """Return the power usage effectiveness that a text states.

    Raises:
        UsageError: no building has it.
        ValueError: the text is no number.
    """
    return _require_pue(float(text))


def _require_intensity(number: float) -> float:
    if not 0 <= number <= HIGHEST_INTENSITY:
        allowed = f"grams of CO2 equivalent a kWh, 0 to {HIGHEST_INTENSITY:g}"
        raise UsageError(f"--carbon-intensity {number:g}: {allowed}")
    return number


def _require_pue(number: float) -> float:
    if not 1 <= number <= HIGHEST_PUE:
        raise UsageError(f"--pue {number:g}: the building's energy over the machine's, 1 to {HIGHEST_PUE:g}")
    return number


class Emissions(NamedTuple):
    """Emissions of one method's search: a mean over its runs.

    ``joules`` are the table's, ``joules_with_pue`` those of the building.
    """

    method: str
    joules: float
    joules_with_pue: float
    grams_co2e: float


def declared(intensity: float | None, pue: float | None) -> CarbonDeclaration | None:
    """Return the declaration that a command line makes; None if it makes none.

    Raises:
        UsageError: a PUE without an intensity, or a figure out of its range.
    """
    if intensity is None:
        if pue is not None:
            raise UsageError("--pue: emissions need the grid's --carbon-intensity G too")
        return None
    return CarbonDeclaration(intensity, 1.0 if pue is None else pue)


def emissions(rows: Sequence[Row], declaration: CarbonDeclaration) -> list[Emissions]:
    """Return the emissions of each method's search.

    Args:
        rows: of a ``Table``; those of one method cost alike, and those without joules are left out.
    """
    lines: dict[str, Emissions] = {}
    for row in rows:
        joules = float(row["joules"])
        if row["method"] not in lines and not math.isnan(joules):
            building = joules * declaration.pue
            grams = building / JOULES_PER_KWH * declaration.intensity
            lines[row["method"]] = Emissions(row["method"], joules, building, grams)
    return list(lines.values())
