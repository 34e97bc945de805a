"""Scoring of a run's candidates on the sealed test split, in a process of its own.

Candidates are loaded anew from disk, and their exported weights must have the digest that the search process
wrote down. A candidate with a precision policy is scored as the quantised network on the processor, which has
the kernels, whatever the profile's device is; it is timed only if that device is the processor too. A
candidate that fails is recorded with the reason, and the others are still scored. Every score is kept at
once, so that an interrupted scoring resumes.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from benchmarks import stage
from benchmarks.hardware import profiles, threads, timing_lock
from benchmarks.hardware.energy import EnergyMeter
from benchmarks.hardware.load import TreeSeconds
from benchmarks.measurement import latency, memory, serving
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.workload import Workload, reference_network
from benchmarks.records import assembly
from benchmarks.records.canonical import JsonObject, JsonView, canonical
from benchmarks.records.record import Candidate, CandidateScore, Cost, Memory, ScoreOutcome
from benchmarks.records.selection import headline_candidates
from benchmarks.records.store import write_text
from benchmarks.tasks import Prepared, Task, TierSettings
from supernet import export
from supernet.cost import cost
from supernet.decode import NonFiniteError
from supernet.families import from_spec
from supernet.quantization import precisions

PARTIAL = "score.partial.json"
"""Candidates scored so far; ``score.json`` appears when all of them are."""
PRECISION = "fp32"


class RejectedCandidateError(Exception):
    """A candidate that gets no score; the message is the reason."""


def score_run(
    run_dir: Path, *, prepared: Prepared, device: str, jobs: int = 1, say: Callable[[str], None] = print
) -> ScoreOutcome:
    """Score every candidate of ``search.json`` and write ``score.json``.

    A candidate without latency, memory and energy has the reason in ``not_measured``. The best candidate by
    validation at each limit also has test scores after fine-tuning, if the tier declares fine-tuning tasks.
    Seconds include earlier attempts.

    Args:
        run_dir: folder of the run, with ``spec.json``, ``search.json`` and ``candidates/<NN>/``.
        prepared: the task's data, sealed test split included.
        device: ``cpu`` or ``cuda``.
        jobs: runs side by side, which share the threads while they translate.
        say: writes a line to the log.
    """
    from benchmarks.tasks import get_task

    spec = json.loads((run_dir / "spec.json").read_text("utf-8"))
    proposed: list[Candidate] = json.loads((run_dir / assembly.SEARCH_FILE).read_text("utf-8"))["candidates"]
    profile = profiles.get(spec["profile"])
    threads.apply(profile, jobs)
    task = get_task(spec["task"])
    book = _Book(run_dir, prepared, profile.name, device)
    todo = [candidate for candidate in proposed if not book.has(candidate)]
    tier = task.tier(spec["tier"], device)
    tunings = len(getattr(tier, "finetune", {}).get("tasks", ()))
    parts = len(todo) + tunings * len(headline_candidates(proposed))
    with stage.following(run_dir, parts, book.pause):
        if todo:
            bench = _Bench(task, tier, prepared, profile, device, book)
            for number, candidate in enumerate(todo):
                began = time.perf_counter()
                bench.place = number, f"candidate {number + 1} of {len(todo)}"
                book.add(candidate, bench.score(run_dir, candidate))
                result = book.of(candidate)["failed"] or "scored"
                say(f"candidate {candidate['index']}: {result} ({time.perf_counter() - began:.1f} s)")
        _finetune(run_dir, book, proposed, task, tier, prepared, device, say, len(todo))
    return book.close(proposed)


def _finetune(
    run_dir: Path,
    book: _Book,
    proposed: Sequence[Candidate],
    task: Any,
    tier: TierSettings,
    prepared: Prepared,
    device: str,
    say: Callable[[str], None],
    part: int,
) -> None:
    """Fine-tune the best candidate at each limit on the tier's fine-tuning tasks; keep it task by task.

    It costs far more than the rest of scoring, so the other candidates are not fine-tuned.

    Args:
        run_dir: folder of the run.
        book: scores so far.
        proposed: the run's candidates.
        task: the task, with a method ``finetune`` if its tier declares fine-tuning tasks.
        tier: the task's tier.
        prepared: the task's data.
        device: ``cpu`` or ``cuda``.
        say: writes a line to the log.
        part: number of the part of the scoring with which this begins.
    """
    names = getattr(tier, "finetune", {}).get("tasks", ())
    heads = headline_candidates(assembly.merge_scores(proposed, book.entries)).values() if names else ()
    for number, candidate in enumerate(heads):
        index = candidate["index"]
        todo = [name for name in names if name not in (candidate.get("test") or {})]
        # INT8 comes after fine-tuning: a policy's weights are another run's, fine-tuned there.
        if not todo or book.of(candidate)["failed"] or candidate.get("policy"):
            continue
        try:
            with book.part("load"):
                module = load_candidate(run_dir, candidate)[0].to(device)
            for name in todo:
                began = time.perf_counter()
                of = f"fine-tuning {number + 1} of {len(heads)} on {name}"
                stage.enter(part + number * len(names) + names.index(name), of)
                with book.part("finetune"):
                    tuned = task.finetune(module, prepared, tier, name, device, book.pause)
                _check_finite(tuned, f" {name}")
                entry = book.of(candidate)
                book.add(candidate, {**entry, "test": {**(entry["test"] or {}), name: tuned}})
                say(f"candidate {index}: fine-tuned on {name} ({time.perf_counter() - began:.1f} s)")
        except Exception as error:  # whatever it is, what has been scored is kept
            traceback.print_exc()
            failed = f"fine-tuning: {type(error).__name__}: {error}"[:500]
            book.add(candidate, {**book.of(candidate), "failed": failed})


class _Bench:
    """Everything that all candidates of a run are scored with."""

    def __init__(
        self,
        task: Task,
        tier: TierSettings,
        prepared: Prepared,
        profile: profiles.Profile,
        device: str,
        book: _Book,
    ) -> None:
        self.task, self.tier, self.prepared, self.profile = task, tier, prepared, profile
        self.device, self.book = device, book
        self.meter = EnergyMeter(profile)  # looks at the hardware while the first candidate is scored
        self.workload = Workload.of(tier.workload)
        reference = reference_network(task.family(tier, prepared))
        self.other = self.workload.runtime != "torch"
        self.reference = serving.serve(reference, None, self.workload, device, profile.threads)
        self.measurements: dict[object, CandidateScore] = {}
        self.place = 0, ""
        """Part of the scoring that a candidate is, and its name."""

    def score(self, run_dir: Path, candidate: Candidate) -> CandidateScore:
        """Return the score of one candidate, or the reason why it has none."""
        policy = candidate.get("policy")
        try:
            with self.book.part("load"):
                plain, family = load_candidate(run_dir, candidate)
                plain = plain.to("cpu" if policy else self.device)
                architecture = family.space.architecture(candidate["architecture"])
            self.book.pause()
            self.step("test split,", 0.0, 0.4)
            with self.book.part("score"):
                module = plain
                if policy or self.other:
                    module = serving.serve_checked(plain, policy, self.workload, self.profile.threads)
                device = "cpu" if policy else self.device
                asked = serving.scoring_module(plain, policy, self.workload) if self.other else module
                scores: JsonObject = dict(self.task.score(asked, self.prepared, self.tier, device, PRECISION))
                _sign(scores, precisions.recipe(module))
            _check_finite(scores)
            with self.book.part("measure"):
                scores |= self.measure(module, family, architecture, policy, plain)
        except (
            RejectedCandidateError,
            NonFiniteError,
            MeasurementRejectedError,
            export.CorruptExportError,
        ) as error:
            return {"failed": str(error)}
        except Exception as error:  # whatever it is, the other candidates must not suffer for it
            traceback.print_exc()
            return {"failed": f"{type(error).__name__}: {error}"[:500]}
        finally:
            if self.device == "cuda":
                torch.cuda.empty_cache()
        scored: CandidateScore = {**scores, "failed": None}  # type: ignore[typeddict-item]
        return scored

    def step(self, name: str, low: float, high: float) -> None:
        """Show a step of the candidate, which lasts from one share of its scoring to another."""
        part, candidate = self.place
        stage.enter(part, f"{candidate}: {name}", low, high)

    def measure(
        self,
        module: nn.Module,
        family: Any,
        architecture: Any,
        policy: Mapping[str, str] | None,
        plain: nn.Module,
    ) -> CandidateScore:
        """Return cost, latency, memory and energy of an exported sub-network, ``plain`` under a policy.

        None of them depends on the values of the weights, so candidates of a run that share architecture and
        policy share one measurement.
        """
        form = getattr(family, "form", None)
        key = family.space.name, form, architecture, tuple(sorted((policy or {}).items()))
        if key in self.measurements:
            return self.measurements[key]
        workload, settings = self.workload, self.tier.workload
        counted: Cost = cost(  # type: ignore[assignment]
            family,
            architecture,
            source_len=workload.source_len,
            target_len=workload.target_len,
            policy=policy,
        ).to_dict()
        if policy and self.device != "cpu":
            why = f"low-precision layers run on the processor, profile {self.profile.name} is {self.device}"
            return {"cost": counted, "not_measured": why}
        peak = (
            weights_alone(counted)
            if self.other
            else memory.measure_peak_memory(module, workload, self.device, precision=PRECISION)
        )
        self.step("timing", 0.4, 0.8)
        self.meter.ready()  # codecarbon must not look at the hardware while we time
        fp32 = serving.serve(plain, None, self.workload, threads=self.profile.threads) if policy else None
        # One pause for both: each pause stops all runs until the slowest has reached its next step.
        with timing_lock.exclusive() as waited:
            timed = latency.measure_latency(
                module,
                self.reference,
                workload,
                self.device,
                self.profile,
                precision=PRECISION,
                plain=fp32,
                min_seconds=float(settings.get("min_seconds", 0.0)),
            )
            timed["waited_seconds"] = round(waited, 3)
            self.step("energy", 0.8, 1.0)
            spent = latency.measure_energy(
                module,
                workload,
                self.device,
                self.profile,
                seconds=float(settings.get("energy_seconds", 2.0)),
                patience=0.0,  # waited for above, where other runs could work
            )
        measured: CandidateScore = {"cost": counted, "latency": timed, "memory": peak, "energy": spent}
        self.measurements[key] = measured
        return measured


def weights_alone(counted: Cost) -> Memory:
    """Return the memory of a network in another runtime, whose working memory is not counted."""
    return {"peak_bytes": counted["bytes"], "source": "weights alone: not the runtime's working memory"}


class _Spent(TypedDict):
    harness_seconds: Mapping[str, float]
    cpu_seconds: Mapping[str, float]


class _Book:
    """Scores so far, on disk after every candidate."""

    def __init__(self, run_dir: Path, prepared: Prepared, profile: str, device: str) -> None:
        self.run_dir = run_dir
        self._settle = torch.cuda.synchronize if device == "cuda" else None
        self._waited = 0.0
        # A score holds for the same weights, test data, device and protocol only.
        basis = {"data": dict(prepared.digests), "profile": profile, "protocol": latency.PROTOCOL}
        self.basis = hashlib.sha256(canonical(basis)).hexdigest()
        self.entries: dict[int, CandidateScore] = {}
        self.seconds: dict[str, float] = {}
        self.cpu, self._cpu_before = TreeSeconds(), 0.0
        try:
            kept = json.loads((run_dir / PARTIAL).read_text("utf-8"))
            if kept["basis"] == self.basis:
                self.entries = {entry["index"]: entry for entry in kept["candidates"]}
                self.seconds = {name: float(value) for name, value in kept["harness_seconds"].items()}
                self._cpu_before = float(kept["cpu_seconds"]["score"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no scores are kept, or none that can be read

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the seconds inside to the part ``name``, but for those in ``pause``."""
        began, waited = time.perf_counter(), self._waited
        try:
            yield
        finally:
            self._spend(name, time.perf_counter() - began - (self._waited - waited))

    def pause(self, settle: Callable[[], object] | None = None) -> None:
        """Let waiting timings of other processes come first; the wait is a part of its own.

        Args:
            settle: waits for what was launched on a device; by default for everything on a GPU.
        """
        if timing_lock.timing_requested():
            began = time.perf_counter()
            timing_lock.yield_to_timing(settle or self._settle)
            waited = time.perf_counter() - began
            self._waited += waited
            self._spend("timing lock", waited)

    def _spend(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def has(self, candidate: Candidate) -> bool:
        """Return True if these very weights have a score; a failed candidate is scored again."""
        entry = self.entries.get(candidate["index"])
        return bool(entry and entry["weights_sha256"] == candidate["weights_sha256"] and not entry["failed"])

    def of(self, candidate: Candidate) -> CandidateScore:
        """Return the entry of a candidate."""
        return self.entries[candidate["index"]]

    def add(self, candidate: Candidate, score: CandidateScore) -> None:
        """Keep one candidate's score."""
        index = candidate["index"]
        entry: Any = {"index": index, "weights_sha256": candidate["weights_sha256"], **score}
        self.entries[index] = entry
        entries = list(self.entries.values())
        self._write(PARTIAL, {"basis": self.basis, "candidates": entries, **self._spent()})

    def close(self, proposed: Sequence[Candidate]) -> ScoreOutcome:
        """Write ``score.json`` with the proposed candidates, in their order."""
        entries = [self.of(candidate) for candidate in proposed]
        failures = [f"candidate {e['index']}: {e['failed']}" for e in entries if e["failed"]]
        outcome: ScoreOutcome = {"candidates": entries, "message": "; ".join(failures), **self._spent()}
        self._write(assembly.SCORE_FILE, outcome)
        (self.run_dir / PARTIAL).unlink(missing_ok=True)
        return outcome

    def _spent(self) -> _Spent:
        return {
            "harness_seconds": {part: round(value, 3) for part, value in self.seconds.items()},
            "cpu_seconds": {"score": round(self._cpu_before + self.cpu.read(), 3)},
        }

    def _write(self, name: str, content: Mapping[str, object]) -> None:
        write_text(self.run_dir / name, json.dumps(content, indent=1, allow_nan=False))


def load_candidate(run_dir: Path, candidate: Candidate) -> tuple[nn.Module, Any]:
    """Load the exported sub-network of one entry of ``search.json`` with its family, and check its digest.

    Raises:
        RejectedCandidateError: its weights or policy differ from the search process's, or are not finite.
        export.CorruptExport: it cannot be read.
    """
    module, about = export.load(run_dir / "candidates" / f"{candidate['index']:02d}")
    if about["weights_sha256"] != candidate["weights_sha256"]:
        raise RejectedCandidateError(
            f"its weights on disk (sha256 {about['weights_sha256'][:12]}) are not those that the search"
            f" proposed ({candidate['weights_sha256'][:12]})"
        )
    if about["policy"] != candidate.get("policy"):
        raise RejectedCandidateError("its policy on disk is not the one that the search proposed")
    for name, weight in module.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise RejectedCandidateError(f"its weights {name} are not finite numbers (NaN or infinity)")
    return module, from_spec(about["spec"])


def _sign(scores: JsonView, recipe: Mapping[str, str]) -> None:
    """Add the recipe of a quantised network's computation to the signature of each figure."""
    addition = "".join(f"|{key}:{value}" for key, value in recipe.items())
    for metrics in scores["test"].values():
        for figure in metrics.values():
            figure["signature"] += addition


def _check_finite(value: object, name: str = "") -> None:
    """Check that every figure of a task's score is finite.

    Raises:
        RejectedCandidateError: a figure is not.
    """
    if isinstance(value, Mapping):
        for key, part in value.items():
            _check_finite(part, f"{name} {key}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise RejectedCandidateError(f"its{name} is {value}")
