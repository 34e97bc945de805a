"""Jobs: the arguments of the processes that search, score and measure a reference network.

A job is pickled to its process. No job of a search contains the path of the sealed test split, and neither
does anything that it contains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from benchmarks.records import store
from benchmarks.records.canonical import JsonView
from benchmarks.records.record import Candidate, Settings
from benchmarks.records.selection import headline_candidates
from benchmarks.records.spec import RunSpec
from benchmarks.runs.encrypted_references import EncryptedReferences

if TYPE_CHECKING:
    from benchmarks.runs.plan import PlannedRun
    from benchmarks.tasks import Prepared

Limits = tuple[tuple[float, float], ...]
"""Latency limits as (share of the reference network's latency, milliseconds)."""
ProbeAnswers = Mapping[tuple[int, str], float]
"""Number of the call and key of the architecture -> milliseconds or joules."""


class LeaderCandidate(NamedTuple):
    """One candidate of the run that a search follows, for ``Lab.given``."""

    target: float | Sequence[int] | None
    """Milliseconds, or fewest and most parameters; None if it was searched for no target."""
    architecture: Settings
    space: Settings | None = None
    """Search space of the architecture; None if it is the task's."""


class LeaderArtifacts(TypedDict):
    """Weights of the run that a search inherits from.

    ``candidates``: folder and sha256 of the weights of each ``LeaderCandidate``, in the same order.
    ``spent``: amount by kind that the run had charged.
    """

    candidates: list[tuple[str, str]]
    spent: Mapping[str, float]


@dataclass(frozen=True)
class LabFactory:
    """A Lab other than ``benchmarks.lab.lab.BenchLab``, by the name of the function that makes it.

    Attributes:
        function: ``module:function``. The function gets the method's source and returns a function from the
            run's folder and ``settings`` to a class like ``BenchLab``.
        settings: plain values for the factory.
        salt: further parts of the seed of the global generators.
    """

    function: str
    settings: Mapping[str, object]
    salt: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchJob:
    """One session of a search.

    Attributes:
        source: of the method, as ``registry.load`` takes it.
        prepared: the task's data without the sealed test split.
        reference_ms: latency of the task's reference network, milliseconds.
        jobs: runs at a time on this machine, which share its threads.
        checkpoint_seconds: between two checkpoints of a long phase.
        leader_candidates: candidates of the run that this one follows.
        leader_artifacts: weights of that run; None if the method does not inherit them.
        probe_answers: published answers that probes get in place of new measurements.
        lab: None for the ordinary Lab.
        method_sha256: digest that the method's code had when the run was planned; empty: any.
        starts: True if supernets start from the weights in ``leader_artifacts``.
    """

    folder: Path
    spec: RunSpec
    source: str
    prepared: Prepared
    limits: Limits
    reference_ms: float
    device: str
    jobs: int
    checkpoint_seconds: float
    leader_candidates: Sequence[LeaderCandidate] = ()
    leader_artifacts: LeaderArtifacts | None = None
    probe_answers: ProbeAnswers = field(default_factory=dict)
    lab: LabFactory | None = None
    method_sha256: str = ""
    starts: bool = False


@dataclass(frozen=True)
class ScoreJob:
    """The scoring of a search's candidates on the sealed test split, which ``prepared`` includes."""

    folder: Path
    prepared: Prepared
    device: str
    jobs: int
    references_sha256: str = ""
    """Digest that the test split had when it was prepared; empty: any."""
    encrypted: EncryptedReferences | None = None
    """The test split where searches are not isolated, in place of the folder that ``prepared`` names."""


@dataclass(frozen=True)
class IsolationJob:
    """A search that does nothing, to learn how one is isolated here."""

    folder: Path


@dataclass(frozen=True)
class ReferenceJob:
    """The measurement of a task's reference network.

    Attributes:
        out: JSON file for ``{"ms": milliseconds, "key": key}``.
        key: everything that the latency depends on.
    """

    profile: str
    task: str
    tier: str
    prepared: Prepared
    device: str
    out: Path
    key: JsonView


def leader_candidates(
    candidates: Iterable[Candidate], limits: Sequence[tuple[float, float]] = ()
) -> tuple[LeaderCandidate, ...]:
    """Return the headline candidate of each target, for the search that follows.

    Args:
        candidates: of the run that is followed.
        limits: present milliseconds of each share, in place of those of that run.
    """
    milliseconds = dict(limits)
    chosen = []
    for candidate in headline_candidates(candidates).values():
        limit = milliseconds.get(candidate.get("limit_share") or 0.0, candidate["limit_ms"])
        target = candidate.get("window") or limit
        chosen.append(LeaderCandidate(target, candidate["architecture"], candidate.get("space")))
    return tuple(chosen)


def leader_artifacts(
    folder: Path, candidates: Iterable[Candidate], spent: Mapping[str, float]
) -> LeaderArtifacts:
    """Return the weights in a run's folder, in the order of ``leader_candidates``."""
    chosen = headline_candidates(candidates).values()
    weights = [(str(folder / "candidates" / f"{c['index']:02d}"), c["weights_sha256"]) for c in chosen]
    return {"candidates": weights, "spent": dict(spent)}


def artifacts_of(run: PlannedRun, runs: Path) -> LeaderArtifacts | None:
    """Return the weights that a planned run inherits; None if it inherits none.

    Args:
        runs: folder of all runs.
    """
    first = run.first
    record = first.record if first is not None and run.method.inherits else None
    if first is None or record is None:
        return None
    return leader_artifacts(runs / first.spec.id, record["candidates"], record["ledger"]["totals"])


def missing_leader(run: PlannedRun, runs: Path) -> str:
    """Return the reason why the run that another one follows is of no use; empty if it is of use.

    Args:
        run: the run that follows.
        runs: folder of all runs.
    """
    first = run.first
    if first is None:
        return ""
    if first.state == "stopped":
        return f"{first.label}, which it follows, was stopped by its seconds"
    if first.state != "done":
        return f"{first.label}, which it follows, has no result"
    if first.record is None or not first.record["candidates"]:
        return f"{first.label}, which it follows, ended without a candidate"
    artifacts = artifacts_of(run, runs)
    folders = [folder for folder, _ in artifacts["candidates"]] if artifacts else []
    missing = [folder for folder in folders if not Path(folder).is_dir()]
    if missing:
        path = store.relative_path(first.record)
        return (
            f"the weights of {first.label}, which it takes over, are no longer in {missing[0]}:"
            f" move its record {path} away, and they are made again"
        )
    return ""
