"""Training of a supernet, or of one sub-network (a supernet whose space has one architecture).

Every update draws its architectures from (seed, update) and its dropout from (seed, update, rank), so that a
run resumed from a checkpoint draws the same as an uninterrupted one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from supernet.cuda_graphs import record_graph
from supernet.elastic import SuperNet, copy_buffers
from supernet.space import Architecture
from supernet.train.objective import Batch, Labels, Objective
from supernet.train.recipe import Recipe, Sampling

CHECK_EVERY = 50
"""Updates between checks of the loss; each check waits for the device."""


class Stream(Protocol):
    """Training batches with an end, a position and a measure of progress in tokens."""

    total: float
    spent: float

    def __iter__(self) -> Iterator[Batch]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


class CheckpointStore(Protocol):
    """Storage for the state of ``Trainer.fit``."""

    def due(self) -> bool: ...
    def save(self, state: Mapping[str, Any]) -> None: ...
    def load(self) -> dict[str, Any] | None: ...


class Trainer:
    """Trains ``net`` by ``recipe``.

    Args:
        net: its weights are trained in place.
        recipe: rates, batches, precision.
        sampling: choice of the architectures that an update trains.
        seed: of architectures and dropout.
        objective: by default the labels, with the recipe's smoothing and the sampling's distillation.
    """

    def __init__(
        self,
        net: SuperNet,
        recipe: Recipe,
        sampling: Sampling,
        seed: int,
        objective: Objective | None = None,
    ) -> None:
        self.net, self.recipe, self.sampling, self.seed = net, recipe, sampling, seed
        self.objective = objective or Labels(recipe.label_smoothing, sampling.distill)
        self.updates, self.snapshots, self.taken = 0, 0, 0
        self.flat = net.source.flat
        self.average: Tensor | None = None
        self.recording: RecordedUpdate | None = None
        self.optimizer = torch.optim.AdamW(
            [self.flat], lr=0.0, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
        )
        device = self.flat.device.type
        self.scaler = torch.amp.GradScaler(device, enabled=recipe.precision == "fp16")
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        plain = self.flat.is_cuda and self.world == 1 and not self.scaler.is_enabled()
        self.alone = plain and net.space.size() == sampling.passes == 1

    def fit(
        self,
        batches: Stream,
        checkpoint: CheckpointStore | None = None,
        progress: Callable[[float, float, str], None] | None = None,
    ) -> SuperNet:
        """Train until ``batches`` end; return the network, in full precision.

        In a process group (``torchrun``) every rank calls this with a stream and a checkpoint of its own. All
        ranks stop when the first stream ends, and save after the same updates.

        Args:
            checkpoint: storage to resume from and to save to, or None.
            progress: called with tokens spent, total tokens and a note.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        if checkpoint and (state := checkpoint.load()):
            self.restore(state["trainer"])
            batches.restore(state["batches"])
        self.net.precision(self.recipe.precision)
        model = self.net.model.train()
        devices = [self.flat.device] if self.flat.device.type == "cuda" else []
        group: list[Batch] = []
        loss: Tensor | None = None
        with torch.random.fork_rng(devices=devices):
            source = iter(batches)
            _, done, _ = self.agree(True, batches, False)
            while True:
                batch = next(source, None)
                go_on, share, save = self.agree(
                    batch is not None, batches, bool(checkpoint and checkpoint.due())
                )
                if batch is None or not go_on:
                    break
                group.append(batch)
                if len(group) < self.recipe.accumulate:
                    continue
                loss = self.update(group, done)
                group, done = [], share
                self.sampling.after(self.net, done)
                self.keep_average(done)
                if self.updates % CHECK_EVERY == 0:
                    self.look(loss)
                    if progress:
                        progress(batches.spent, batches.total, f"loss {loss.item():.3f}")
                if checkpoint and save:
                    checkpoint.save({"trainer": self.state(), "batches": batches.state()})
        if loss is not None:
            self.look(loss)
        if self.average is not None:
            with torch.no_grad():
                self.flat.copy_(self.average)
        self.recording = None
        model.eval()
        self.net.precision("fp32")
        if checkpoint:
            checkpoint.save({"trainer": self.state(), "batches": batches.state()})
        return self.net

    def agree(self, ready: bool, batches: Stream, save: bool) -> tuple[bool, float, bool]:
        """Reduce over all ranks: whether each has a batch, the share of training done, whether one is due to
        save.

        Without this, ranks would diverge, because their streams differ in tokens and so in rates.
        """
        if self.world == 1:
            return ready, batches.spent / batches.total, save
        facts = torch.tensor(
            [not ready, batches.spent, batches.total, save], dtype=torch.float64, device=self.flat.device
        )
        dist.all_reduce(facts)
        unready, spent, total, saving = facts.tolist()
        return not unready, spent / total, saving > 0

    def update(self, group: list[Batch], done: float) -> Tensor:
        """Run one optimiser step over the micro-batches of ``group``; return the mean loss of this rank.

        Weights are bound, and a mixture mixed, once per architecture; the loop over micro-batches is inside.
        """
        torch.manual_seed(
            int(np.random.SeedSequence([self.seed, self.updates, self.rank]).generate_state(1)[0])
        )
        architectures = self.sampling.draw(self.net.space, np.random.default_rng([self.seed, self.updates]))
        rate = self.recipe.rate(done)
        if self.repeats(group):
            loss = self.replay(architectures[0], group[0], rate)
        else:
            self.optimizer.param_groups[0]["lr"] = rate
            loss = self.step(architectures, group, self.charge)
        self.updates += 1
        self.net.keep_batches(group)
        return loss

    def repeats(self, group: list[Batch]) -> bool:
        """Return whether every update launches the same kernels over the same shapes.

        That holds for one architecture trained by itself on one GPU.
        """
        return self.alone and len(group) == 1 and group[0].tensors is not None

    def replay(self, architecture: Architecture, batch: Batch, rate: float) -> Tensor:
        """Run ``step`` over one batch as a CUDA graph, which is recorded at the first call."""
        self.charge(batch, 1 + self.objective.teacher_cost)
        if self.recording is None:
            self.recording = RecordedUpdate(self, architecture, batch)
        self.recording.load(batch, rate)
        self.recording.run()
        self.net.source.version += 1
        return self.recording.loss

    def step(
        self,
        architectures: Sequence[Architecture],
        group: Sequence[Batch],
        charge: Callable[[Batch, float], None] | None,
    ) -> Tensor:
        """Accumulate gradients of all architectures over all micro-batches, and take the optimiser step."""
        source = self.net.source
        weight = sum(self.objective.weight(batch) for batch in group)
        total = torch.zeros((), device=self.flat.device)
        teacher_outputs: list[Any] = [None] * len(group)
        for architecture in architectures:
            model = self.net.activate(architecture)
            for j, batch in enumerate(group):
                if charge:
                    charge(batch, 1 if teacher_outputs[j] is not None else 1 + self.objective.teacher_cost)
                loss, teacher_outputs[j] = self.objective(model, batch, teacher_outputs[j])
                self.scaler.scale(loss / (weight * len(architectures))).backward()
                total += loss.detach()
            source.collect()
        if self.world > 1:
            self.reduce(weight)
        if self.recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_([self.flat], self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.flat.grad.zero_()  # type: ignore[union-attr]
        source.refresh()
        return total / (weight * len(architectures))

    def charge(self, batch: Batch, passes: float) -> None:
        """Report passes beyond those for which the batch was drawn to the network's meter."""
        batch.passes += passes
        beyond = min(passes, batch.passes - batch.prepaid)
        if self.net.meter and beyond > 1e-6:
            self.net.meter(batch.tokens * beyond)

    def reduce(self, weight: int) -> None:
        """Average gradients over ranks, weighted by the terms of each sum: the gradient of one large
        batch."""
        count = torch.tensor([float(weight)], device=self.flat.device)
        self.flat.grad.mul_(count)  # type: ignore[union-attr]
        dist.all_reduce(self.flat.grad)
        dist.all_reduce(count)
        self.flat.grad.div_(count)  # type: ignore[union-attr]

    def keep_average(self, done: float) -> None:
        """Add a snapshot to the average whenever another part of the last ``average_span`` is over."""
        n, start = self.recipe.average_checkpoints, 1 - self.recipe.average_span
        if not n or done < start:
            return
        due = int((done - start) / self.recipe.average_span * n + 1e-9)
        if due > self.snapshots:
            self.snapshots, self.taken = due, self.taken + 1
            if self.average is None:
                self.average = self.flat.detach().clone()
            else:
                self.average.lerp_(self.flat.detach(), 1 / self.taken)

    def look(self, loss: Tensor) -> None:
        """Wait for the device and refuse a loss that is not finite."""
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the training loss is {loss.item()} after {self.updates} updates")

    def state(self) -> dict[str, Any]:
        """Return all tensors and numbers on which the next update depends."""
        moments = self.optimizer.state.get(self.flat, {})
        return {
            "flat": self.flat.detach(),
            "moments": dict(moments),
            "scaler": self.scaler.state_dict(),
            "updates": self.updates,
            "snapshots": self.snapshots,
            "taken": self.taken,
            "average": self.average,
            "sampling": self.sampling.state(),
            "buffers": dict(self.net.model.named_buffers()),
            "seen": self.net.statistics_batches,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state``."""
        with torch.no_grad():
            self.flat.copy_(state["flat"])
        if state["moments"]:
            device = self.flat.device
            self.optimizer.state[self.flat] = {k: v.to(device) for k, v in state["moments"].items()}
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.updates, self.snapshots, self.taken = state["updates"], state["snapshots"], state["taken"]
        self.average = None if state["average"] is None else state["average"].to(self.flat.device)
        self.sampling.restore(state["sampling"])
        if state["seen"]:
            device = self.flat.device
            self.net.statistics_batches = [
                (tuple(x.to(device) for x in inputs), n) for inputs, n in state["seen"]
            ]
        copy_buffers(state["buffers"], self.net.model)
        self.net.source.refresh()


class RecordedUpdate:
    """One update of one architecture as a CUDA graph.

    Args:
        trainer: its optimiser keeps the learning rate on the device from now on.
        architecture: the only one.
        batch: of the shapes that all batches have.
    """

    def __init__(self, trainer: Trainer, architecture: Architecture, batch: Batch) -> None:
        self.batch = copy.copy(batch)
        tensors = {k: v.clone() for k, v in vars(batch).items() if isinstance(v, Tensor)}
        vars(self.batch).update(tensors)
        self.loss = torch.zeros((), device=trainer.flat.device)
        self.rate = torch.zeros((), device=trainer.flat.device)
        optimizer = trainer.optimizer
        optimizer.param_groups[0].update(lr=self.rate, capturable=True)

        def step() -> None:
            self.loss.copy_(trainer.step([architecture], [self.batch], None))

        def changed() -> list[Tensor]:
            moments = optimizer.state.get(trainer.flat, {}).values()
            return [trainer.flat.detach(), *moments, *trainer.net.model.buffers()]

        self.run = record_graph(step, changed)
        trainer.net.source.refresh()

    def load(self, batch: Batch, rate: float) -> None:
        """Copy a batch and the learning rate to the addresses from which ``run`` reads them."""
        for mine, new in zip(self.batch.tensors or (), batch.tensors or (), strict=True):
            mine.copy_(new)
        self.rate.fill_(rate)
