"""Plan of a published record's second run on this machine, or the reasons why there can be none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import identity, registry
from benchmarks.api import UsageError
from benchmarks.hardware import profiles
from benchmarks.hardware.probe import probe
from benchmarks.hardware.profiles import Profile
from benchmarks.records import store
from benchmarks.records.canonical import JsonView
from benchmarks.records.provenance import source_state
from benchmarks.records.record import Probe, Record
from benchmarks.records.spec import RunSpec, Spec, spec_id
from benchmarks.records.text import sanitize
from benchmarks.registry import MethodRef, started
from benchmarks.runs.plan import Folders, Plan, PlannedRun, parent_of
from benchmarks.tasks import Task, code_digest, get_task, starting


@dataclass
class Rerun:
    """Plan of a second run; ``obstacles`` are the reasons against it, each with the command that helps."""

    plan: Plan | None = None
    task: Task | None = None
    profile: Profile | None = None
    obstacles: list[str] = field(default_factory=list)
    timings: dict[str, list[Probe]] = field(default_factory=dict)
    """Run -> the published answers to its probes, where there is a published record of it."""
    code: list[tuple[str, str, str]] = field(default_factory=list)
    """``task`` or ``substrate`` where today's code is another, with the digests published and now."""

    @property
    def run(self) -> PlannedRun:
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
    """Return the plan of a second run.

    Args:
        record: the published one.
        folders: of the second run.
        known: published records, among which the run that this one ``follows`` is looked up.
        source: ``path.py:Class`` of a method that is not installed.
        start: folder of the pre-trained model that its networks started from, if any.
    """
    spec, rerun = record["spec"], Rerun()
    try:
        RunSpec.of(spec)
    except UsageError as error:
        return Rerun(obstacles=[f"{error}\nrun it with the commit that made the record"])
    try:
        method = registry.find(source or spec["method"])
        wanted = record["provenance"]["data"].get("start")
        start = Path(wanted) if wanted == "nothing" and start is None else start
        rerun.task = starting(get_task(spec["task"]), start)
    except UsageError as error:
        hint = "install the package that brings it, or name its file: --method ./its_file.py:Class"
        return Rerun(obstacles=[f"{error}\n{hint}"])
    if wanted is not None and start is None:
        sha256 = sanitize(wanted, 12)
        rerun.obstacles.append(
            f"its networks started from a pre-trained model with sha256 {sha256}...: --start-from DIR"
        )
        return rerun
    if method.name != spec["method"]:
        rerun.obstacles.append(f"the record is of method '{spec['method']}', {source} is '{method.name}'")
    elif not _same_method(record, method):
        rerun.obstacles.append(
            f"the code of method '{method.name}' differs: published {identity.of_record(record).method[:12]},"
            f" here {method.sha256[:12]}\n{_checkout(record)}"
        )
    rerun.profile = _profile(record, rerun.obstacles)
    if rerun.profile is None:
        return rerun
    try:
        tier = rerun.task.tier(spec["tier"], rerun.profile.device)
    except UsageError as error:
        rerun.obstacles.append(str(error))
        return rerun
    if tier.sha256 != spec["settings_sha256"]:
        rerun.obstacles.append(
            f"the settings of {spec['task']} {spec['tier']} differ: published"
            f" {spec['settings_sha256'][:12]}, here {tier.sha256[:12]}\n{_start(wanted, start)}"
            f"{_checkout(record)}"
        )
    parent = parent_of(tier)
    method = started(method, parent)
    first = _first(record, rerun.profile, known, method, parent, rerun.obstacles)
    if rerun.obstacles:
        return rerun
    rerun.code = _other_code(record)
    rerun.plan = Plan(folders, rerun.profile.name, rerun.profile.device)
    chain = [first] if first is not None else []
    while chain and chain[0].first is not None:
        chain.insert(0, chain[0].first)
    rerun.plan.runs += [run for run in chain if run.state != "done"]
    own = replace(RunSpec.of(spec), profile=rerun.profile.name)
    rerun.plan.runs.append(PlannedRun(own, method, first))
    published = {r["id"]: r for r in [*known, record]}
    for run in rerun.plan.runs:
        id = spec_id({**run.spec.to_dict(), "profile": spec["profile"]})
        known_record = published.get(id)
        if known_record is None or known_record["status"] == "done":
            run.spec = _patient(run.spec)
        if known_record is not None:
            rerun.timings[run.spec.id] = timed(known_record)
    return rerun


PATIENCE = 10
"""Factor on the seconds of a run that they did not stop, so that it also ends on a slower machine."""


def _patient(spec: RunSpec) -> RunSpec:
    seconds = spec.budget["seconds"]
    return replace(spec, budget={**spec.budget, "seconds": seconds * PATIENCE}) if seconds else spec


def _same_method(record: JsonView, method: MethodRef) -> bool:
    on = identity.device_of(record)
    return identity.of_record(record).method == identity.equivalent(identity.METHOD, method.sha256, on)


def _other_code(record: Record) -> list[tuple[str, str, str]]:
    """Return task and substrate if their code is not the record's, as ``Rerun.code``."""
    provenance = record["provenance"]
    known = (
        "substrate_sha256" in record["spec"] or provenance.get("commit") in identity.published()["commits"]
    )
    if not known and source_state() == (provenance.get("commit"), provenance.get("dirty_sha256")):
        return []
    now = {
        identity.TASK: code_digest(record["spec"]["task"]),
        identity.SUBSTRATE_KIND: identity.substrate(),
    }
    before = identity.of_record(record)._asdict()
    on = identity.device_of(record)
    today = {kind: identity.equivalent(kind, digest, on) for kind, digest in now.items()}
    return [(kind, before[kind], today[kind]) for kind in today if before[kind] != today[kind]]


def timed(record: Record) -> list[Probe]:
    """Return the published answers to probes; empty for an old record that has none."""
    timings = record.get("timings")
    return list(timings["probes"]) if timings is not None else []


def limits(record: Record) -> tuple[tuple[float, float], ...]:
    """Return the published latency limits as (share, milliseconds); empty for an old record."""
    timings = record.get("timings")
    if timings is None:
        return ()
    return tuple((float(share), float(ms)) for share, ms in timings["limits"])


def _start(wanted: object, start: Path | None) -> str:
    """Return a hint on the pre-trained model, for settings that differ; empty if there is none."""
    if start is None:
        return ""
    if wanted is None:
        return "it started from no pre-trained model: leave out --start-from\n"
    return f"it started from a model with sha256 {sanitize(wanted, 12)}...: is {start} that one?\n"


def _checkout(record: Record) -> str:
    """Return the command that installs the published code."""
    provenance = record["provenance"]
    commit = sanitize(provenance.get("commit") or "", 64)
    if not commit:
        package = provenance.get("package")
        if isinstance(package, Mapping):
            release = f"{sanitize(package.get('name'), 60)}=={sanitize(package.get('version'), 40)}"
            return f"it was made by an installed release: pip install {release}"
        return "the record names no commit: take the version of the code that made it"
    dirty = ", and changes that were never committed" if provenance.get("dirty_sha256") else ""
    return f"it was made by commit {commit}{dirty}: git checkout {commit}"


def _profile(record: Record, obstacles: list[str]) -> Profile | None:
    """Return the record's profile if it fits this machine, else the machine's own of the same device."""
    name = record["spec"]["profile"]
    if name == profiles.UNDECLARED:
        gpus = record["provenance"]["machine"].get("gpus")
        declared = replace(profiles.get(name), device="cuda" if gpus else "cpu")
        if profiles.get(name).device == declared.device:
            return declared
    elif profiles.is_known(name):
        declared = profiles.get(name)
        if not profiles.differences(declared, probe()):
            return declared
        here = profiles.get(profiles.resolve("auto"))
        if here.device == declared.device:
            return here
    else:
        obstacles.append(f"no profile '{name}' here\nsee what there is: supernet-bench profiles")
        return None
    obstacles.append(
        f"the record is of {name} ({declared.device}), and this machine has no such device\n"
        f"on a machine that has: supernet-bench verify {record['id']}"
    )
    return None


def _first(
    record: Record,
    profile: Profile,
    known: Sequence[Record],
    method: MethodRef,
    parent: str | None,
    obstacles: list[str],
) -> PlannedRun | None:
    """Return the run that the record follows, with its own leaders: published, else to be run first."""
    spec = record["spec"]
    if spec["follows"] is None:
        return None
    leader = _leader(spec, profile, known, method, parent)
    if leader is None:
        obstacles.append(
            f"it follows run {sanitize(spec['follows'], 40)}, which is not here,"
            " nor is it what this code runs\n"
            f"put that record beside it, as under results/records; {_checkout(record)}"
        )
    return leader


def _leader(
    spec: Spec, profile: Profile, known: Sequence[Record], method: MethodRef, parent: str | None
) -> PlannedRun | None:
    """Return the run that a run of ``method`` follows, as planned; None if this code does not run it."""
    beside = next((r for r in known if r["id"] == spec["follows"] and r["status"] != "failed"), None)
    try:
        if beside is not None and not method.inherits:  # a record has no weights: they are made again
            return PlannedRun(RunSpec.of(beside["spec"]), method, state="done", load=lambda: beside)
        leader = started(registry.find(method.follows or ""), parent)
        own = beside["spec"] if beside is not None else _plain(spec, leader, parent, spec["follows"])
    except UsageError:
        return None
    if spec_id(own) != spec["follows"] or not _same_method({"spec": own, "provenance": {}}, leader):
        return None
    first = None
    if own["follows"] is not None and (first := _leader(own, profile, known, leader, parent)) is None:
        return None
    return PlannedRun(replace(RunSpec.of(own), profile=profile.name), leader, first)


def _plain(spec: Spec, leader: MethodRef, parent: str | None, id: str | None = None) -> Spec:
    """Return the specification of a leader with default options, under the conditions of ``spec``.

    It is the one with this id if some digest of the leader's code, older or equivalent, gives it.

    Raises:
        UsageError: it follows a method that is not here.
    """
    specs = _specs(spec, leader, parent)
    return next((own for own in specs if spec_id(own) == id), specs[0])


def _specs(spec: Spec, leader: MethodRef, parent: str | None) -> list[Spec]:
    """Every specification of ``_plain``, with the digest of today first."""
    follows: list[str | None] = [None]
    if leader.follows is not None:
        before = started(registry.find(leader.follows), parent)
        follows = [spec_id(own) for own in _specs(spec, before, parent)]
    return [
        {
            **spec,
            "method": leader.name,
            "method_version": leader.version,
            "options": {},
            "method_sha256": digest,
            "follows": first,
        }
        for digest in [leader.sha256, *identity.same_as(leader.sha256)]
        for first in follows
    ]


def stamp(folder: Path, state: Sequence[str | None]) -> None:
    """Clear the state of an interrupted second run if the code has changed since."""
    import json
    import shutil

    mark, now = folder / "source.json", json.dumps(list(state))
    if not mark.exists() or mark.read_text() != now:
        shutil.rmtree(folder, ignore_errors=True)
        store.write_text(mark, now)
