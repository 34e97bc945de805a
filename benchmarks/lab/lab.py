"""The Lab: everything that a method may use, charged, journaled and resumable."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.api import (
    OLD_TARGET,
    ORIGINS,
    Budget,
    Candidate,
    Checkpoint,
    Measurement,
    TaskInfo,
    TrainBatches,
    Window,
)
from benchmarks.lab.batches import ChargedBatches, derive_seed, recipe_of
from benchmarks.lab.bookkeeping import LabBookkeeping
from benchmarks.lab.candidates import (
    ContractViolationError,
    check_size,
    initialise_from,
    initialise_from_parent,
    is_intact,
    load_inherited,
    untouched_random_state,
    write_candidate,
)
from benchmarks.lab.checkpoints import CheckpointStore
from benchmarks.lab.journal import Journal
from benchmarks.lab.ledger import INHERITED_KINDS, Ledger
from benchmarks.lab.probes import LatencyProbe
from benchmarks.measurement import counted
from benchmarks.measurement.workload import Workload, reference_network
from benchmarks.records import phases
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.tasks import Prepared, Task
from supernet import cost
from supernet.cost import parameters
from supernet.elastic import SuperNet
from supernet.quantization import onnx_runtime, precisions
from supernet.quantization.fake_quantize import FakeQuantized
from supernet.quantization.precisions import lowered, needs_ranges
from supernet.space import Architecture, SearchSpace
from supernet.train import Batch, Objective
from supernet.weights import SharedSlices

FREE_CANDIDATES = 4
"""Candidates for each deployment target of a trial that are validated free of charge."""


class BenchLab(LabBookkeeping):
    """The harness's implementation of ``benchmarks.api.Lab``.

    Args:
        folder: folder of the run.
        info: description of the task for the method.
        task: the task.
        tier: settings of the task's tier.
        prepared: data of the tier, without the test split.
        ledger: ledger that is charged.
        journal: journal of the run.
        seed: seed of the run.
        method: name of the method.
        device: ``cpu`` or ``cuda``.
        limits: ``(share of the reference latency, milliseconds)`` of every deployment target that is
            a latency.
        reference_ms: latency of the task's reference network, in milliseconds.
        options: options of the method.
        checkpoint_seconds: least seconds between two saves.
        say: shows one line to the user and writes it to the log.

    Attributes:
        given: see ``Lab.given``.
        leader_artifacts: exports and spending of the run that this one follows: ``candidates``, folder and
            digest of each in the order of ``given``, and ``spent``. None if the method does not inherit.
        starts: True if supernets start from the first of ``leader_artifacts``, the tier's parent.
        trial: trial of external tuning; 0 without trials.
        published_probes: ``(number of the call, architecture's key)`` -> answer, of a published run that is
            repeated.
        stopping: True once the user has asked the run to stop; set from a signal.
        unsaved: True if tokens were spent since the last save.
        on_proposal: called after every accepted proposal, so that it counts whatever happens later.
    """

    def __init__(
        self,
        folder: Path,
        info: TaskInfo,
        task: Task,
        tier: Any,
        prepared: Prepared,
        *,
        ledger: Ledger,
        journal: Journal,
        seed: int,
        method: str,
        device: str,
        limits: Sequence[tuple[float, float]],
        reference_ms: float,
        options: Mapping[str, object],
        checkpoint_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.task, self.ledger, self.journal = folder, info, ledger, journal
        self.seed, self.device, self.options, self.say = seed, device, options, say
        self.checkpoint_seconds = checkpoint_seconds
        self._task, self._tier, self._prepared = task, tier, prepared
        self.family = task.family(tier, prepared)
        self.space = self.family.space
        self._families: JsonObject = {self.space.name: self.family}
        self.recipe = recipe_of(tier.recipe)
        self.budget: Budget = ledger
        self._shares = {ms: share for share, ms in limits}
        windows = (Window(*ends) for ends in getattr(tier, "windows", ()))
        self.limits = (*(ms for _, ms in limits), *windows)
        self.given: tuple[tuple[float | Window | None, Architecture], ...] = ()
        self.leader_artifacts: JsonView | None = None
        self.starts = False
        self._teacher_outputs: dict[tuple[Objective, float], list[torch.Tensor | None]] = {}
        self._method, self.trial = method, 0
        self.published_probes: dict[tuple[int, str], float] = {}
        self._start(folder / "scratch")
        self.stopping = False
        self.unsaved = False
        self.note: tuple[float, float, str] = (0, 0, "")
        self.proposals = 0
        self.on_proposal: Callable[[], None] = lambda: None
        self._issued: dict[int, Candidate] = {}
        self._candidate_count = 0
        self.search_log: list[dict[str, float]] = []
        self._precision = str(tier.settings.get("evaluate_precision", "fp32"))
        self._workload = Workload.of(tier.workload)
        reference = partial(reference_network, self.family)
        self._latency_probe = LatencyProbe(
            self._workload, device, reference, reference_ms, ledger.clock.pause, say
        )
        self.precisions = self._latency_probe.precisions

    def _start(self, scratch: Path) -> None:
        """Set the state that every run, and every trial of external tuning, begins with."""
        self.rng = np.random.default_rng(derive_seed(self.seed, self.task.name, self._method))
        self._stream_count = self._net_count = 0
        self._leader_charged = False
        self.scratch = scratch
        self.scratch.mkdir(parents=True, exist_ok=True)

    def begin_trial(self, number: int, options: Mapping[str, object]) -> None:
        """Begin a trial of external tuning: a run of its own with the same seed and other options."""
        if number > 1:
            self.ledger.next_part()
        self.trial, self.options = number, options
        self._start(self.folder / "scratch" / f"trial-{number}")

    def method_view(self) -> LabBookkeeping:
        """Return the Lab as the method receives it."""
        return self

    def close(self) -> None:
        """Close the journal, after the search has ended in any way."""
        self.journal.close()

    # free of charge

    @cached_property
    def training(self) -> Any:
        """Training split, read on first use and off the clock."""
        with self.ledger.clock.pause("data"):
            return self._task.training(self._prepared)

    @cached_property
    def validation(self) -> Any:
        """Validation split, read on first use and off the clock."""
        with self.ledger.clock.pause("data"):
            return self._task.validation(self._prepared)

    def supernet(
        self,
        source: Callable[..., Any] | None = None,
        only: object = None,
        space: SearchSpace | None = None,
    ) -> SuperNet:
        # One seed gives supernets of the same tensors the same initial weights, so that seeds are paired.
        # A mixture has more: its others are equal in encoders alone, whose tensors are drawn by name.
        generator = torch.Generator().manual_seed(
            derive_seed(self.seed, self.task.name, "weights", self._net_count)
        )
        self._net_count += 1
        if only is None:
            family = self.family_of(space)
        else:
            architecture = self._resolve_architecture(only)
            family = self.family_of(architecture.space).restrict_to(architecture)
        net = SuperNet(family, (source or SharedSlices)(family, generator, self.device))
        net.meter = self._charge_tokens
        if self._prepared.start is not None:
            with self.ledger.clock.pause("start"), untouched_random_state(self.device):
                initialise_from(net, self._prepared.start)
        elif self.starts and only is None:
            parent = self.inherit()
            with self.ledger.clock.pause("start"), untouched_random_state(self.device):
                initialise_from_parent(net, parent)
        return net

    def family_of(self, space: SearchSpace | None) -> Any:
        """Return the task's model family of a space of the method's own; by default of the task's space."""
        if space is None:
            return self.family
        name = space.name
        if name not in self._families:
            self._families[name] = self._task.family(self._tier, self._prepared, space)
        return self._families[name]

    def inherit(self, index: int = 0) -> SuperNet:
        if self.leader_artifacts is None:
            raise ContractViolationError("lab.inherit: set `inherits = True` and `follows` in the class body")
        if not self._leader_charged:
            with self._book_under(phases.INHERITED):
                for kind in INHERITED_KINDS:
                    self.ledger.charge(kind, self.leader_artifacts["spent"].get(kind, 0.0))
                self.ledger.book("updates", self.leader_artifacts["spent"].get("updates", 0.0))
            self._leader_charged = self.unsaved = True
        folder, sha256 = self.leader_artifacts["candidates"][index]
        with self.ledger.clock.pause("start"), untouched_random_state(self.device):
            net = load_inherited(Path(folder), sha256, self.family, self.device)
        net.meter = self._charge_tokens
        return net

    def checkpoint(self, name: str) -> Checkpoint:
        return CheckpointStore(self, name)

    def batches(self, seed: int) -> Any:
        """Return an endless stream of training batches in the order of a seed."""
        return self._task.batches(self.training, self.recipe.batch_tokens, seed, self.device)

    # charged

    def train_batches(self, share: float = 1.0, passes: float = 1) -> TrainBatches:
        self._stream_count += 1
        return ChargedBatches(self, share, passes, self._stream_count - 1)

    def evaluate(
        self,
        net: SuperNet,
        architecture: object,
        objective: Objective | None = None,
        share: float = 1.0,
        policy: Mapping[str, str] | None = None,
    ) -> Measurement:
        if not 0 < share <= 1:
            raise ValueError(f"lab.evaluate(share={share!r}): a share of the validation data in (0, 1]")
        _require_network("evaluate", net)
        architecture = self._resolve_architecture(architecture, net.family)
        policy = self._resolve_policy(net.family, architecture, policy)
        key, own = _key(architecture, policy), objective is None and share == 1
        if not own:
            key += f" {type(objective).__name__} {share:g}"
        known = self._replay("evaluate", key, "evaluations", self._evaluation_cost(share))
        if known is None:
            self.yield_to_timing()
            if policy:
                module = self._emulate(self._export(net, architecture, policy), policy)
            else:
                module = net.activate(architecture).eval()
            result = self._validate(module) if own else self._evaluate_objective(module, objective, share)
            known = {"loss": float(result.loss), "metrics": dict(result.metrics)}
            known["at"] = self.ledger.clock.now()
            self.journal.record("evaluate", key, **known)
        elif policy or not net.model.training:
            self._charge_tokens(_statistics_cost(net, policy))
        if not policy:
            net.model.eval()  # as it is left where nothing is replayed: later charges depend on it
        if own:
            self._log_improvement(known["loss"])
        return Measurement(known["loss"], known["metrics"])

    def _export(
        self, net: SuperNet, architecture: Architecture, policy: Mapping[str, str] | None
    ) -> nn.Module:
        """Return an exported sub-network, with activation ranges if the policy needs them.

        Raises:
            ContractViolationError: it needs them, and the network keeps no training batches.
        """
        module = net.export(architecture)
        if needs_ranges(policy):
            try:
                net.calibrate(module)
            except ValueError as error:
                raise ContractViolationError(str(error)) from None
        return module

    def _emulate(self, plain: nn.Module, policy: Mapping[str, str]) -> nn.Module:
        """Return an exported sub-network that imitates a policy, on the run's device."""
        plain = plain.to(self.device)
        if needs_ranges(policy):
            return onnx_runtime.imitate(plain, policy)
        return FakeQuantized(plain, runtime=self._workload.runtime).select([policy])

    def validation_batches(self, share: float) -> Sequence[Batch]:
        if not 0 < share <= 1:
            raise ValueError(f"lab.validation_batches(share={share!r}): a share in (0, 1]")
        self.ledger.charge("evaluations", self._evaluation_cost(share))
        return self._validation_part(share)

    def _evaluation_cost(self, share: float) -> float:
        """Return the evaluations that the first ``share`` of the validation data costs.

        It is ``share``, or the share of the tokens in the batches that the task hands out for it if that is
        more. Rounding to the nearest row is free.
        """
        if share == 1:
            return share
        part, everything = self._validation_part(share), self._validation_part(1.0)
        evaluated = sum(batch.tokens for batch in part) / sum(batch.tokens for batch in everything)
        rows = sum(len(batch.inputs[0]) for batch in everything)
        return share if evaluated <= share + 0.5001 / rows else evaluated

    def _validation_part(self, share: float) -> Sequence[Batch]:
        """Return the first ``share`` of the validation data as batches, off the clock and free of charge."""
        with self.ledger.clock.pause("data"):
            return self._task.validation_batches(self.validation, self.device, share)

    def _evaluate_objective(
        self, module: nn.Module, objective: Objective | None, share: float
    ) -> Measurement:
        """Return the mean loss of an objective over a part of the validation data; cache teacher outputs."""
        from supernet.train import Labels
        from supernet.train.distill import mean_loss

        objective, batches = objective or Labels(), self._validation_part(share)
        outputs = self._teacher_outputs.setdefault((objective, share), [None] * len(batches))
        return Measurement(mean_loss(module, objective, batches, outputs))

    def probe(self, architecture: object, policy: Mapping[str, str] | None = None) -> float:
        return self._probe("probe", "ms", self.probe_ms, architecture, policy)

    def energy(self, architecture: object, policy: Mapping[str, str] | None = None) -> float:
        return self._probe("energy", "joules", self.probe_joules, architecture, policy)

    def _probe(
        self,
        call: str,
        unit: str,
        measure: Callable[..., float],
        architecture: object,
        policy: Mapping[str, str] | None,
    ) -> float:
        """Answer a probe, from the published run if one is repeated."""
        architecture = self._resolve_architecture(architecture)
        policy = self._resolve_policy(self.family_of(architecture.space), architecture, policy)
        key = _key(architecture, policy)
        known = self._replay(call, key, "probes")
        if known is None:
            published = self.published_probes.get((self.journal.next_call, key))
            value = measure(architecture, policy) if published is None else published
            known = {unit: value, "at": self.ledger.clock.now()}
            self.journal.record(call, key, **known)
        return float(known[unit])

    def fits(self, architecture: object, limit: float | Window) -> bool:
        if not isinstance(limit, Window):
            return self.probe(architecture) <= float(limit)
        return limit.low <= self.size(architecture) <= limit.high

    def size(self, architecture: object) -> int:
        architecture = self._resolve_architecture(architecture)
        return parameters(self.family_of(architecture.space), architecture)

    def bytes(self, architecture: object, policy: Mapping[str, str] | None = None) -> int:
        architecture = self._resolve_architecture(architecture)
        family = self.family_of(architecture.space)
        return cost.weight_bytes(family, architecture, self._resolve_policy(family, architecture, policy))

    def units(self, architecture: object) -> dict[str, tuple[int, ...]]:
        architecture = self._resolve_architecture(architecture)
        return cost.policy_units(self.family_of(architecture.space), architecture)

    def _resolve_policy(
        self, family: Any, architecture: Architecture, policy: Mapping[str, str] | None
    ) -> dict[str, str] | None:
        """Return the layers of a policy that are not fp32; None if there are none.

        Raises:
            ContractViolationError: it does not fit this sub-network and this task's runtime.
        """
        try:
            precisions.check(policy or {}, cost.policy_units(family, architecture))
            other = set((policy or {}).values()) - set(self.precisions)
            if other:
                raise ValueError(
                    f"no precision {min(other)!r} in runtime {self._workload.runtime}, choose one of"
                    f" {', '.join(self.precisions)}"
                )
        except (ValueError, TypeError, AttributeError) as error:
            raise ContractViolationError(f"not a policy of {architecture.key()}: {error}") from None
        return lowered(policy)

    def probe_ms(self, architecture: Architecture, policy: Mapping[str, str] | None = None) -> float:
        """Return the latency of one sub-network in milliseconds.

        It is counted if the tier prices operators, else measured now.
        """
        if table := getattr(self._tier, "counted", {}):
            family, prices = self.family_of(architecture.space), counted.Prices.of(table)
            with untouched_random_state(self.device):
                return counted.milliseconds(family, architecture, self._workload, self.device, prices, policy)
        ms = self._latency_probe.ms(self._builder(architecture), policy)
        self.yield_to_timing()
        return ms

    def probe_joules(self, architecture: Architecture, policy: Mapping[str, str] | None = None) -> float:
        """Meter one inference of one sub-network now, in joules."""
        joules = self._latency_probe.joules(self._builder(architecture), policy)
        self.yield_to_timing()
        return joules

    def _builder(self, architecture: Architecture) -> Callable[[], nn.Module]:
        return partial(self.family_of(architecture.space).build, architecture)

    def candidate(
        self,
        net: SuperNet,
        architecture: object,
        policy: Mapping[str, str] | None = None,
        *,
        origin: str = "inherited",
        target: float | Window | None = None,
        limit_ms: float | Window | None = None,
    ) -> Candidate:
        if limit_ms is not None:
            warnings.warn(OLD_TARGET, DeprecationWarning, stacklevel=2)
            target = limit_ms
        _require_network("candidate", net)
        self._require_label(origin, target)
        architecture = self._resolve_architecture(architecture, net.family)
        policy = self._resolve_policy(net.family, architecture, policy)
        key = f"{architecture.key()} {origin} {target}"
        key += f" {sorted(policy.items())}" if policy else ""
        free = FREE_CANDIDATES * max(1, len(self.limits)) * max(1, self.trial)
        known = self._replay("candidate", key, "evaluations" if self._candidate_count >= free else None)
        self.yield_to_timing()
        index = self._candidate_count
        folder = self.folder / "candidates" / f"{index:02d}"
        with self.ledger.clock.pause("export"), untouched_random_state(self.device):
            if known is None or not is_intact(folder, known["weights_sha256"]):
                module = self._export(net, architecture, policy)
                if isinstance(target, Window):
                    check_size(module, target)
                exported = net, module, architecture, policy
                written = write_candidate(folder, *exported, self.device, self._validate, self._workload)
                if known is None:
                    known = {**written, "index": index}
                    known |= {"architecture": architecture.to_dict(), "origin": origin}
                    known |= {"policy": policy} | self._limit_fields(target)
                    spec = net.family.spec()
                    if spec["space"]["name"].partition(":")[0] != self.space.name:
                        known |= {"space": spec["space"]}
                    known |= {"spent": self.ledger.totals(), "at": self.ledger.clock.now()}
                    known |= {"trial": self.trial} if self.trial else {}
                    self.journal.record("candidate", key, **known)
            else:
                self._charge_tokens(_statistics_cost(net, policy))
        self._log_improvement(known["valid"]["loss"])
        candidate = Candidate(
            index=index,
            architecture=architecture,
            policy=known["policy"],
            origin=origin,
            target=target,
            valid=Measurement(known["valid"]["loss"], known["valid"]["metrics"]),
            weights_sha256=known["weights_sha256"],
            path=folder,
        )
        self._issued[index] = candidate
        self._candidate_count += 1
        return candidate

    # arguments of calls

    def _require_label(self, origin: str, target: float | Window | None) -> None:
        """Refuse a candidate whose origin or target would put it beside all other methods' rows.

        Raises:
            ContractViolationError: another origin than ``ORIGINS``, or a target that the run does not have.
        """
        if origin not in ORIGINS:
            raise ContractViolationError(
                f"lab.candidate(origin={origin!r}): no such origin, choose one of {', '.join(ORIGINS)}"
            )
        targets = [*self.limits, *(limit for limit, _ in self.given if limit is not None)]
        if target is not None and target not in targets:
            raise ContractViolationError(
                f"lab.candidate(target={target}): no target of this run, choose one of lab.limits:"
                f" {', '.join(dict.fromkeys(map(str, targets)))}"
            )

    def _limit_fields(self, limit: float | Window | None) -> dict[str, object]:
        """Return the fields of a record that hold a candidate's limit."""
        if isinstance(limit, Window):
            return {"limit_ms": None, "limit_share": None, "window": [limit.low, limit.high]}
        if limit is None or not self._shares:
            return {"limit_ms": limit, "limit_share": None}
        ms, share = next(iter(self._shares.items()))
        return {"limit_ms": limit, "limit_share": self._shares.get(limit, limit * share / ms)}

    def _resolve_architecture(self, value: object, family: Any = None) -> Architecture:
        """Return a method's argument as an architecture.

        Its space is that of ``family``, else the space that drew it, else the task's.

        Raises:
            ContractViolationError: it is no architecture of that space.
        """
        own = value.space if isinstance(value, Architecture) and value.space is not None else self.space
        space = self.family_of(own).space if family is None else family.space
        try:
            return space.architecture(value)  # type: ignore[no-any-return]
        except (ValueError, TypeError, AttributeError) as error:
            raise ContractViolationError(f"not an architecture of space {space.name}: {error}") from None

    def _validate(self, module: nn.Module, device: str | None = None) -> Measurement:
        pairs, precision = self.validation, "fp32" if precisions.is_low_precision(module) else self._precision
        return self._task.evaluate(module, pairs, device or self.device, precision)


def _require_network(call: str, net: object) -> None:
    """Refuse a first argument that is no network.

    Raises:
        ContractViolationError: it is something else, as where the arguments are swapped.
    """
    if not isinstance(net, SuperNet):
        raise ContractViolationError(
            f"lab.{call}(net, architecture): its first argument is of type {type(net).__name__}, are the two"
            " swapped? First comes the network of lab.supernet() or lab.inherit()"
        )


def _statistics_cost(net: SuperNet, policy: Mapping[str, str] | None) -> float:
    """Return the tokens that statistics and ranges of an exported sub-network cost."""
    return net.statistics_cost + net.calibration_cost * needs_ranges(policy)


def _key(architecture: Architecture, policy: Mapping[str, str] | None) -> str:
    """Return the key under which the journal keeps a call's answer."""
    return architecture.key() + (f" {sorted(policy.items())}" if policy else "")
