"""Overhead of a mixture in training: time and trained numbers against plain sharing.

The timings come from ``supernet-bench study training-overhead-measure``; this study computes from them alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.records.study_files import StudyOutcome, commit_text
from benchmarks.stats.intervals import t_interval
from benchmarks.stats.quantiles import DISTURBED
from benchmarks.stats.rounding import six_digits
from benchmarks.studies.interval_text import interval_text
from benchmarks.tasks.datasets import Say

SUMMARY = "time that a mixture costs in training, against plain sharing; from training-overhead-measure"
READS = "training-overhead"
FOLDER = "training-overhead"
"""Folder of the measurements under the results folder."""
PLAIN = "sandwich"
"""Kind that all are compared with: plain sharing under the sampling rule of the mixtures."""
BUILDS = 6
"""Times that every supernet is built, from another seed each. Two builds lie elsewhere in memory, and draw
other architectures."""
MARGIN = 10.0
"""Overhead in per cent below which a mixture costs hardly more."""
RULE = (
    f"a mixture costs hardly more than plain sharing where the 95 % interval of its overhead, over {BUILDS}"
    f" builds of all supernets, lies below {MARGIN:g} %; it costs more where the interval lies above; else"
    " undecided."
)
COLUMNS = ("task, tier, space", "machine", "supernet", "passes", "ms an update", "overhead, %", "is",
           "trained numbers, M")  # fmt: skip
NOTES = (
    "An update trains on one batch of the tier's size, in the tier's recipe and precision. The sandwich rule"
    " makes three passes, of the largest, a random and the smallest network; hat one, of a random network. In"
    " a turn all supernets train on the same batches and random networks, one after the other in a random"
    " order, and in its reverse in the next.",
    "ms: median over turns of all builds. Overhead: median over the turns of a build of the time over plain"
    " sharing's in that turn, minus 1; its mean and 95 % t-interval over builds.",
    "Trained numbers: weights, experts and routers, each with a gradient and two moments of Adam. Activations"
    " and recorded graphs take memory besides, which is not measured.",
    "Reading and moving data, evaluations and the search are not in it. Nor is, on a GPU, recording"
    " sub-layers as graphs, which an update's random network asks for when it first has them.",
)


@dataclass(frozen=True)
class Overhead:
    """A kind of supernet on one task, tier and machine.

    Attributes:
        where: task and tier.
        space: search space.
        profile: declared machine.
        kind: one of ``measure.KINDS``.
        ms: median milliseconds an update.
        percent: overhead over plain sharing in per cent, one value a build.
        numbers: trained numbers.
        others_cpu: processors that other programs took meanwhile, at most.
    """

    where: str
    space: str
    profile: str
    kind: str
    ms: float
    percent: tuple[float, ...]
    numbers: int
    others_cpu: float

    @property
    def verdict(self) -> str:
        """Verdict of ``RULE``; a dash for plain sharing and for kinds that are no mixtures."""
        if not self.kind.startswith("mos-"):
            return "-"
        interval = t_interval(self.percent)
        if len(self.percent) < BUILDS or interval.low is None or interval.high is None:
            return f"interim, {len(self.percent)} builds"
        if interval.high < MARGIN:
            return "hardly more"
        return "more" if interval.low > MARGIN else "undecided"


def run(folder: Path | None, say: Say = lambda line: None) -> StudyOutcome:
    """Run the study over the measurements in ``folder``.

    Raises:
        UsageError: the folder has no measurements, or a file of it cannot be read.
    """
    from benchmarks.report.plots.style import render
    from benchmarks.studies.training_overhead import plot

    files = read(folder or Path(FOLDER))
    rows = [row for facts in files for row in overheads(facts)]
    notes = list(NOTES)
    if disturbed := sorted({f"{row.where} on {row.profile}" for row in rows if row.others_cpu > DISTURBED}):
        notes.insert(0, f"Disturbed: other programs were at work beside {', '.join(disturbed)}.")
    machines = sorted(
        {
            f"{facts['profile']}: torch {facts['torch']}, commit {commit_text(facts['written'])}"
            for facts in files
        }
    )
    return StudyOutcome(
        title="What a mixture of supernets costs in training",
        question="How much longer does an update of a mixture take than one of plain sharing under the same"
        " sampling rule, and how many more numbers does it train?",
        rule=RULE,
        columns=COLUMNS,
        rows=[_row(row) for row in rows],
        notes=[*notes, f"Timed on {'; '.join(machines)}."],
        facts={
            "study": "training-overhead",
            "rule": RULE,
            "rows": [asdict(row) for row in rows],
            "paired": {
                f"{row.where} on {row.profile}: {row.kind} - {PLAIN}": {"values": row.percent, "unit": "%"}
                for row in rows
                if row.kind != PLAIN
            },
        },
        pictures=render(lambda: plot.draw(rows)),
    )


def read(folder: Path) -> list[JsonObject]:
    """Return the content of each file of measurements.

    Raises:
        UsageError: the folder has no measurements, a file of it cannot be read, or two are of one task, tier
            and machine.
    """
    command = "supernet-bench study training-overhead-measure --data-dir DIR"
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise UsageError(f"{folder} has no measurements of the overhead study: {command}")
    files: dict[tuple[str, ...], JsonObject] = {}
    for path in paths:
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            place = tuple(str(facts[name]) for name in ("task", "tier", "profile"))
            if place in files:
                raise ValueError(f"another file is of {' '.join(place)}")
            _check(facts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise UsageError(
                f"{path} has no measurements of the overhead study ({error!r}): move it away, then {command}"
            ) from error
        files[place] = facts
    return list(files.values())


def _check(facts: JsonView) -> None:
    """Check that a file has all figures of the page.

    Raises:
        ValueError: it has no mixture, times that are none, or builds that do not vary.
    """
    rows = overheads(facts)
    for row in rows:
        _row(row)
        if not (math.isfinite(sum(row.percent)) and row.ms > 0):
            raise ValueError(f"times of {row.kind} are no positive numbers")
        if row.kind != PLAIN and len(row.percent) > 1 and len(set(row.percent)) == 1:
            raise ValueError(f"all builds of {row.kind} have one overhead")
    if not any(row.kind.startswith("mos-") for row in rows):
        raise ValueError("no mixture")
    commit_text(facts["written"]), str(facts["torch"])


def overheads(facts: JsonView) -> list[Overhead]:
    """Return a row for each kind of supernet of one file."""
    seconds: Mapping[str, Sequence[Sequence[float]]] = facts["seconds"]
    plain = np.asarray(seconds[PLAIN])
    rows = []
    for kind, values in seconds.items():
        times = np.asarray(values)
        percent = 100 * (np.median(times / plain, axis=1) - 1)
        rows.append(
            Overhead(
                f"{facts['task']} {facts['tier']}",
                facts["space"],
                facts["profile"],
                kind,
                six_digits(1e3 * float(np.median(times))),
                tuple(map(six_digits, percent.tolist())),
                facts["numbers"][kind],
                max(facts["others_cpu"]),
            )
        )
    return rows


def _row(row: Overhead) -> tuple[str, ...]:
    from benchmarks.studies.supernets import KINDS

    return (
        f"{row.where}, {row.space}",
        row.profile,
        row.kind,
        str(KINDS[row.kind][1].passes),
        f"{row.ms:.2f}",
        "0" if row.kind == PLAIN else interval_text(row.percent, "+.1f"),
        row.verdict,
        f"{row.numbers / 1e6:.2f}",
    )
