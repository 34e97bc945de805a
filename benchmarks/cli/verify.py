"""``supernet-bench verify``: run a published record again and say whether it reproduces."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import identity, registry
from benchmarks.api import UsageError
from benchmarks.records import attachments, store
from benchmarks.records.provenance import source_state
from benchmarks.records.store import Record
from benchmarks.records.text import sanitize
from benchmarks.runs.plan import Folders
from benchmarks.verification import compare, rerun, verdict_files

if TYPE_CHECKING:
    from benchmarks.runs.task_context import Ready

TIER = "smoke"
"""Records of this tier are drawn from where none is named: their runs take about a minute."""
QUALITY, LATENCY = 1, 3
"""Status where quality does not reproduce, and where latency alone does not."""
SHOWN = 12
"""Differing fields of provenance that the terminal lists."""


def run(options: argparse.Namespace) -> int:
    """Verify one record; the status is ``QUALITY`` or ``LATENCY`` where that does not reproduce, else 0."""
    known = store.load_all(options.results / "records", [])
    found = named(options, known) if options.record else _drawn(options, known)
    if found is None:
        return 0
    record, beside = found
    known = [*{r["id"]: r for r in [*known, *beside]}.values()]
    if not options.json:
        spec = record["spec"]
        print(
            f"verifying {record['id']}: {spec['method']} seed {spec['seed']}, {spec['task']} {spec['tier']}"
        )
    verdict, again = _verify(options, record, known)
    path = None
    if again is not None:
        stored = verdict_files.to_record(record, again, verdict)
        # A row drawn at random is a check of the code: whoever wants its verdict published names it.
        path = attachments.write(
            options.results if options.record else options.results / "local", verdict_files.FOLDER, stored
        )
    if options.json:
        print(
            json.dumps(
                verdict_files.to_record(record, again, verdict) | {"path": path and str(path)}, indent=1
            )
        )
    else:
        _say(verdict, path)
    return QUALITY if verdict.quality == compare.NO else LATENCY if verdict.latency == compare.NO else 0


def named(options: argparse.Namespace, known: Sequence[Record]) -> tuple[Record, Sequence[Record]]:
    """The record of a path or an id, and those that lie in its store."""
    word, path = str(options.record), Path(options.record)
    if path.is_file():
        record, place = store.load(path), path.absolute()
        root = place.parents[3] if place.parts[-4:] == store.relative_path(record).parts else None
        return record, store.load_all(root, []) if root else []
    if re.fullmatch(r"[0-9a-f]{4,16}", word):
        hits = [r for r in known if r["id"].startswith(word)]
        if len(hits) == 1:
            return hits[0], []
        what = "several records start" if hits else "no record starts"
        listed = "".join(f"\n  {r['id']}  {store.relative_path(r)}" for r in hits[:9])
        raise UsageError(
            f"{what} with {word} in {options.results / 'records'}{listed}\ngive a file or its id"
        )
    raise UsageError(
        f"no record '{sanitize(word, 200)}': give a file, or the id of one under"
        f" {options.results / 'records'}\n"
        "list the published ones: results/LEADERBOARD.md"
    )


def _drawn(options: argparse.Namespace, known: Sequence[Record]) -> tuple[Record, Sequence[Record]] | None:
    """Draw a record of the quickest tier, with the commit as the seed; None where there is none.

    Records of today's whole code come first, whose bits must return; then those of its methods.
    """
    pool = [r for r in known if r["spec"]["tier"] == TIER and r["status"] != "failed"]
    if not pool:
        said = f"nothing to verify: no {TIER} records under {options.results / 'records'}"
        print(json.dumps({"answer": None, "reasons": [said]}) if options.json else said)
        return None
    mine = [r for r in pool if _current(r)]
    now = identity.equivalent(identity.SUBSTRATE_KIND, identity.substrate())
    mine = [r for r in mine if identity.of_record(r).substrate == now] or mine
    seed = (source_state()[0] or "no commit")[:12]
    record = random.Random(seed).choice(sorted(mine or pool, key=lambda r: str(r["id"])))
    if not options.json:
        print(f"drawn from {len(mine or pool)} {TIER} records of this code's methods, with seed {seed}")
    return record, []


def _current(record: Record) -> bool:
    try:
        ours = identity.equivalent(identity.METHOD, registry.find(record["spec"]["method"]).sha256)
        return ours == identity.of_record(record).method
    except UsageError:
        return False


def _verify(
    options: argparse.Namespace, record: Record, known: Sequence[Record]
) -> tuple[compare.Verdict, Record | None]:
    """The verdict, and the second run's record where there was a second run."""
    from benchmarks.cli.run import alone, execute

    if record["status"] == "failed":
        return compare.cannot_tell("the published run failed: it has no figures to compare"), None
    spec = record["spec"]
    folders = Folders(options.results / "local" / "verify", spec["suite"], spec["tier"])
    made = rerun.prepare(record, folders, known, options.method, options.start_from)
    if made.hindrances:
        return compare.cannot_tell(*made.hindrances), None
    assert made.plan is not None and made.profile is not None
    limits, published = rerun.limits(record), record["provenance"]["data"]

    def before(ready: Ready) -> Ready:
        digests = dict(ready.prepared.digests)
        if digests != published:
            names = sorted(n for n in {*digests, *published} if digests.get(n) != published.get(n))
            raise OtherData(
                f"the data are not the published ones: {', '.join(sanitize(n, 60) for n in names[:6])}"
            )
        return replace(ready, limits=limits or ready.limits)

    jobs = record["provenance"].get("jobs")
    how = argparse.Namespace(
        json=options.json,
        data_dir=options.data_dir,
        checkpoint_seconds=30.0,
        jobs=jobs if isinstance(jobs, int) and 0 < jobs < 64 else 1,  # it decides the number of threads
    )
    with alone(folders.home):
        rerun.stamp(folders.runs, [*source_state(), identity.substrate(), made.run.method.sha256])
        shutil.rmtree(folders.store, ignore_errors=True)
        try:
            command = ["supernet-bench", "verify", record["id"]]
            execute(how, made.plan, [made.task], made.profile, command, before, made.timings)
        except OtherData as error:
            return compare.cannot_tell(f"{error}\ngive the folder that has them: --data-dir DIR"), None
        again = made.run.record
        # What is left would be found, and believed, by the next second run.
        for folder in (folders.runs, folders.store):
            shutil.rmtree(folder, ignore_errors=True)
    if again is None:
        return compare.cannot_tell("the method skips this task here"), None
    return compare.compare(record, again, known, made.code), again


class OtherData(UsageError):
    """The data of this machine are not those of the record."""


def _say(verdict: compare.Verdict, path: Path | None) -> None:
    """The verdict for people; every text of a record made plain."""
    for check in verdict.checks:
        word = {True: "holds", False: "DOES NOT HOLD", None: "cannot tell"}[check.holds]
        span = "" if check.low is None or check.high is None else f" in [{check.low:.4g}, {check.high:.4g}]"
        told = f"published {_figure(check.published)}   now {_figure(check.now)}{span}"
        print(f" {check.what:14} limit {check.limit:10} {told}   {word} ({sanitize(check.how, 120)})")
    if verdict.checks:
        if verdict.identical:
            bits = "identical candidates, weights, translations and ledger"
        else:
            bits = f"differ, first in {sanitize(verdict.first_difference, 80)}"
        timings = "the published timings" if verdict.repeated_timings else "timings of its own"
        print(f" {'bits':14} {bits}; the search was told {timings}")
    for part, before, today in verdict.code:
        print(
            f" {'code':14} of the {part} differs: published {sanitize(before, 19)}, now {sanitize(today, 19)}"
        )
    for name, old, new in verdict.differences[:SHOWN]:
        print(f" {'differs':14} {sanitize(name, 60)}: published {sanitize(old, 60)}, now {sanitize(new, 60)}")
    if len(verdict.differences) > SHOWN:
        print(f" {'':14} and {len(verdict.differences) - SHOWN} more fields: see --json")
    for reason in verdict.reasons:
        first, *rest = (sanitize(line, 240) for line in reason.splitlines())
        print(f" because        {first}" + "".join(f"\n{'':16}{line}" for line in rest))
    if path is not None:
        print(f" written        {os.path.relpath(path)}")
    print(f" => {verdict_files.words(verdict_files.parts(verdict))}")


def _figure(value: Any) -> str:
    return "none" if value is None else f"{value:.4g}"
