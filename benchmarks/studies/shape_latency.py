"""Sensitivity of an encoder's latency to its shape, on SuperShaper's own tables of three devices.

The claim (Ganesan et al. 2021): networks of one size are equally fast, whatever widths their layers have, so
that shapes can be searched without measuring. A table has random shapes with their latencies in the order
in which they were measured, each once. The spread among networks of one size has three parts: the effect of
shape, the device's drift, which neighbours in the table share, and independent noise.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency_tables.evaluation import cross_predict, drift
from benchmarks.latency_tables.tables import PROFILES, Array, LatencyTable, load
from benchmarks.records.study_files import ClaimFigure, StudyOutcome
from benchmarks.stats.rounding import six_digits, six_digits_within
from benchmarks.tasks.datasets import Say

SUMMARY = "is latency insensitive to shape? SuperShaper's tables of two GPUs and a cloud Xeon"
READS = "data"
VOCABULARY = 28_996
"""Vocabulary of the measured networks (BERT's cased one; their configurations are in the authors' files)."""
WINDOW = (59.0, 61.0)
"""Range of millions of parameters that counts as one size."""
FEWEST = 30
"""Smallest number of rows in the window; below it the densest window of this width is used."""
TOLERANCE = 0.02
"""Share of the latency that ``supernet-bench verify`` allows between two timings of one network on one
machine. A difference that a second timing could make is of no use to a search."""
NEIGHBOURS = 5
"""Rows on either side from which the drift at a row is estimated."""
BLOCK = 100
"""Rows of a block of the bootstrap: residuals correlate over some 50 to 100 rows."""
DRAWS = 2000
SEED = 1

RULE = (
    "insensitive where the upper end of the 95 % interval of the spread among networks of one size, the"
    f" device's drift taken out, is below {TOLERANCE:.0%}; sensitive where the lower end of that of the"
    f" shape's effect is above {TOLERANCE:.0%}; undecided otherwise. {TOLERANCE:.0%} is what two timings of"
    " one network on one machine may differ by."
)


@dataclass(frozen=True)
class Estimate:
    """A statistic of one table with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Device:
    """Statistics of one table. All but both R² are shares of the mean latency in the window.

    Attributes:
        r2: of the straight line from parameters to latency, over all rows; ``r2_steady``: to the latency over
            the drift at each row.
        window, n: millions of parameters, and the rows in it.
        cv: deviation of the latencies in the window over their mean.
        drift: what residuals of a shape predictor share with the next row's, over all rows.
        steady: ``cv`` of the latencies over the drift at each row: effect of shape, size within the window,
            noise of single rows.
        shape: effect of shape at equal size, so far as a predictor fitted on other rows finds it; negative
            where its predictions go against the measurement.
    """

    profile: str
    device: str
    signature: str
    sha256: str
    rows: int
    window: tuple[float, float]
    n: int
    r2: Estimate
    r2_steady: Estimate
    cv: Estimate
    drift: Estimate
    steady: Estimate
    shape: Estimate
    verdict: str


def run(data_dir: Path | None, say: Say = lambda line: None) -> StudyOutcome:
    """Run the study over every table of SuperShaper's.

    Raises:
        UsageError: a table is missing or damaged.
    """
    from benchmarks.report.plots.style import render
    from benchmarks.studies import shape_latency_plot

    tables = [load(p, data_dir, say) for p in PROFILES.values() if p.family.by == "SuperShaper"]
    sizes = []
    for table in tables:
        say(f"counting the parameters of {len(table.ms):,} networks of {table.profile.name}")
        sizes.append(parameters(table))
    devices = [judge(t, p, np.random.default_rng(SEED)) for t, p in zip(tables, sizes, strict=True)]
    facts = {
        "study": "shape-latency", "rule": RULE, "tolerance": TOLERANCE, "vocabulary": VOCABULARY,
        "bootstrap": {"draws": DRAWS, "block_rows": BLOCK, "seed": SEED},
        "devices": [six_digits_within(asdict(device)) for device in devices],
        "paired": {f"{d.profile}: bounds of the effect of shape": for_claims(d) for d in devices},
    }  # fmt: skip
    return StudyOutcome(
        title="Is latency insensitive to shape?",
        question="Do encoders of SuperShaper's space that have equally many parameters take equally long,"
        " whatever widths their layers have? Latencies measured by its authors.",
        rule=RULE,
        columns=COLUMNS,
        rows=[_cells(device) for device in devices],
        notes=NOTES,
        facts=facts,
        pictures=render(lambda: shape_latency_plot.draw(tables, sizes, devices)),
    )


def parameters(table: LatencyTable) -> Array:
    """Return millions of parameters ``[n]`` of the networks of a table, with adjacent bottlenecks merged."""
    from supernet import cost
    from supernet.bert import BertConfig, family_of

    space = table.profile.family.space()
    widths = np.rint(table.features[:, 1:] * space.choices[0].scale).astype(int).tolist()
    family = family_of(space)(space, BertConfig(VOCABULARY))
    counted = [cost.parameters(family, space.architecture({"widths": row})) for row in widths]
    return np.array(counted) / 1e6


def judge(table: LatencyTable, size: Array, rng: np.random.Generator) -> Device:
    """Return statistics and verdict of one table whose networks have ``size`` ``[n]`` million parameters."""
    predicted = cross_predict(table, rng)
    rows = _Rows(size, table.ms, predicted)
    window = window_of(size)
    drawn = [rows.statistics(window, pick) for pick in _blocks(len(size), rng)]
    value = rows.statistics(window, np.arange(len(size)))

    def estimate(name: str) -> Estimate:
        low, high = np.quantile([statistics[name] for statistics in drawn], [0.025, 0.975])
        return Estimate(value[name], float(low), float(high))

    estimates = {name: estimate(name) for name in value}
    profile = table.profile
    return Device(
        profile=profile.name,
        device=f"{profile.device}, batch {profile.batch}",
        signature=profile.signature,
        sha256=profile.sha256,
        rows=len(size),
        window=window,
        n=int(_inside(size, window).sum()),
        verdict=verdict(estimates["steady"], estimates["shape"]),
        **estimates,
    )


def for_claims(device: Device) -> ClaimFigure:
    """Return the spread in per cent with the bounds of the effect of shape that ``RULE`` compares.

    The spread holds the effect and noise besides, so that it is the effect's largest estimate. The lower
    bound is that of the part which a predictor finds, and no spread is below 0.
    """
    low, value, high = (100 * x for x in (device.shape.low, device.steady.value, device.steady.high))
    low = max(0.0, low)
    bounds = [six_digits(min(low, value)), six_digits(max(high, value))]
    return {"values": [six_digits(value)], "bounds": bounds, "unit": "%", "count": device.n}


def verdict(steady: Estimate, shape: Estimate) -> str:
    """Return the verdict of ``RULE``."""
    if steady.high < TOLERANCE:
        return "insensitive"
    return "sensitive" if shape.low > TOLERANCE else "undecided"


def window_of(size: Array) -> tuple[float, float]:
    """Return ``WINDOW``, or the densest window of its width if it has fewer than ``FEWEST`` rows."""
    if _inside(size, WINDOW).sum() >= FEWEST:
        return WINDOW
    wide = WINDOW[1] - WINDOW[0]
    ordered = np.sort(size)
    inside = np.searchsorted(ordered, ordered + wide, side="right") - np.arange(len(ordered))
    start = float(ordered[int(np.argmax(inside))])
    return start, start + wide


def _inside(size: Array, window: tuple[float, float]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = (size >= window[0]) & (size <= window[1])
    return mask


class _Rows:
    """The columns of a table, in the order of measurement."""

    def __init__(self, size: Array, ms: Array, predicted: Array) -> None:
        self.size, self.ms, self.predicted = size, ms, predicted
        self.residual = ms / predicted - 1
        self.steady = ms / (1 + nearby(self.residual))

    def statistics(self, window: tuple[float, float], pick: NDArray[np.int64]) -> dict[str, float]:
        """Compute every statistic over the rows ``pick``."""
        size, ms, steady = self.size[pick], self.ms[pick], self.steady[pick]
        slope, intercept = np.polyfit(size, ms, 1)
        line = slope * size + intercept
        inside = _inside(size, window)
        mean = float(steady[inside].mean())
        measured, guessed = (x[inside] - line[inside] for x in (steady, self.predicted[pick]))
        effect = float(np.cov(measured, guessed)[0, 1]) / mean**2
        return {
            "r2": float(np.corrcoef(size, ms)[0, 1]) ** 2,
            "r2_steady": float(np.corrcoef(size, steady)[0, 1]) ** 2,
            "cv": float(ms[inside].std(ddof=1) / ms[inside].mean()),
            "drift": math.sqrt(drift(self.residual[pick])),
            "steady": float(steady[inside].std(ddof=1)) / mean,
            "shape": math.copysign(math.sqrt(abs(effect)), effect),
        }


def nearby(residual: Array) -> Array:
    """Return the drift at each row: the mean residual of up to ``NEIGHBOURS`` rows on either side."""
    total = np.concatenate([[0.0], np.cumsum(residual)])
    at = np.arange(len(residual))
    low, high = np.maximum(at - NEIGHBOURS, 0), np.minimum(at + NEIGHBOURS + 1, len(residual))
    drift_at: Array = (total[high] - total[low] - residual) / (high - low - 1)
    return drift_at


def _blocks(rows: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Draw rows for a circular block bootstrap, in blocks of neighbours."""
    count = math.ceil(rows / BLOCK)
    starts = rng.integers(0, rows, size=(DRAWS, count))
    picks = (starts[:, :, None] + np.arange(BLOCK)) % rows
    return list(picks.reshape(DRAWS, -1)[:, :rows])


COLUMNS = (
    *("device", "rows", "R² [95 %]", "R² without drift [95 %]", "window M", "n", "CV % [95 %]", "drift %"),
    *("CV without drift % [95 %]", "shape % [95 %]", "verdict"),
)
NOTES = (
    "R²: of the straight line from parameters to latency. Parameters: by this project's accounting, adjacent"
    f" bottlenecks merged, output layer tied, vocabulary {VOCABULARY:,} (the measured networks'). Window:"
    " millions of parameters that count as one size; n: its rows.",
    "CV: deviation of the latencies in the window over their mean. Drift: what the residuals of rows measured"
    " one after the other share, over the whole table; their shapes are independent draws, so it is the"
    f" device's. Without drift: each latency over the mean residual of the {2 * NEIGHBOURS} rows measured"
    " around it. Residuals: of a predictor of latency from the twelve widths, fitted on other rows"
    " (tenfold).",
    "Shape: effect of shape at equal size, as far as that predictor finds it; below zero its predictions go"
    " against the measurement.",
    f"Intervals: block bootstrap over rows in the order of measurement, {DRAWS:,} draws of blocks of {BLOCK}"
    " rows; predictors are not fitted anew.",
    "Every shape was measured once: noise that neighbours do not share cannot be told from an effect of shape"
    " that the predictor does not find. Measuring some shapes several times would decide what is undecided.",
    "The thresholds stood before intervals and effects of shape were computed; R² and CV were known. The way"
    " to take out the drift was changed once since: subtracting its variance from that of the window is a"
    " difference of two large figures on the Xeon, which came out below zero.",
)


def _cells(device: Device) -> tuple[str, ...]:
    def percent(figure: Estimate) -> str:
        return f"{100 * figure.value:.2f} [{100 * figure.low:.2f}, {100 * figure.high:.2f}]"

    window = device.window
    return (
        device.device,
        str(device.rows),
        *(f"{r2.value:.3f} [{r2.low:.3f}, {r2.high:.3f}]" for r2 in (device.r2, device.r2_steady)),
        f"{window[0]:.1f}-{window[1]:.1f}",
        str(device.n),
        percent(device.cv),
        f"{100 * device.drift.value:.2f}",
        percent(device.steady),
        percent(device.shape),
        device.verdict,
    )
