"""Held-out error of the latency predictor on published latency tables (``supernet-bench profiles``).

The held-out error of a table's predictor is part of its profile. ``evaluate_tables`` measures it,
beside that of HAT's own predictor, of a regression on the one feature that explains most, and of the noise
that no predictor of the architecture can explain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.api import UsageError
from benchmarks.latency_tables import user_tables
from benchmarks.latency_tables.tables import PROFILES, Array, LatencyTable, TableProfile, absent, load
from benchmarks.records.canonical import JsonObject
from benchmarks.tasks.datasets import Say

__all__ = [
    "FOOTNOTE",
    "HEADER",
    "PROFILES",
    "LatencyTable",
    "TableProfile",
    "TableRow",
    "as_text",
    "evaluate",
    "evaluate_tables",
    "load",
]

FEWEST = 8
"""Fewest rows that a predictor is fitted on."""
FIT_AT_MOST = 500
"""Rows a predictor may be fitted on when its error is claimed."""

PUBLIC_MARGIN = 1.08
"""Allowed ratio of our held-out error to the public predictor's error on its own training rows."""

SINGLE_MARGIN = 1.02
"""Allowed ratio of our held-out error to that of a regression on one feature."""


@dataclass(frozen=True)
class TableRow:
    """Prediction errors on one table: means over the splits, in ms and in percent of the measured latency.

    Attributes:
        rmse, mape: errors of our predictor, fitted on ``fitted`` rows, on the ``held_out`` others.
        public_rmse, public_mape: errors of its authors' predictor; None if none is published.
        single, single_rmse, single_mape: one feature, and the errors of a linear regression on it, same
            rows, same splits.
        floor_rmse, floor_mape: errors of our predictor in tenfold cross-validation over the whole table,
            which more data would not lower.
        noise_rmse: lower bound of the device's own part of ``floor_rmse``: covariance of residuals of rows
            measured one after the other, whose architectures are independent draws, and spread of repeats.
        within: number of splits on which every bound holds by itself.
    """

    profile: str
    device: str
    task: str
    fitted: int
    held_out: int
    splits: int
    rmse: float
    mape: float
    public_rmse: float | None
    public_mape: float | None
    public_shipped: bool
    single: str
    single_rmse: float
    single_mape: float
    floor_rmse: float
    floor_mape: float
    noise_rmse: float
    within: int

    @property
    def holds(self) -> bool:
        """True if the mean errors keep both bounds, in both measures."""
        public = None
        if self.public_rmse is not None and self.public_mape is not None:
            public = self.public_rmse, self.public_mape
        return _within((self.rmse, self.mape), (self.single_rmse, self.single_mape), public)

    def to_dict(self) -> JsonObject:
        """Return the row as plain JSON types."""
        return {**asdict(self), "holds": self.holds}


def _within(
    ours: tuple[float, float], single: tuple[float, float], public: tuple[float, float] | None
) -> bool:
    bounds = [(SINGLE_MARGIN, single)] + ([(PUBLIC_MARGIN, public)] if public is not None else [])
    return all(
        o <= margin * theirs for margin, bound in bounds for o, theirs in zip(ours, bound, strict=True)
    )


def split(rows: int, fit: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows to fit on and rows to hold out: one random row of every ``rows // fit`` in a row.

    The devices drifted and were throttled for minutes at a time (residuals of neighbouring rows
    correlate by up to 0.8), so both parts are drawn evenly over the time of measurement.
    """
    stride = rows // fit
    chosen = np.arange(fit) * stride + rng.integers(0, stride, fit)
    return chosen, np.setdiff1d(np.arange(rows), chosen)


def errors(predicted: Array, measured: Array) -> tuple[float, float]:
    """Return the root-mean-square error, and the mean error relative to the measurement in percent."""
    gap = predicted - measured
    return float(np.sqrt(np.mean(gap**2))), float(100 * np.mean(np.abs(gap) / measured))


def line(feature: Array, ms: Array, new: Array) -> Array:
    """Return the predictions of a least-squares line on one feature, the baseline of every predictor."""
    slope, intercept = np.polyfit(feature, ms, 1)
    return np.asarray(slope * new + intercept, dtype=np.float64)


def cross_predict(table: LatencyTable, rng: np.random.Generator) -> Array:
    """Return the prediction of each row in milliseconds, by the predictor fitted on the other nine folds."""
    x, ms = table.features, table.ms
    fold = rng.permutation(len(ms)) % 10
    predicted = np.empty_like(ms)
    for k in range(10):
        predicted[fold == k] = table.blank().fit(x[fold != k], ms[fold != k]).predict(x[fold == k])
    return predicted


def drift(residual: Array) -> float:
    """Return the covariance of residuals of rows measured one after the other, at least 0.

    Their architectures are independent draws, so it is the device's own.
    """
    return max(0.0, float(np.mean(residual[:-1] * residual[1:])))


def evaluate(table: LatencyTable, *, fit: int = FIT_AT_MOST, splits: int = 10, seed: int = 1) -> TableRow:
    """Measure one table's predictor over ``splits`` random splits.

    Raises:
        UsageError: ``fit`` is not between 8 and half of the rows, or ``splits`` below 1.
    """
    x, ms = table.features, table.ms
    if not FEWEST <= fit <= len(ms) // 2 or splits < 1:
        raise UsageError(
            f"fit {FEWEST} to {len(ms) // 2} rows over 1 or more splits, not {fit} rows over {splits}"
        )
    rng = np.random.default_rng(seed)
    profile, family = table.profile, table.profile.family
    name, column = family.size
    feature = x[:, column]
    ours, single = [], []
    for _ in range(splits):
        a, b = split(len(ms), fit, rng)
        ours.append(errors(table.blank().fit(x[a], ms[a]).predict(x[b]), ms[b]))
        single.append(errors(line(feature[a], ms[a], feature[b]), ms[b]))
    others = cross_predict(table, rng)
    repeats = float(np.mean(table.repeat_std**2)) / family.mean_of
    rmse, mape = (float(v) for v in np.mean(ours, axis=0))
    single_rmse, single_mape = (float(v) for v in np.mean(single, axis=0))
    floor_rmse, floor_mape = errors(others, ms)
    public = profile.public or (None, None)
    return TableRow(
        profile=profile.name,
        device=profile.device,
        task=profile.task,
        fitted=fit,
        held_out=len(ms) - fit,
        splits=splits,
        rmse=rmse,
        mape=mape,
        public_rmse=public[0],
        public_mape=public[1],
        public_shipped=profile.shipped,
        single=name,
        single_rmse=single_rmse,
        single_mape=single_mape,
        floor_rmse=floor_rmse,
        floor_mape=floor_mape,
        noise_rmse=math.sqrt(drift(ms - others) + repeats),
        within=sum(_within(o, s, profile.public) for o, s in zip(ours, single, strict=True)),
    )


def evaluate_tables(
    data_dir: Path | None,
    *,
    splits: int = 10,
    seed: int = 1,
    say: Say = lambda line: None,
) -> list[TableRow]:
    """Evaluate every table profile; takes some seconds in all.

    Args:
        data_dir: folder with ``published/``; None fetches the authors' files by checksum. Tables that are
            in no folder and cannot be fetched are left out.
        say: called with a line for each download.

    A table that is damaged or too short is left out, too.
    """
    rows = []
    for profile in PROFILES.values():
        if profile.family.url is None and (data_dir is None or absent(profile, data_dir)):
            say(f"table {profile.name} is left out: it is not in the data folder and cannot be fetched")
            continue
        try:
            table = load(profile, data_dir, say)
            rows.append(evaluate(table, fit=most_rows(table), splits=splits, seed=seed))
        except UsageError as error:  # the others are evaluated all the same
            say(f"table {profile.name} is left out: {error}")
    return rows


def evaluate_own(paths: Iterable[Path], *, seed: int = 1, say: Say) -> list[TableRow]:
    """Evaluate latency tables of the user's; one that cannot be read or is too short is left out.

    Args:
        paths: CSV files.
        seed: of the splits.
        say: called with the reason why a table is left out.
    """
    rows = []
    for path in paths:
        try:
            table = user_tables.read(path)
            rows.append(evaluate(table, fit=most_rows(table), seed=seed))
        except UsageError as error:
            say(f"table {path.name} is left out: {error}")
    return rows


def most_rows(table: LatencyTable) -> int:
    """Return how many rows a predictor is fitted on: ``FIT_AT_MOST`` or half of the table.

    Raises:
        UsageError: the table has fewer than twice as many rows.
    """
    if len(table.ms) < 2 * FEWEST:
        raise UsageError(
            f"it has {len(table.ms)} rows: {FEWEST} to fit on and as many to hold out are the fewest"
        )
    return min(FIT_AT_MOST, len(table.ms) // 2)


HEADER = (
    *("table profile", "fitted/held out"),
    *("RMSE ms", "public", "one feature", "all rows", "noise"),
    *("MAPE %", "public %", "one feature %", "all rows %", "holds"),
)
FOOTNOTE = """\
RMSE and MAPE: ours on held-out rows, mean over the splits. public: HAT's own predictor on rows it was
fitted to (* its recipe refitted here; -: no error of one is published). one feature: regression on
decoder layers (HAT's tables) or mean width (SuperShaper's). all rows: ours, tenfold over the whole
table: what more data would bring. noise: what the device's drift and repeats alone account for. holds:
at most 1.08 x public and 1.02 x one feature on average (on so many splits by themselves)."""


def as_text(rows: Iterable[TableRow]) -> list[tuple[str, ...]]:
    """Return the cells of ``supernet-bench profiles --data-dir``, under ``HEADER``."""

    def cells(row: TableRow) -> tuple[str, ...]:
        star = "" if row.public_shipped else "*"
        rmse = (row.rmse, row.public_rmse, row.single_rmse, row.floor_rmse, row.noise_rmse)
        mape = (row.mape, row.public_mape, row.single_mape, row.floor_mape)
        milliseconds = ["-" if v is None else f"{v:.{2 if v < 100 else 0}f}" for v in rmse]
        percent = ["-" if v is None else f"{v:.2f}" for v in mape]
        if row.public_rmse is not None:
            milliseconds[1] += star
            percent[1] += star
        holds = f"{'yes' if row.holds else 'NO'} ({row.within}/{row.splits})"
        return (row.profile, f"{row.fitted}/{row.held_out}", *milliseconds, *percent, holds)

    return [cells(row) for row in rows]
