"""A published record as a plan of this machine: what its second run is, or why there can be none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import profiles, registry
from benchmarks import records as store
from benchmarks.api import UsageError
from benchmarks.plan import Folders, Plan, Planned, RunSpec
from benchmarks.profiles import Profile
from benchmarks.records import Record
from benchmarks.registry import MethodRef
from benchmarks.report.rows import plain
from benchmarks.tasks import get_task, starting


@dataclass
class Rerun:
    """What is to be run; ``hindrances`` say why it cannot be, each with what to type."""

    plan: Plan | None = None
    task: Any = None
    profile: Profile | None = None
    hindrances: list[str] = field(default_factory=list)

    @property
    def run(self) -> Planned:
        """The second run of the record; what it follows comes before it in the plan."""
        assert self.plan is not None
        return self.plan.runs[-1]


def prepare(
    record: Record,
    folders: Folders,
    known: Sequence[Record],
    source: str | None = None,
    start: Path | None = None,
) -> Rerun:
    """The plan of a second run.

    Args:
        record: the published one.
        folders: where the second run works.
        known: published records, among which the one that this ``follows`` is looked for.
        source: ``path.py:Class`` of a method that is not installed.
        start: folder of the pre-trained model that its networks started from, if any.
    """
    spec, made = record["spec"], Rerun()
    try:
        method = registry.find(source or spec["method"])
        made.task = starting(get_task(spec["task"]), start)
    except UsageError as error:
        hint = "install the package that brings it, or name its file: --method ./its_file.py:Class"
        return Rerun(hindrances=[f"{error}\n{hint}"])
    wanted = record["provenance"]["data"].get("start")
    if wanted is not None and start is None:
        sha256 = plain(wanted, 12)
        made.hindrances.append(
            f"its networks started from a pre-trained model with sha256 {sha256}...: --start-from DIR"
        )
        return made
    if method.name != spec["method"]:
        made.hindrances.append(f"the record is of method '{spec['method']}', {source} is '{method.name}'")
    elif method.sha256 != spec["method_sha256"]:
        made.hindrances.append(
            f"the file of method '{method.name}' differs: published {spec['method_sha256'][:12]}, here"
            f" {method.sha256[:12]}\n{_checkout(record)}"
        )
    made.profile = _profile(record, made.hindrances)
    if made.profile is None:
        return made
    try:
        tier = made.task.tier(spec["tier"], made.profile.device)
    except UsageError as error:
        made.hindrances.append(str(error))
        return made
    if tier.sha256 != spec["settings_sha256"]:
        made.hindrances.append(
            f"the settings of {spec['task']} {spec['tier']} differ: published"
            f" {spec['settings_sha256'][:12]}, here {tier.sha256[:12]}\n{_checkout(record)}"
        )
    first = _first(record, made.profile, folders, known, method, made.hindrances)
    if made.hindrances:
        return made
    made.plan = Plan(folders, made.profile.name, made.profile.device)
    own = RunSpec(**{**spec, "profile": made.profile.name})
    made.plan.runs.append(Planned(own, method, first))
    while first is not None and first.state != "done":
        made.plan.runs.insert(0, first)
        first = first.first
    return made


def timed(record: Mapping[str, Any]) -> list[Any]:
    """The published answers to probes; none in a record of before they were kept."""
    return list((record.get("timings") or {}).get("probes", ()))


def limits(record: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    """The published latency limits as (share, milliseconds); none in an old record."""
    found = (record.get("timings") or {}).get("limits", ())
    return tuple((float(share), float(ms)) for share, ms in found)


def _checkout(record: Record) -> str:
    """What to type to have the published code."""
    made = record["provenance"]
    commit = plain(made.get("commit") or "", 64)
    if not commit:
        return "the record names no commit: take the version of the code that made it"
    dirty = ", and changes that were never committed" if made.get("dirty_sha256") else ""
    return f"it was made by commit {commit}{dirty}: git checkout {commit}"


def _profile(record: Record, hindrances: list[str]) -> Profile | None:
    """The record's profile where this machine is one, else the machine's own for the same kind of device."""
    name = record["spec"]["profile"]
    if name == profiles.UNDECLARED:
        gpus = record["provenance"]["machine"].get("gpus")
        declared = replace(profiles.get(name), device="cuda" if gpus else "cpu")
        if profiles.get(name).device == declared.device:
            return declared
    elif name in profiles.names():
        declared = profiles.get(name)
        if not profiles.differences(declared, profiles.probe()):
            return declared
        here = profiles.get(profiles.resolve("auto"))
        if here.device == declared.device:
            return here
    else:
        hindrances.append(f"no profile '{name}' here\nsee what there is: supernet-bench profiles")
        return None
    hindrances.append(
        f"the record is of {name} ({declared.device}), and this machine has no such device\n"
        f"on a machine that has: supernet-bench verify {record['id']}"
    )
    return None


def _first(
    record: Record,
    profile: Profile,
    folders: Folders,
    known: Sequence[Record],
    method: MethodRef,
    hindrances: list[str],
) -> Planned | None:
    """The run that the record follows: a published one, else one that will be run first."""
    spec = record["spec"]
    if spec["follows"] is None:
        return None
    beside = next((r for r in known if r["id"] == spec["follows"] and r["status"] != "failed"), None)
    if beside is not None and not method.inherits:  # a record has no weights: they are made again
        return Planned(RunSpec(**beside["spec"]), method, state="done", record=beside)
    made = _again(spec, method.follows, spec["follows"], profile, known)
    if made is not None and made[0] == spec["follows"]:
        return made[1]
    hindrances.append(
        f"it follows run {plain(spec['follows'], 40)}, which is not here, nor is it what this code runs\n"
        f"put that record beside it, as under results/records; {_checkout(record)}"
    )
    return None


def _again(
    spec: Mapping[str, Any], name: str | None, run: str | None, profile: Profile, known: Sequence[Record]
) -> tuple[str, Planned] | None:
    """The run of a method that a run of ``spec`` builds on, with all that it follows itself, as this code
    makes it again.

    Args:
        name: of the method.
        run: its published id, where that is known: its record tells the options.

    Returns:
        its published id, and the run on this machine; None where this code has no such method.
    """
    try:
        leader = registry.find(name or "")
    except UsageError:
        return None
    nothing: dict[str, Any] = {"options": {}, "follows": None}
    beside: dict[str, Any] = next((r["spec"] for r in known if r["id"] == run), nothing)
    above = _again(spec, leader.follows, beside["follows"], profile, known) if leader.follows else None
    if leader.follows and above is None:
        return None
    facts = {"method": leader.name, "method_version": leader.version, "method_sha256": leader.sha256}
    own = {**spec, **facts, "options": beside["options"], "follows": above[0] if above else None}
    here = RunSpec(**{**own, "profile": profile.name})
    return store.spec_id(own), Planned(here, leader, above[1] if above else None)


def stamp(folder: Path, state: Sequence[str | None]) -> None:
    """Clear what an interrupted second run has left where the code has changed since."""
    import json
    import shutil

    mark, now = folder / "source.json", json.dumps(list(state))
    if not mark.exists() or mark.read_text() != now:
        shutil.rmtree(folder, ignore_errors=True)
        store.write_text(mark, now)
