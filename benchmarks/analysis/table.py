"""The comparison as data: one row per method and limit, means over seeds, through pandas.

``build_table`` turns records into a ``Table``; ``benchmarks.report`` turns a ``Table`` into texts and plots.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from benchmarks import suggestions
from benchmarks.analysis import (
    attachment_columns,
    carbon,
    comparisons,
    notes,
    rows,
    search_progress,
    spending,
    test_sets,
)
from benchmarks.analysis.attachment_columns import Attached, RuntimeColumn, VerdictLine
from benchmarks.analysis.carbon import CarbonDeclaration, Emissions
from benchmarks.analysis.number_format import Row
from benchmarks.analysis.row_details import RowDetails, row_details
from benchmarks.analysis.search_progress import Progress
from benchmarks.analysis.test_sets import Scores
from benchmarks.api import UsageError
from benchmarks.comparability import grouping, run_summary
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.records import selection
from benchmarks.records.record import Record
from benchmarks.records.selection import Axis
from benchmarks.stats import quantities
from benchmarks.stats.quantities import Quantity
from benchmarks.stats.task_units import TaskUnits

BASELINES = (*notes.REFERENCES, "hat-sandwich", "scratch", "random-search")
"""Methods that the others are compared with, unless one is named: the first that has runs."""


class UnknownBaselineError(UsageError):
    """A named baseline is no method that a table compares."""


@dataclass(frozen=True)
class Table:
    """Everything that a comparison shows, as data; renderers need nothing else."""

    shared: dict[str, str]
    """Facts that all runs have in common, such as task, tier, profile and allowances."""
    metric: str
    """Name of the deciding metric in records."""
    units: TaskUnits
    """Metrics, test item and loss unit of the task."""
    rows: pd.DataFrame
    """One line per (method, limit), best first within a limit.

    Shares are fractions, sizes bytes, times milliseconds or seconds; ``row_intervals`` computes intervals.
    Rows that are not ``compared`` are of earlier origins, under their method's own row, of networks that have
    not learnt, and of stopped runs, last.
    """
    comparisons: pd.DataFrame
    """Differences from ``baseline``, paired over seeds."""
    volumes: pd.DataFrame
    """Hypervolume of each run."""
    baseline: str | None
    signatures: dict[str, str]
    """Name of each figure -> how it was made."""
    sources: list[str]
    """Energy sources; rows refer to them by number."""
    failures: list[str]
    """A line for each run that is not compared."""
    notes: list[str]
    verdicts: list[VerdictLine]
    """Verdicts of second runs."""
    elsewhere: dict[str, RuntimeColumn]
    """Heading -> latencies in another runtime."""
    runs: list[RunSummary]
    """Runs that count, one per method and seed."""
    superseded: list[RunSummary]
    """Earlier runs of the same method and seed."""
    named: dict[str, str]
    """Record id -> label of the run's method."""
    lines: pd.DataFrame
    """Headline candidates of the runs (``run_summary.headlines``)."""
    axis: Axis
    """Figure that quality is traded for."""
    obstacles: dict[str, str]
    """Record id -> why that run is not compared."""
    before: dict[str, tuple[float, float]]
    """Record id -> seconds and joules of the runs that a run follows."""
    carbon: CarbonDeclaration | None = None
    """Declared carbon intensity and PUE; None: no emissions are shown."""

    @property
    def emissions(self) -> list[Emissions]:
        """Emissions of each method's search under ``carbon``; none if nothing was declared."""
        return carbon.emissions(self.each, self.carbon) if self.carbon else []

    @cached_property
    def sets(self) -> pd.DataFrame:
        """One line per (method, limit, test set, metric); computed on demand: large boards never need it."""
        return test_sets.figures(self.lines, self.quantity)

    @cached_property
    def scores(self) -> list[Scores]:
        """Every metric on every test set as texts, the deciding one first."""
        order = list(zip(self.rows["method"], map(str, self.rows["limit"]), strict=True))
        return test_sets.scores(self.sets, self.lines, order, self.metric, self.baseline, self.quantity)

    @cached_property
    def notices(self) -> list[str]:
        """Reasons why the rows rank no methods; empty if they do."""
        task, tier, profile = (self.shared[key] for key in ("task", "tier", "profile"))
        return notes.notices(task, tier, profile, self.lines)

    @property
    def lowered(self) -> bool:
        """True if a row has networks with layers in low precision."""
        return not set(self.rows["precision"]) <= {"fp32", ""}

    @property
    def detailed(self) -> bool:
        """True if the runs' records are within reach; those of large boards are not."""
        return all(run.record is not None for run in self.runs)

    @cached_property
    def compared(self) -> pd.DataFrame:
        """The ``lines`` that may be compared, ranked and drawn: products of comparable runs."""
        return self.lines[self.lines["compared"]]

    @cached_property
    def sentences(self) -> pd.DataFrame:
        """Single networks against the baseline's over the test sentences; computed on demand."""
        return comparisons.over_sentences(self.compared, self.baseline, self.metric)

    @cached_property
    def each(self) -> list[Row]:
        """``rows``, one by one; not to be changed."""
        return list(self.rows.to_dict("records"))

    @cached_property
    def details(self) -> list[RowDetails]:
        """Scores and runs of each of ``each``."""
        return row_details(self.each, self.runs, self.named, self.obstacles, self.quantity)

    @property
    def metric_name(self) -> str:
        """The deciding metric as people write it."""
        return self.quantity(self.metric).name

    def quantity(self, metric: str) -> Quantity:
        """Return a metric's quantity, as the task declares it."""
        return self.units.metrics.get(metric) or quantities.of_metric(metric)

    @property
    def comparable(self) -> list[RunSummary]:
        """The runs that nothing forbids comparing."""
        return [run for run in self.runs if run.id not in self.obstacles]

    @property
    def followers(self) -> list[RunSummary]:
        """The runs that took their architectures from another."""
        return [run for run in self.runs if run.follows]

    @cached_property
    def volume_progress(self) -> Progress | None:
        """Hypervolume of each run against what it had spent; None if that is not known."""
        return search_progress.volume_progress(self.comparable, self.named, self.before, self.axis)

    @cached_property
    def search_progress(self) -> Progress | None:
        """Best validation loss of each run against its evaluations; None if no search was recorded."""
        return search_progress.search_progress(self.comparable, self.named)

    @cached_property
    def spending(self) -> pd.DataFrame:
        """Mean amount of each method, phase and kind (``spending.by_phase``)."""
        return spending.by_phase(self.comparable, self.named, self.before)

    @property
    def bound_elsewhere(self) -> bool:
        """Return whether the limits bound latencies of another runtime than that of the rows."""
        return selection.limits_are_of_another_runtime(self.shared["tier"])

    @property
    def results_version(self) -> str:
        """Version of the frozen reference points of the hypervolume."""
        return selection.results_version()


def build_table(
    records: Sequence[Record], baseline: str | None = None, attached: Mapping[str, Attached] | None = None
) -> Table:
    """Average, compare and annotate records of one group.

    Args:
        records: at least one, all of one task, tier, profile, allowance and data.
        baseline: the method that the others are compared with; default the first of ``BASELINES``, else
            the first.
        attached: record id -> contents of the files beside published records; without it the table has no
            column for verdicts of second runs, nor for latencies in other runtimes.

    Raises:
        UsageError: no records, or records that must not share a table; the message lists what differs.
        UnknownBaselineError: the named baseline is no method that the table compares.
    """
    if not records:
        raise UsageError("no records to report on: make some first: supernet-bench run mt --tier smoke")
    from benchmarks.claims import judge

    every = [run_summary.summarize(record, keep=True, measured=judge.measured(record)) for record in records]
    return build_from_runs(every, baseline, attached)


def build_from_runs(
    every: Sequence[RunSummary], baseline: str | None = None, attached: Mapping[str, Attached] | None = None
) -> Table:
    """Build the table of runs; without their records it has no test sets, progress and spending."""
    from benchmarks.claims import judge

    grouping.require_comparable(every)
    latest = grouping.latest(every)
    named = grouping.labels(latest)
    # A run may follow one that another run of its seed has superseded.
    obstacles, before = grouping.obstacles(every), run_summary.spent_by_leaders(every)
    obstacles = {run.id: obstacles[run.id] for run in latest if run.id in obstacles}
    counted = [run for run in latest if run.status != "failed"]
    metric = grouping.metric_of(counted or latest)
    facts = latest[0].facts
    units = latest[0].units
    quality = units.metrics.get(metric) or quantities.of_metric(metric)
    lines = run_summary.headlines(counted, named, metric, obstacles)
    costs = rows.run_costs(latest, named, before)
    sources = sorted(set(costs["source"].dropna()))
    elsewhere_bound = selection.limits_are_of_another_runtime(facts["tier"])
    frame = rows.build_rows(lines, costs, sources, obstacles, quality, bounded=not elsewhere_bound)
    verdicts = {name: files.verdicts for name, files in (attached or {}).items()}
    if attached is not None:
        frame["verified"] = attachment_columns.verified_column(frame, latest, named, verdicts)
    elsewhere, recipes = attachment_columns.runtime_columns(counted, named, attached or {}, obstacles)
    compared = lines[lines["compared"]]
    axis = selection.axis(lines["limit"], facts["task"], facts["tier"])
    volumes = comparisons.volumes_of(compared[~compared["of"].isin(lines["of"][_unranked(lines)])], axis)
    baseline = _baseline(counted, named, sorted(set(compared["method"])), baseline, facts)
    kept = {run.id for run in latest}
    return Table(
        shared={**facts, **latest[-1].facts},
        metric=metric,
        units=units,
        rows=frame,
        comparisons=comparisons.compare(compared, volumes, baseline, judge.compared(every, named)),
        volumes=volumes,
        baseline=baseline,
        signatures=notes.signatures(lines, metric) | recipes,
        sources=sources,
        failures=notes.failures(latest, named, obstacles, superseded=len(every) - len(latest)),
        notes=([notes.OTHER_RUNTIME] if elsewhere_bound else [])
        + notes.footnotes(frame, latest)
        + notes.flagged(latest, named)
        + notes.untimed(lines)
        + ([notes.REPRODUCED] if attached is not None else []),
        verdicts=attachment_columns.verdict_lines(latest, named, verdicts),
        elsewhere=elsewhere,
        runs=latest,
        superseded=[run for run in every if run.id not in kept],
        named=named,
        lines=lines,
        axis=axis,
        obstacles=obstacles,
        before=before,
    )


def _unranked(lines: pd.DataFrame) -> pd.Series[bool]:
    """Return the products that are not ranked; a hypervolume of the other limits would be too low."""
    return (lines["method"] == lines["of"]) & ~lines["compared"]


def _baseline(
    counted: Sequence[RunSummary], named: Mapping[str, str], methods: Sequence[str], word: str | None,
    facts: Mapping[str, str],
) -> str | None:  # fmt: skip
    """Return the label of the method that the others are compared with; None without comparable methods.

    Args:
        methods: labels of comparable methods.
        word: label of the wanted one, or its name for default options; None: the first of ``BASELINES``.
        facts: of the table, for the message.

    Raises:
        UnknownBaselineError: none of the methods is named so.
    """
    default = {run.method: named[run.id] for run in counted if not run.options}
    if word is None or not methods:
        names = map(default.get, BASELINES)
        return next((name for name in names if name in methods), methods[0] if methods else None)
    label = word if word in methods else default.get(word)
    if label in methods:
        return label
    of_table = f"{facts['task']} {facts['tier']} on {facts['profile']}"
    raise UnknownBaselineError(
        f"--baseline '{word}': no such method is compared in the table of {of_table}."
        f" {suggestions.suggest(word, methods)}".rstrip()
        + f"\nits labels: {', '.join(methods)}\nname one: --baseline {shlex.quote(methods[0])}"
    )
