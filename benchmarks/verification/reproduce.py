"""One verification: draw a record if none is named, run it again, compare the two records."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import identity, registry
from benchmarks.api import UsageError
from benchmarks.records.folders import local_results
from benchmarks.records.provenance import source_state
from benchmarks.records.record import Record
from benchmarks.records.text import sanitize
from benchmarks.runs.execution import exclusive, execute
from benchmarks.runs.options import RunOptions
from benchmarks.runs.plan import Folders
from benchmarks.runs.user_declarations import restored
from benchmarks.tasks import get_task
from benchmarks.verification import compare, rerun

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.runs.task_context import TaskContext

TIER = "smoke"
"""Tier of the records that are drawn: their runs take about a minute."""
MOST_JOBS = 64
"""Runs at a time up to which a record's number is repeated."""


class OtherDataError(UsageError):
    """The data of this machine are not those of the record."""


def draw(records: Sequence[Record]) -> tuple[Record, int, str] | None:
    """Draw a record of the quickest tier, with the commit as the seed.

    Records of the present settings, and code of method and substrate, come first, because their bits must
    return; then records of the present settings and methods.

    Returns:
        The record, the number of records that it was drawn from, and the seed; None if there is no record.
    """
    pool = [r for r in records if r["spec"]["tier"] == TIER and r["status"] != "failed"]
    if not pool:
        return None
    pool = [record for record in pool if _has_current_settings(record)] or pool
    of_methods = [record for record in pool if _has_current_method(record)]
    of_code = [record for record in of_methods if _has_current_substrate(record)]
    candidates = of_code or of_methods or pool
    seed = (source_state()[0] or "no commit")[:12]
    record = random.Random(seed).choice(sorted(candidates, key=lambda r: str(r["id"])))
    return record, len(candidates), seed


def _has_current_settings(record: Record) -> bool:
    """Return whether the settings of a record's tier are today's."""
    spec = record["spec"]
    with restored(record):
        try:
            tier = get_task(spec["task"]).tier(spec["tier"], identity.device_of(record))
        except UsageError:
            return False
        return tier.sha256 == spec["settings_sha256"]


def _has_current_substrate(record: Record) -> bool:
    """Return whether the harness's code, too, is that of the record."""
    on = identity.device_of(record)
    current = identity.equivalent(identity.SUBSTRATE_KIND, identity.substrate(), on)
    return current == identity.of_record(record).substrate


def _has_current_method(record: Record) -> bool:
    """Return whether the code of a record's method is the installed one."""
    try:
        code = registry.find(record["spec"]["method"]).sha256
        current = identity.equivalent(identity.METHOD, code, identity.device_of(record))
    except UsageError:
        return False
    return current == identity.of_record(record).method


def reproduce(
    record: Record,
    published: Sequence[Record],
    results: Path,
    console: Console,
    *,
    data_dir: Path | None = None,
    method: str | None = None,
    start_from: Path | None = None,
) -> tuple[compare.Verdict, Record | None]:
    """Run a record again and compare.

    Args:
        published: records among which those that it builds on are looked up.
        results: folder of the published records; the second run works in its ``local/verify``.
        console: for progress.
        data_dir: folder of real data; of a task of the user's own the folder of its data.
        method: ``path.py:Class`` of a method that is not installed.
        start_from: folder of the pre-trained model of its networks, if any.

    Returns:
        The verdict, and the record of the second run, or None if there was no second run.
    """
    if record["status"] == "failed":
        return compare.cannot_tell("the published run failed: it has no figures to compare"), None
    with restored(record, data_dir):
        return _run_again(record, published, results, console, data_dir, method, start_from)


def _run_again(
    record: Record, published: Sequence[Record], results: Path, console: Console, data_dir: Path | None,
    method: str | None, start_from: Path | None,
) -> tuple[compare.Verdict, Record | None]:  # fmt: skip
    spec, provenance = record["spec"], record["provenance"]
    folders = Folders(local_results(results) / "verify", spec["suite"], spec["tier"])
    prepared = rerun.prepare(record, folders, published, method, start_from)
    if prepared.obstacles:
        return compare.cannot_tell(*prepared.obstacles), None
    assert prepared.plan is not None and prepared.profile is not None and prepared.task is not None
    limits = rerun.limits(record)

    def adapt(ready: TaskContext) -> TaskContext:
        """Refuse data other than the record's, and set its limits."""
        digests, expected = dict(ready.prepared.digests), provenance["data"]
        if digests != expected:
            names = sorted(n for n in {*digests, *expected} if digests.get(n) != expected.get(n))
            raise OtherDataError(
                f"the data are not the published ones: {', '.join(sanitize(n, 60) for n in names[:6])}"
            )
        return replace(ready, limits=limits or ready.limits)

    jobs = provenance.get("jobs")
    options = RunOptions(
        command=["supernet-bench", "verify", record["id"]],
        data_dir=data_dir,
        jobs=jobs if isinstance(jobs, int) and 0 < jobs < MOST_JOBS else 1,  # decides the number of threads
        probe_answers={
            run: {(int(call), str(key)): float(answer) for call, key, answer in probes}
            for run, probes in prepared.timings.items()
        },
    )
    with exclusive(folders.home):
        rerun.stamp(folders.runs, [*source_state(), identity.substrate(), prepared.run.method.sha256])
        shutil.rmtree(folders.store, ignore_errors=True)
        try:
            execute(prepared.plan, [prepared.task], prepared.profile, options, console, adapt=adapt)
        except OtherDataError as error:
            return compare.cannot_tell(f"{error}\ngive the folder that has them: --data-dir DIR"), None
        again = prepared.run.record
        # The next second run would take over a run or a record that remains here.
        for folder in (folders.runs, folders.store):
            shutil.rmtree(folder, ignore_errors=True)
    if again is None:
        return compare.cannot_tell("the method skips this task here"), None
    return compare.compare(record, again, published, prepared.code), again
