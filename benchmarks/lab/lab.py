"""The Lab that a method gets: everything it may use, charged, journaled and resumable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.api import (
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
    inherited,
    intact,
    started,
    untouched_random_state,
    write_candidate,
)
from benchmarks.lab.checkpoints import CheckpointStore
from benchmarks.lab.journal import Journal
from benchmarks.lab.ledger import Ledger
from benchmarks.lab.probes import LatencyProbe
from benchmarks.measurement import counted
from benchmarks.measurement.workload import Workload, reference_network
from supernet import cost
from supernet.cost import parameters
from supernet.elastic import SuperNet
from supernet.quantization import precisions
from supernet.quantization.fake_quantize import FakeQuantized
from supernet.quantization.precisions import lowered
from supernet.space import Architecture, SearchSpace
from supernet.weights import SharedSlices


class BenchLab(LabBookkeeping):
    """See ``benchmarks.api.Lab``.

    Args:
        folder: of the run.
        info: what the method may know of the task.
        task: a ``benchmarks.tasks`` task, with its ``tier`` and its ``prepared`` data (no test split).
        limits: ``(share of the reference latency, milliseconds)`` of every deployment target that is
            a latency.
        reference_ms: latency of the task's reference network.
        checkpoint_seconds: between two saves.
        say: takes one line for the user and the log.
    """

    def __init__(
        self,
        folder: Path,
        info: TaskInfo,
        task: Any,
        tier: Any,
        prepared: Any,
        *,
        ledger: Ledger,
        journal: Journal,
        seed: int,
        method: str,
        device: str,
        limits: Sequence[tuple[float, float]],
        reference_ms: float,
        options: Mapping[str, Any],
        checkpoint_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.task, self.ledger, self.journal = folder, info, ledger, journal
        self.seed, self.device, self.options, self.say = seed, device, options, say
        self.checkpoint_seconds = checkpoint_seconds
        self._task, self._tier, self._prepared = task, tier, prepared
        self.family = task.family(tier, prepared)
        self.space = self.family.space
        self._families: dict[str, Any] = {self.space.name: self.family}
        self.recipe = recipe_of(tier.recipe)
        self.budget: Budget = ledger
        self._shares = {ms: share for share, ms in limits}
        windows = (Window(*ends) for ends in getattr(tier, "windows", ()))
        self.limits = (*(ms for _, ms in limits), *windows)
        self.given: tuple[tuple[float | Window | None, Any], ...] = ()
        self.leader_artifacts: Mapping[str, Any] | None = None
        """What the run that this one follows has left: ``candidates``, their folders and digests, as
        ``given`` has them, and ``spent``."""
        self._teacher_outputs: dict[Any, list[Any]] = {}
        self._method, self.trial = method, 0
        """The trial of external tuning; 0: there are none."""
        self.published_probes: dict[tuple[int, str], float] = {}
        """Answers to probes (number of the call, architecture's key) of a published run that is repeated."""
        self._start(folder / "scratch")
        self.stopping = False
        """The user wants to stop; set from a signal."""
        self.unsaved = False
        """Tokens were spent since the last save."""
        self.note: tuple[float, float, str] = (0, 0, "")
        self.proposals = 0
        self.on_proposal: Callable[[], None] = lambda: None
        """Called after every proposal: from then on it counts, whatever happens."""
        self._made: dict[int, Candidate] = {}
        self._candidates = 0
        self.search_log: list[dict[str, Any]] = []
        self._precision = str(tier.settings.get("evaluate_precision", "fp32"))
        self._workload = Workload.of(tier.workload)
        reference = partial(reference_network, self.family)
        self._prober = LatencyProbe(self._workload, device, reference, reference_ms, ledger.clock.pause, say)
        self.precisions = self._prober.precisions

    def _start(self, scratch: Path) -> None:
        """All that a run of its own begins with."""
        self.rng = np.random.default_rng(derive_seed(self.seed, self.task.name, self._method))
        self._streams = self._nets = 0
        self._paid = False
        self.scratch = scratch
        self.scratch.mkdir(parents=True, exist_ok=True)

    def begin_trial(self, number: int, options: Mapping[str, Any]) -> None:
        """Begin a trial of external tuning: as a run of its own, with the same seed and other options."""
        if number > 1:
            self.ledger.next_part()
        self.trial, self.options = number, options
        self._start(self.folder / "scratch" / f"trial-{number}")

    def method_view(self) -> Any:
        """What the method is given."""
        return self

    def close(self) -> None:
        """After the search, however it ended."""
        self.journal.close()

    # what costs nothing

    @cached_property
    def training(self) -> Any:
        """The training pairs, read on first use and off the clock."""
        with self.ledger.clock.pause("data"):
            return self._task.training(self._prepared)

    @cached_property
    def validation(self) -> Any:
        """The validation pairs, read on first use and off the clock."""
        with self.ledger.clock.pause("data"):
            return self._task.validation(self._prepared)

    def supernet(self, source: Any = None, only: Any = None, space: Any = None) -> SuperNet:
        # The same seed gives all methods of a task the same initial weights, so that seeds are paired.
        generator = torch.Generator().manual_seed(
            derive_seed(self.seed, self.task.name, "weights", self._nets)
        )
        self._nets += 1
        if only is None:
            family = self.family_of(space)
        else:
            architecture = self._architecture(only)
            family = self.family_of(architecture.space).restrict_to(architecture)
        net = SuperNet(family, (source or SharedSlices)(family, generator, self.device))
        net.meter = self._pass
        if self._prepared.start is not None:
            with self.ledger.clock.pause("start"), untouched_random_state(self.device):
                started(net, self._prepared.start)
        return net

    def family_of(self, space: SearchSpace | None) -> Any:
        """The task's sub-networks of a space of the method's own; by default of the task's space."""
        if space is None:
            return self.family
        name = space.name
        if name not in self._families:
            self._families[name] = self._task.family(self._tier, self._prepared, space)
        return self._families[name]

    def inherit(self, index: int = 0) -> SuperNet:
        if self.leader_artifacts is None:
            raise ContractViolationError("lab.inherit: set `inherits = True` and `follows` in the class body")
        if not self._paid:
            with self.phase("inherited"):
                for kind in ("tokens", "evaluations", "probes"):
                    self.ledger.charge(kind, self.leader_artifacts["spent"].get(kind, 0.0))
            self._paid = self.unsaved = True
        folder, sha256 = self.leader_artifacts["candidates"][index]
        with self.ledger.clock.pause("start"), untouched_random_state(self.device):
            net = inherited(Path(folder), sha256, self.family, self.device)
        net.meter = self._pass
        return net

    def checkpoint(self, name: str) -> Checkpoint:
        return CheckpointStore(self, name)

    def batches(self, seed: int) -> Any:
        """An endless stream of training batches in an order of their own."""
        return self._task.batches(self.training, self.recipe.batch_tokens, seed, self.device)

    # what costs

    def train_batches(self, share: float = 1.0, passes: float = 1) -> TrainBatches:
        self._streams += 1
        return ChargedBatches(self, share, passes, self._streams - 1)

    def evaluate(
        self,
        net: Any,
        architecture: Any,
        objective: Any = None,
        share: float = 1.0,
        policy: Mapping[str, str] | None = None,
    ) -> Measurement:
        if not 0 < share <= 1:
            raise ValueError(f"lab.evaluate(share={share!r}): a share of the validation data in (0, 1]")
        architecture = self._architecture(architecture, net.family)
        policy = self._policy(net.family, architecture, policy)
        key, own = _key(architecture, policy), objective is None and share == 1
        if not own:
            key += f" {type(objective).__name__} {share:g}"
        known = self._ask("evaluate", key, "evaluations", share)
        if known is None:
            self.yield_to_timing()
            if policy:
                plain = net.export(architecture).to(self.device)
                module = FakeQuantized(plain, runtime=self._workload.runtime).select([policy])
            else:
                module = net.activate(architecture).eval()
            found = self._validate(module) if own else self._judge(module, objective, share)
            known = {"loss": float(found.loss), "metrics": dict(found.metrics)}
            known["at"] = self.ledger.clock.now()
            self.journal.add("evaluate", key, **known)
        elif not net.model.training:
            self._pass(net.statistics_cost)
        if own:
            self._improved(known["loss"])
        return Measurement(known["loss"], known["metrics"])

    def validation_batches(self, share: float) -> list[Any]:
        if not 0 < share <= 1:
            raise ValueError(f"lab.validation_batches(share={share!r}): a share in (0, 1]")
        self.ledger.charge("evaluations", share)
        return self._held_out(share)

    def _held_out(self, share: float) -> list[Any]:
        """The first part of the validation data, off the books."""
        with self.ledger.clock.pause("data"):
            found: list[Any] = self._task.validation_batches(self.validation, self.device, share)
            return found

    def _judge(self, module: nn.Module, objective: Any, share: float) -> Measurement:
        """Mean loss of an objective over a part of the validation data; lessons are made once."""
        from supernet.distill import mean_loss
        from supernet.train import Labels

        objective, batches = objective or Labels(), self._held_out(share)
        teacher_outputs = self._teacher_outputs.setdefault((objective, share), [None] * len(batches))
        return Measurement(mean_loss(module, objective, batches, teacher_outputs))

    def probe(self, architecture: Any, policy: Mapping[str, str] | None = None) -> float:
        return self._probed("probe", "ms", self.timed, architecture, policy)

    def energy(self, architecture: Any, policy: Mapping[str, str] | None = None) -> float:
        return self._probed("energy", "joules", self.metered, architecture, policy)

    def _probed(
        self,
        call: str,
        unit: str,
        ask: Callable[..., float],
        architecture: Any,
        policy: Mapping[str, str] | None,
    ) -> float:
        """The answer of a probe, a published one's where a run is repeated."""
        architecture = self._architecture(architecture)
        policy = self._policy(self.family_of(architecture.space), architecture, policy)
        key = _key(architecture, policy)
        known = self._ask(call, key, "probes")
        if known is None:
            published = self.published_probes.get((self.journal.next, key))
            value = ask(architecture, policy) if published is None else published
            known = {unit: value, "at": self.ledger.clock.now()}
            self.journal.add(call, key, **known)
        return float(known[unit])

    def fits(self, architecture: Any, limit: Any) -> bool:
        if not isinstance(limit, Window):
            return self.probe(architecture) <= float(limit)
        return limit.low <= self.size(architecture) <= limit.high

    def size(self, architecture: Any) -> int:
        architecture = self._architecture(architecture)
        return parameters(self.family_of(architecture.space), architecture)

    def bytes(self, architecture: Any, policy: Mapping[str, str] | None = None) -> int:
        architecture = self._architecture(architecture)
        family = self.family_of(architecture.space)
        return cost.weight_bytes(family, architecture, self._policy(family, architecture, policy))

    def units(self, architecture: Any) -> dict[str, tuple[int, ...]]:
        architecture = self._architecture(architecture)
        return cost.policy_units(self.family_of(architecture.space), architecture)

    def _policy(
        self, family: Any, architecture: Any, policy: Mapping[str, str] | None
    ) -> dict[str, str] | None:
        """What of a policy is not fp32.

        Raises:
            ContractViolationError: it is none of this sub-network in this task's runtime.
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

    def timed(self, architecture: Any, policy: Mapping[str, str] | None = None) -> float:
        """Return the milliseconds of one sub-network: counted where the tier prices them, else measured now,
        as ``LatencyProbe.ms``. The gain of low precision is measured in any case."""
        prices = getattr(self._tier, "counted", {})
        if prices and not policy:
            family = self.family_of(architecture.space)
            with untouched_random_state(self.device):
                return counted.milliseconds(family, architecture, self._workload, self.device, prices)
        found = self._prober.ms(self._building(architecture), policy)
        self.yield_to_timing()
        return found

    def metered(self, architecture: Any, policy: Mapping[str, str] | None = None) -> float:
        """Joules of one inference, measured now, as ``LatencyProbe.joules``."""
        found = self._prober.joules(self._building(architecture), policy)
        self.yield_to_timing()
        return found

    def _building(self, architecture: Any) -> Callable[[], nn.Module]:
        return partial(self.family_of(architecture.space).build, architecture)

    def candidate(
        self,
        net: Any,
        architecture: Any,
        policy: Mapping[str, str] | None = None,
        *,
        origin: str = "inherited",
        limit_ms: float | Window | None = None,
    ) -> Candidate:
        architecture = self._architecture(architecture, net.family)
        policy = self._policy(net.family, architecture, policy)
        key = f"{architecture.key()} {origin} {limit_ms}"
        key += f" {sorted(policy.items())}" if policy else ""
        known = self._ask("candidate", key, None)
        self.yield_to_timing()
        index = self._candidates
        folder = self.folder / "candidates" / f"{index:02d}"
        with self.ledger.clock.pause("export"), untouched_random_state(self.device):
            if known is None or not intact(folder, known["weights_sha256"]):
                module, spec = net.export(architecture), net.family.spec()
                if isinstance(limit_ms, Window):
                    check_size(module, limit_ms)
                exported = module, spec, architecture, policy
                found = write_candidate(folder, *exported, self.device, self._validate, self._workload)
                if known is None:
                    found["index"] = index
                    known = found | {"architecture": architecture.to_dict(), "origin": origin}
                    known |= {"policy": policy} | self._limit(limit_ms)
                    if spec["space"]["name"].partition(":")[0] != self.space.name:
                        known |= {"space": spec["space"]}
                    known |= {"spent": self.ledger.totals(), "at": self.ledger.clock.now()}
                    known |= {"trial": self.trial} if self.trial else {}
                    self.journal.add("candidate", key, **known)
            else:
                self._pass(net.statistics_cost)
        self._improved(known["valid"]["loss"])
        made = Candidate(
            index=index,
            architecture=architecture,
            policy=known["policy"],
            origin=origin,
            limit_ms=limit_ms,
            valid=Measurement(known["valid"]["loss"], known["valid"]["metrics"]),
            weights_sha256=known["weights_sha256"],
            path=folder,
        )
        self._made[index] = made
        self._candidates += 1
        return made

    # how it is journaled

    def _limit(self, limit: float | Window | None) -> dict[str, Any]:
        """A candidate's limit as a record has it."""
        if isinstance(limit, Window):
            return {"limit_ms": None, "limit_share": None, "window": [limit.low, limit.high]}
        if limit is None or not self._shares:
            return {"limit_ms": limit, "limit_share": None}
        ms, share = next(iter(self._shares.items()))
        return {"limit_ms": limit, "limit_share": self._shares.get(limit, limit * share / ms)}

    def _architecture(self, value: Any, family: Any = None) -> Any:
        """An architecture from whatever the method calls one: of ``family``'s space, else of the space
        that drew it, else of the task's.

        Raises:
            ContractViolationError: it is none of that space.
        """
        own = value.space if isinstance(value, Architecture) and value.space is not None else self.space
        space = self.family_of(own).space if family is None else family.space
        try:
            return space.architecture(value)
        except (ValueError, TypeError, AttributeError) as error:
            raise ContractViolationError(f"not an architecture of space {space.name}: {error}") from None

    def _validate(self, module: nn.Module, device: str | None = None) -> Measurement:
        pairs, precision = self.validation, "fp32" if precisions.low(module) else self._precision
        found: Measurement = self._task.evaluate(module, pairs, device or self.device, precision)
        return found


def _key(architecture: Architecture, policy: Mapping[str, str] | None) -> str:
    """What a call's answer is kept under."""
    return architecture.key() + (f" {sorted(policy.items())}" if policy else "")
