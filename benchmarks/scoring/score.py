"""Scoring: what a search proposed, loaded anew in a process of its own, on the sealed test split.

Only what lies on disk counts: the exported weights must be those whose digest the search process
wrote down. A candidate with a precision policy is scored as the quantised network, on the processor, where
its kernels are, whatever the profile's device is; it is timed only where that is the processor, too.
One candidate's failure is written down with its reason and the others go on. What is scored is kept at
once, so that a scoring that was interrupted goes on where it was.
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
from typing import Any

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
from benchmarks.records.canonical import canonical
from benchmarks.records.record import Candidate, CandidateScore
from benchmarks.records.selection import headline_candidates
from benchmarks.records.store import write_text
from supernet import export
from supernet.cost import cost
from supernet.decode import NonFiniteError
from supernet.families import from_spec
from supernet.quantization import precisions

PARTIAL = "score.partial.json"
"""Candidates scored so far; ``score.json`` appears when all of them are."""
PRECISION = "fp32"


class Rejected(Exception):
    """A candidate that gets no score; the message is the reason."""


def score_run(
    run_dir: Path, *, prepared: Any, device: str, jobs: int = 1, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Score every candidate of ``search.json``; leaves ``score.json``.

    Args:
        run_dir: with ``spec.json``, ``search.json`` and ``candidates/<NN>/``.
        prepared: the task's data, sealed test split included.
        device: where to run, ``cpu`` or ``cuda``.
        jobs: runs side by side, which share the threads while they translate.
        say: takes a line for the log.

    Returns:
        ``candidates``: one entry each with ``index``, ``weights_sha256`` and ``failed`` (the reason, or
        None), and where it did not fail what the task's scoring gives (``test``, ``test_loss``,
        ``sentences_sha256``...), ``cost``, ``latency``, ``memory`` and ``energy`` or ``not_measured``, the
        reason why there are none of these three; ``test`` of the best by validation at each limit also has
        what they were fine-tuned on; ``harness_seconds`` by part and ``cpu_seconds``, earlier attempts
        included; ``message``: the failures in one line.
    """
    from benchmarks.tasks import get_task

    spec = json.loads((run_dir / "spec.json").read_text("utf-8"))
    proposed: list[Candidate] = json.loads((run_dir / assembly.SEARCH_FILE).read_text("utf-8"))["candidates"]
    profile = profiles.get(spec["profile"])
    threads.apply(profile, jobs)
    task = get_task(spec["task"])
    book = _Book(run_dir, prepared, profile.name)
    todo = [candidate for candidate in proposed if not book.has(candidate)]
    tier = task.tier(spec["tier"], device)
    tunings = len(getattr(tier, "finetune", {}).get("tasks", ()))
    with stage.following(run_dir, len(todo) + tunings * len(headline_candidates(proposed))):
        if todo:
            bench = _Bench(task, tier, prepared, profile, device, book)
            for number, candidate in enumerate(todo):
                began = time.perf_counter()
                bench.place = number, f"candidate {number + 1} of {len(todo)}"
                book.add(candidate, bench.scored(run_dir, candidate))
                said = book.of(candidate)["failed"] or "scored"
                say(f"candidate {candidate['index']}: {said} ({time.perf_counter() - began:.1f} s)")
        _finetune(run_dir, book, proposed, task, tier, prepared, device, say, len(todo))
    return book.close(proposed)


def _finetune(
    run_dir: Path,
    book: _Book,
    proposed: Sequence[Candidate],
    task: Any,
    tier: Any,
    prepared: Any,
    device: str,
    say: Callable[[str], None],
    part: int,
) -> None:
    """Fine-tune the candidates that speak for the run, where the tier says on what; kept task by task.

    It costs far more than the rest of scoring, so the other candidates go without. ``part``: of the scoring,
    with which this begins.
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
                    found = task.finetune(module, prepared, tier, name, device, timing_lock.yield_to_timing)
                _check_finite(found, f" {name}")
                entry = book.of(candidate)
                book.add(candidate, {**entry, "test": {**(entry["test"] or {}), name: found}})
                say(f"candidate {index}: fine-tuned on {name} ({time.perf_counter() - began:.1f} s)")
        except Exception as error:  # whatever it is, what has been scored is kept
            traceback.print_exc()
            failed = f"fine-tuning: {type(error).__name__}: {error}"[:500]
            book.add(candidate, {**book.of(candidate), "failed": failed})


class _Bench:
    """What all candidates of a run are scored with."""

    def __init__(
        self, task: Any, tier: Any, prepared: Any, profile: profiles.Profile, device: str, book: _Book
    ) -> None:
        self.task, self.tier, self.prepared, self.profile = task, tier, prepared, profile
        self.device, self.book = device, book
        self.meter = EnergyMeter(profile)  # looks at the hardware while the first candidate is scored
        self.workload = Workload.of(tier.workload)
        reference = reference_network(task.family(tier, prepared))
        self.other = self.workload.runtime != "torch"
        self.reference = serving.serve(reference, None, self.workload, device, profile.threads)
        self.measurements: dict[Any, dict[str, Any]] = {}
        self.place = 0, ""
        """The part of the scoring that a candidate is, and its name."""

    def scored(self, run_dir: Path, candidate: Mapping[str, Any]) -> dict[str, Any]:
        """The score of one candidate, or the reason why it has none."""
        policy = candidate.get("policy")
        try:
            with self.book.part("load"):
                plain, family = load_candidate(run_dir, candidate)
                plain = plain.to("cpu" if policy else self.device)
                architecture = family.space.architecture(candidate["architecture"])
            with self.book.part("timing lock"):
                timing_lock.yield_to_timing()
            self.step("test split,", 0.0, 0.4)
            with self.book.part("score"):
                module = plain
                if policy or self.other:
                    module = serving.serve_checked(plain, policy, self.workload, self.profile.threads)
                device = "cpu" if policy else self.device
                asked = serving.scoring_module(plain, policy, self.workload) if self.other else module
                found = dict(self.task.score(asked, self.prepared, self.tier, device, PRECISION))
                _sign(found, precisions.recipe(module))
            _check_finite(found)
            with self.book.part("measure"):
                found |= self.measured(module, family, architecture, policy, plain)
        except (Rejected, NonFiniteError, MeasurementRejectedError, export.CorruptExportError) as error:
            return {"failed": str(error)}
        except Exception as error:  # whatever it is, the other candidates must not suffer for it
            traceback.print_exc()
            return {"failed": f"{type(error).__name__}: {error}"[:500]}
        finally:
            if self.device == "cuda":
                torch.cuda.empty_cache()
        return found | {"failed": None}

    def step(self, what: str, low: float, high: float) -> None:
        """Show a step of the candidate, from and to which share of it."""
        part, name = self.place
        stage.enter(part, f"{name}: {what}", low, high)

    def measured(
        self,
        module: nn.Module,
        family: Any,
        architecture: Any,
        policy: Mapping[str, str] | None,
        plain: nn.Module,
    ) -> dict[str, Any]:
        """Cost, latency, memory and energy of the exported sub-network, which is ``plain`` under a policy.

        None of them depends on the values of the weights, so candidates of a run that share
        architecture and policy share one measurement.
        """
        form = getattr(family, "form", None)
        key = family.space.name, form, architecture, tuple(sorted((policy or {}).items()))
        if key in self.measurements:
            return self.measurements[key]
        workload, settings = self.workload, self.tier.workload
        lengths: dict[str, Any] = {"source_len": workload.source_len, "target_len": workload.target_len}
        counted = cost(family, architecture, **lengths, policy=policy).to_dict()
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
        timed = latency.measure_latency(
            module,
            self.reference,
            workload,
            self.device,
            self.profile,
            precision=PRECISION,
            plain=serving.serve(plain, None, self.workload, threads=self.profile.threads) if policy else None,
            min_seconds=float(settings.get("min_seconds", 0.0)),
        )
        self.step("energy", 0.8, 1.0)
        spent = latency.measure_energy(
            module, workload, self.device, self.profile, seconds=float(settings.get("energy_seconds", 2.0))
        )
        found = {"cost": counted, "latency": timed, "memory": peak, "energy": spent}
        self.measurements[key] = found
        return found


def weights_alone(counted: Mapping[str, int]) -> dict[str, Any]:
    """Memory of a network in another runtime, whose working memory nobody counts for us."""
    return {"peak_bytes": counted["bytes"], "source": "weights alone: not the runtime's working memory"}


class _Book:
    """What is scored so far, on disk after every candidate."""

    def __init__(self, run_dir: Path, prepared: Any, profile: str) -> None:
        self.run_dir = run_dir
        # A score is good for the same weights, test data, device and way of measuring only.
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
            pass  # nothing kept, or nothing that can be read: score anew

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Book the time inside under ``name``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def has(self, candidate: Mapping[str, Any]) -> bool:
        """True where these very weights have a score; a failure is tried again."""
        entry = self.entries.get(candidate["index"])
        return bool(entry and entry["weights_sha256"] == candidate["weights_sha256"] and not entry["failed"])

    def of(self, candidate: Candidate) -> CandidateScore:
        """The entry of a candidate."""
        return self.entries[candidate["index"]]

    def add(self, candidate: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Keep one candidate's score."""
        index = candidate["index"]
        entry: Any = {"index": index, "weights_sha256": candidate["weights_sha256"], **found}
        self.entries[index] = entry
        self._write(PARTIAL, {"basis": self.basis, "candidates": list(self.entries.values())})

    def close(self, proposed: Sequence[Candidate]) -> dict[str, Any]:
        """Write ``score.json`` with the proposed candidates, in their order."""
        entries = [self.of(candidate) for candidate in proposed]
        failures = [f"candidate {e['index']}: {e['failed']}" for e in entries if e["failed"]]
        result = self._write(assembly.SCORE_FILE, {"candidates": entries, "message": "; ".join(failures)})
        (self.run_dir / PARTIAL).unlink(missing_ok=True)
        return result

    def _write(self, name: str, content: dict[str, Any]) -> dict[str, Any]:
        content["harness_seconds"] = {part: round(value, 3) for part, value in self.seconds.items()}
        content["cpu_seconds"] = {"score": round(self._cpu_before + self.cpu.read(), 3)}
        write_text(self.run_dir / name, json.dumps(content, indent=1, allow_nan=False))
        return content


def load_candidate(run_dir: Path, candidate: Mapping[str, Any]) -> tuple[nn.Module, Any]:
    """The exported sub-network of one entry of ``search.json`` and its family, checked to be the one
    proposed.

    Raises:
        Rejected: its weights are not those that the search process wrote down, or hold no numbers.
        export.CorruptExport: it cannot be read.
    """
    module, about = export.load(run_dir / "candidates" / f"{candidate['index']:02d}")
    if about["weights_sha256"] != candidate["weights_sha256"]:
        raise Rejected(
            f"its weights on disk (sha256 {about['weights_sha256'][:12]}) are not those that the search"
            f" proposed ({candidate['weights_sha256'][:12]})"
        )
    if about["policy"] != candidate.get("policy"):
        raise Rejected("its policy on disk is not the one that the search proposed")
    for name, weight in module.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise Rejected(f"its weights {name} are not finite numbers (NaN or infinity)")
    return module, from_spec(about["spec"])


def _sign(found: Mapping[str, Any], recipe: Mapping[str, str]) -> None:
    """Add to the signature of each figure how a quantised network computed it."""
    told = "".join(f"|{key}:{value}" for key, value in recipe.items())
    for metrics in found["test"].values():
        for figure in metrics.values():
            figure["signature"] += told


def _check_finite(found: Any, name: str = "") -> None:
    """Raise ``Rejected`` where a figure of the task's score is no number."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            _check_finite(value, f"{name} {key}")
    elif isinstance(found, float) and not math.isfinite(found):
        raise Rejected(f"its{name} is {found}")
