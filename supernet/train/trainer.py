"""Training of a supernet, or of one sub-network (a supernet whose space has one architecture).

Every update draws its architectures from (seed, update) and its dropout from (seed, update, rank), so that a
run resumed from a checkpoint draws the same as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from supernet.elastic import SuperNet, copy_buffers
from supernet.objective import Batch, Labels, Objective
from supernet.space import Architecture
from supernet.train.recipe import Recipe, Sampling

if TYPE_CHECKING:
    from supernet.gpu.sublayer_graphs import SublayerGraphs

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
        self.graphs: SublayerGraphs | None = None
        self.optimizer = torch.optim.AdamW(
            [self.flat], lr=0.0, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
        )
        device = self.flat.device.type
        self.scaler = torch.amp.GradScaler(device, enabled=recipe.precision == "fp16")
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)

    def fit(
        self,
        batches: Stream | Iterable[Any] | Callable[[int], Iterable[Any]],
        checkpoint: CheckpointStore | None = None,
        progress: Callable[[float, float, str], None] | None = None,
        updates: int | None = None,
    ) -> SuperNet:
        """Train until ``batches`` end; return the network, in full precision.

        In a process group (``torchrun``) every rank calls this with a stream and a checkpoint of its own. All
        ranks stop when the first stream ends, and save after the same updates.

        Args:
            batches: a stream, or what ``supernet.data.plain_batches`` makes one of: any iterable of
                batches or of tuples of tensors, such as a ``DataLoader``.
            updates: batches of such an iterable in all; None: one epoch.
            checkpoint: storage to resume from and to save to, or None.
            progress: called with tokens spent, total tokens and a note.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        if not hasattr(batches, "restore"):
            from supernet.data.plain_batches import PlainBatches

            batches = PlainBatches(batches, updates, self.flat.device)
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
        self.graphs = None
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
        seed = int(np.random.SeedSequence([self.seed, self.updates, self.rank]).generate_state(1)[0])
        # torch.manual_seed takes a third of a millisecond, most of it for devices that are not there.
        torch.default_generator.manual_seed(seed)
        if self.flat.is_cuda:
            torch.cuda.default_generators[self.flat.get_device()].manual_seed(seed)
        architectures = self.sampling.draw(self.net.space, np.random.default_rng([self.seed, self.updates]))
        self.optimizer.param_groups[0]["lr"] = self.recipe.rate(done)
        with self.replaying() if self.flat.is_cuda else nullcontext():
            loss = self.step(architectures, group)
        self.updates += 1
        self.net.keep_batches(group)
        return loss

    def replaying(self) -> AbstractContextManager[None]:
        """Replay the network's sub-layers as CUDA graphs, which hold for one set of weight buffers."""
        from supernet.gpu.sublayer_graphs import CudaCapture, SublayerGraphs

        homes = self.net.source.homes()
        if self.graphs is None or any(a is not b for a, b in zip(self.graphs.buffers, homes, strict=True)):
            self.graphs = SublayerGraphs(self.net.model, homes, CudaCapture(self.flat.device))
        return self.graphs.attached()

    def step(self, architectures: Sequence[Architecture], group: Sequence[Batch]) -> Tensor:
        """Accumulate gradients of all architectures over all micro-batches, and take the optimiser step."""
        source = self.net.source
        weight = sum(self.objective.weight(batch) for batch in group)
        total = torch.zeros((), device=self.flat.device)
        teacher_outputs: list[Any] = [None] * len(group)
        # Nothing comes between the last gradient and the update.
        one_pass = self.flat.is_cuda and self.world == 1 and not self.recipe.clip_norm
        one_pass = one_pass and not self.scaler.is_enabled()
        for architecture in architectures:
            model = self.net.activate(architecture)
            for j, batch in enumerate(group):
                self.charge(batch, 1 if teacher_outputs[j] is not None else 1 + self.objective.teacher_cost)
                placed = self.graphs.begin(batch) if self.graphs else batch
                loss, teacher_outputs[j] = self.objective(model, placed, teacher_outputs[j])
                self.scaler.scale(loss / (weight * len(architectures))).backward()
                total += loss.detach()
            if not (one_pass and architecture is architectures[-1]):
                source.collect()
        if one_pass:
            source.collect_and_update(self.optimizer)
        else:
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
            "world": self.world,
            "updates": self.updates,
            "snapshots": self.snapshots,
            "taken": self.taken,
            "average": self.average,
            "sampling": self.sampling.state(),
            "buffers": dict(self.net.model.named_buffers()),
            "seen": self.net.statistics_batches,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state``.

        Raises:
            ValueError: the state is of another number of ranks, whose batches and sums were others.
        """
        if state.get("world", self.world) != self.world:
            raise ValueError(
                f"this training was begun by {state['world']} ranks and there are {self.world} now:"
                " resume it with as many, or begin anew"
            )
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
