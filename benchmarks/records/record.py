"""The typed shape of a result record, as ``schema/record-1.json`` states it.

A record is plain JSON: these types are read off the parsed file after validation and add no field. Keys of
types with ``total=False`` may be absent: in old records, where a run failed, or where nothing was measured.
Unknown fields are allowed in a record and survive reading and writing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from benchmarks.records.canonical import JsonView
from benchmarks.records.spec import Spec
from benchmarks.stats.task_units import StoredUnits

Precisions = Mapping[str, str]
"""Unit of a network -> precision that it is deployed under."""
Settings = JsonView
"""Choices of an architecture, or the description of a search space: the network's family interprets them."""


class LedgerEntry(TypedDict):
    """One amount charged in one phase."""

    phase: str
    kind: str
    amount: float


class TimelinePoint(TypedDict):
    """Seconds on the run's account, tokens charged so far, and the phase."""

    at: float
    tokens: float
    phase: str


class _LedgerTotals(TypedDict):
    entries: list[LedgerEntry]
    totals: dict[str, float]
    share: dict[str, float]


class Ledger(_LedgerTotals, total=False):
    """All charges of a run; ``totals`` and ``share`` of the allowance by kind."""

    timeline: list[TimelinePoint]
    harness_seconds: dict[str, float]
    lost_seconds: float
    cpu_seconds: dict[str, float]


class Validation(TypedDict, total=False):
    """Validation scores of a candidate: the loss, and the task's own metrics by name."""

    loss: float | None
    bleu: float | None
    accuracy: float | None
    mlm_accuracy: float | None


class Figure(TypedDict, total=False):
    """One test figure with its 95 % interval; ``signature`` is the recipe.

    Figures of fine-tuned copies also have ``values`` by seed and their standard ``deviation``; ``unfit`` is
    the reason why no mean over tasks may hold the figure.
    """

    value: float | None
    low: float | None
    high: float | None
    signature: str
    values: Sequence[float]
    deviation: float | None
    unfit: str


Scores = Mapping[str, Figure]
"""Metric -> figure, on one test set."""
TestScores = Mapping[str, Scores]
"""Test set -> its scores."""


class Sentences(TypedDict):
    """Statistics of each test sentence: sets with their sizes, and base64 counts for paired BLEU tests."""

    sets: Sequence[tuple[str, int]]
    bleu: str


class Cost(TypedDict, total=False):
    """Parameters, multiply-accumulates and bytes of a network; ``_body`` without embeddings and head."""

    params: int
    params_body: int
    macs: float
    macs_body: float
    bytes: int


class Latency(TypedDict, total=False):
    """Latency in milliseconds over ``n`` timed inferences, and its ratio to the interleaved reference.

    ``fp32_*`` compare a quantised network with its own float32 self; ``others_cpu`` is the number of
    processors that other programs used meanwhile.
    """

    p50: float
    p90: float | None
    p90_bound: float | None
    n: int
    ratio: float
    ratio_low: float
    ratio_high: float
    reference_p50: float
    fp32_p50: float
    fp32_ratio: float
    fp32_ratio_low: float
    fp32_ratio_high: float
    waited_seconds: float
    others_cpu: float
    attempts: int
    signature: str


class Memory(TypedDict, total=False):
    """Peak memory of one inference, in bytes, and the counter that gave it."""

    peak_bytes: int | None
    source: str


class InferenceEnergy(TypedDict, total=False):
    """Joules of one inference, and the meter that gave them."""

    joules_per_sentence: float | None
    source: str
    sentences: int
    seconds: float
    others_cpu: float


class _Proposal(TypedDict):
    index: int
    architecture: Settings
    origin: str
    limit_ms: float | None
    weights_sha256: str
    valid: Validation


class Candidate(_Proposal, total=False):
    """One network that a run proposed, with its validation scores and, once scored, its test figures.

    A record's candidates stand in the order of proposal; ``index`` counts networks as they were made.

    ``limit_share`` and ``window`` (fewest and most parameters) state its target, ``spent`` the charges up to
    its proposal, ``trial`` the trial of external tuning, ``space`` the search space if not the task's.
    ``not_measured`` is the reason why it has no latency, memory and energy.
    """

    policy: Precisions | None
    trial: int
    limit_share: float | None
    window: Sequence[int]
    space: Settings
    spent: Mapping[str, float]
    test: TestScores | None
    test_loss: float | None
    sentences_sha256: str | None
    sentences: Sentences
    cost: Cost | None
    latency: Latency | None
    not_measured: str
    memory: Memory | None
    energy: InferenceEnergy | None


class RunEnergy(TypedDict):
    """Joules of a whole run, None where no meter answered, and the meter."""

    joules: float | None
    source: str
    kg_co2: NotRequired[float | None]


class SearchPoint(TypedDict):
    """Charges at which the best validation loss improved."""

    tokens: float
    evaluations: float
    best_valid_loss: float
    seconds: NotRequired[float]


class Gpu(TypedDict):
    """Name and memory of one GPU."""

    name: str
    memory_gib: float | None


class Machine(TypedDict, total=False):
    """Hardware fingerprint: equal ``fingerprint`` means machines alike, equal ``boot`` one start of one."""

    fingerprint: str
    cpu: str
    arch: str
    cpus: int
    flags_sha256: str
    memory_gib: float
    gpus: Sequence[Gpu]
    boot: str | None
    driver: str | None
    kernel: str
    system: str
    python: str
    implementation: str


class MethodOrigin(TypedDict, total=False):
    """Address at which others get a method; ``word`` stands after ``--methods``."""

    word: str
    package: str
    version: str
    url: str
    path: str
    repository: str
    commit: str


class _Circumstances(TypedDict):
    versions: Mapping[str, str]
    data: Mapping[str, str]
    machine: Machine
    started: str
    ended: str


class Origin(TypedDict):
    """Commit and environment of one part of a run that was interrupted and resumed."""

    commit: str | None
    dirty_sha256: str | None
    versions: Mapping[str, str]
    env: Mapping[str, str]
    cpus: int
    machine: NotRequired[str]
    """Fingerprint; absent in parts from before it was kept."""


class Provenance(_Circumstances, total=False):
    """Code, versions, data digests, machine and command that made a result.

    ``resumed_from``: origins of earlier parts, where a run went on under another commit or environment.
    """

    commit: str | None
    dirty_sha256: str | None
    package: Mapping[str, str]
    command: Sequence[str]
    env: Mapping[str, str]
    resumed_from: Sequence[Origin]
    method: MethodOrigin
    jobs: int


Probe = Sequence[int | str | float]
"""Number of the call, key of the architecture, milliseconds or joules."""


class Timings(TypedDict):
    """Measured times that a search was given, so that verification can repeat its decisions.

    ``limits``: share of the reference network's latency, and milliseconds.
    """

    limits: Sequence[Sequence[float]]
    probes: Sequence[Probe]


class Work(TypedDict, total=False):
    """Work of a process tree, measured from outside.

    ``cpu_seconds``: user and system time of all processes. ``threads``: most threads that ran or waited for a
    processor in one sample. ``gpu_seconds``: seconds in which the machine's GPUs were busy, added up over
    GPUs and without regard to which process used them; absent without a GPU. ``wall_seconds``: duration.
    """

    cpu_seconds: float
    threads: int
    gpu_seconds: float
    wall_seconds: float


class SearchOversight(TypedDict):
    """Supervision of a search: its namespaces or ``none``, number of sessions, and work from outside."""

    isolation: str
    sessions: int
    work: Work


class Oversight(SearchOversight, total=False):
    """Supervision of a run; absent in older records, which are read as not isolated.

    ``method_sha256``: digest of the code that was executed. ``references_sha256``: digest of the test files
    that its candidates were scored on.
    """

    method_sha256: str
    references_sha256: str


class _Outcome(TypedDict):
    status: str
    message: str
    ledger: Ledger
    candidates: list[Candidate]


class SearchOutcome(_Outcome, total=False):
    """The end of a search, as its run folder's ``search.json`` stores it.

    ``joules``: energy by phase. ``stopped_by``: the allowance whose end cut the search short.
    """

    stopped_by: str
    search_log: list[SearchPoint]
    energy: RunEnergy | None
    oversight: SearchOversight
    joules: Mapping[str, float]


class CandidateScore(TypedDict, total=False):
    """Scoring of one candidate: what ``score.json`` adds to it, or the reason why it ``failed``."""

    index: int
    weights_sha256: str
    failed: str | None
    valid_bleu: float | None
    test: TestScores | None
    test_loss: float | None
    sentences_sha256: str | None
    sentences: Sentences
    cost: Cost | None
    latency: Latency | None
    not_measured: str
    memory: Memory | None
    energy: InferenceEnergy | None


class ScoreOutcome(TypedDict, total=False):
    """The scores of a run's candidates, as its run folder's ``score.json`` stores them."""

    candidates: list[CandidateScore]
    message: str
    harness_seconds: Mapping[str, float]
    cpu_seconds: Mapping[str, float]


class UnsealedRecord(TypedDict):
    """All fields of a record but its digests."""

    spec: Spec
    status: str
    message: str
    ledger: Ledger
    candidates: list[Candidate]
    energy: RunEnergy | None
    provenance: Provenance
    search_log: NotRequired[list[SearchPoint]]
    stopped_by: NotRequired[str]
    timings: NotRequired[Timings]
    units: NotRequired[StoredUnits]
    declared: NotRequired[JsonView]
    oversight: NotRequired[Oversight]


class Record(UnsealedRecord):
    """One result record; ``seals`` holds 16 hex digits of the sha256 of each field."""

    schema: str
    id: str
    digest: str
    seal: str
    seals: NotRequired[Mapping[str, str]]
