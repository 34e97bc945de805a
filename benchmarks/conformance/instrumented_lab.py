"""The Lab of the conformance suite: the harness's own, watching. Lives in the method's process.

What it sees goes to ``checks.json`` in the run's folder; ``benchmarks.conformance.suite`` judges it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from benchmarks import registry
from benchmarks.api import Budget, Candidate, Lab, Measurement, TrainBatches
from benchmarks.lab.candidates import untouched_random_state
from benchmarks.lab.lab import BenchLab
from benchmarks.measurement.workload import Workload
from benchmarks.records.store import write_text
from supernet import export
from supernet.cost import cost
from supernet.elastic import SuperNet

CHECKS = "checks.json"
LIMIT_MS = 100.0
"""Modelled latency of the space's largest network."""
AUDITED = ("open", "os.listdir", "os.scandir", "subprocess.Popen", "os.system", "os.posix_spawn")
"""Events by which a process reaches for a file; see the table of audit events in Python's manual."""
PRIVATE = {
    "test split": ("_prepared", "_task", "_tier", "folder"),
    "budget": ("ledger", "training", "validation", "try_charge", "journal"),
}
"""Which check it concerns that a method takes something below the Lab's surface; else the contract."""


def surface(kind: type) -> frozenset[str]:
    """The public names of an interface."""
    names = {name for base in kind.__mro__ for name in (*vars(base), *getattr(base, "__annotations__", ()))}
    return frozenset(name for name in names if not name.startswith("_"))


def import_libraries(source: str) -> None:
    """Import what a method's files import of others: some libraries draw from global state while they are
    imported, and that is not the method's doing."""
    paths = registry.sources(source).values()
    for name in {name for path in paths for name in registry.imports(path)}:
        if name.partition(".")[0] not in ("baselines", "benchmarks", "mos"):
            with suppress(ImportError):
                importlib.import_module(name)


def states() -> dict[str, bytes]:
    """Fingerprints of the global generators."""
    kind, keys, *rest = np.random.get_state()
    return {
        "random": repr(hash(random.getstate())).encode(),
        "numpy.random": repr((kind, rest)).encode() + np.asarray(keys).tobytes(),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


class Watch:
    """Eyes on a search process, from before the method's file is executed.

    Args:
        folder: of the run.
        checks: ``files``: the method's source; ``sealed``: sha256 of the path of the test split, so that
            the path itself is nowhere in this process; ``trace``: find the lines that touch global random
            state; ``kill`` and ``refuse``: when, as ``{"tokens": amount, "calls": number}``.
    """

    def __init__(self, folder: Path, checks: Mapping[str, Any]) -> None:
        self.folder, self.checks = folder, checks
        self.files = frozenset(checks["files"])
        self.inside: dict[str, dict[str, str]] = {}
        self.sealed: dict[str, str] = {}
        self.moved: dict[str, str] = {}
        self.exports: list[dict[str, Any]] = []
        self.passes = 0
        self.batches: dict[int, int] = {}
        self._states = states()
        self._frames: dict[FrameType, tuple[int, dict[str, bytes]]] = {}
        sys.addaudithook(self._audit)
        self._count_passes()
        if checks["trace"]:
            sys.settrace(self._trace)

    def where(self) -> str:
        """``mine.py:41``: the innermost line of the method's own files that is being executed."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename not in self.files:
            frame = frame.f_back
        return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else ""

    def look_inside(self, what: str, name: str) -> None:
        """The method takes ``what.name``, which is not on the surface."""
        place = self.where()
        if place:
            check = next((c for c, names in PRIVATE.items() if name in names), "contract")
            check = "budget" if what == "lab.budget" else check
            self.inside.setdefault(check, {}).setdefault(f"{what}.{name}", place)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in AUDITED:
            return
        flat: list[Any] = []
        for argument in arguments:
            flat += argument if isinstance(argument, list | tuple) else [argument]
        words = [os.fsdecode(a) for a in flat if isinstance(a, str | bytes | os.PathLike)]
        for word in [part for text in words for part in (text, *text.split())]:
            path = Path(os.path.realpath(word))
            for place in (path, *path.parents):
                if hashlib.sha256(str(place).encode()).hexdigest() == self.checks["sealed"]:
                    self.sealed.setdefault(path.name, self.where())

    def _trace(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        """Of ``sys.settrace``: watch the lines of the method's own files, and of no other."""
        if frame.f_code.co_filename not in self.files:
            return None
        self._frames[frame] = frame.f_lineno, states()
        return self._line

    def _line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        line, before = self._frames.get(frame, (frame.f_lineno, self._states))
        now = states()
        for name in now:
            if now[name] != before[name]:
                self.moved.setdefault(name, f"{Path(frame.f_code.co_filename).name}:{line}")
        if event == "return":
            self._frames.pop(frame, None)
        else:
            self._frames[frame] = frame.f_lineno, now
        return self._line

    def compare_states(self) -> None:
        """Note which global generators are not where they were when the process was seeded."""
        now = states()
        for name in now:
            if now[name] != self._states[name]:
                self.moved.setdefault(name, "")

    def _count_passes(self) -> None:
        """Count target tokens of every training pass of every supernet, whatever its meter says."""
        make, watch = SuperNet.__init__, self

        def counted(module: Any, arguments: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.requires_grad:
                known = [watch.batches.get(a.data_ptr()) for a in arguments if isinstance(a, torch.Tensor)]
                rows = output.numel() // output.shape[-1]
                watch.passes += next((tokens for tokens in known if tokens is not None), rows)

        def init(net: SuperNet, *arguments: Any, **more: Any) -> None:
            make(net, *arguments, **more)
            net.model.register_forward_hook(counted)

        SuperNet.__init__ = init  # type: ignore[assignment, method-assign]

    def write(self) -> None:
        """Leave ``checks.json``."""
        seen = {"inside": self.inside, "sealed": self.sealed, "moved": self.moved, "exports": self.exports}
        write_text(self.folder / CHECKS, json.dumps(seen | {"passes": self.passes}))


class Handed:
    """What the method is given: an object's surface. A look underneath is noted, and granted."""

    def __init__(self, watch: Watch, inner: Any, what: str, kind: type) -> None:
        self.__dict__["_handed"] = watch, inner, what, surface(kind)

    def __getattr__(self, name: str) -> Any:
        watch, inner, what, public = self.__dict__["_handed"]
        if name not in public:
            watch.look_inside(what, name)
        return getattr(inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        watch, inner, what, _ = self.__dict__["_handed"]
        watch.look_inside(what, name)
        setattr(inner, name, value)


class Noted(TrainBatches):
    """Training batches that the watch knows again when a network is given them."""

    def __init__(self, watch: Watch, inner: TrainBatches) -> None:
        self._watch, self._inner = watch, inner
        self.total, self.spent = inner.total, inner.spent

    def __iter__(self) -> Iterator[Any]:
        for batch in self._inner:
            self.spent = self._inner.spent
            tensors = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
            self._watch.batches |= {tensor.data_ptr(): batch.tokens for tensor in tensors}
            yield batch

    def state(self) -> dict[str, Any]:
        return self._inner.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self._inner.restore(state)
        self.spent = self._inner.spent


class CheckedLab(BenchLab):
    """See ``BenchLab``. Latency and energy are modelled by multiply-adds, so that equal seeds can do equal
    things."""

    def __init__(self, watch: Watch, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.watch = watch
        self._largest: int | None = None

    def method_view(self) -> Any:
        shown = Handed(self.watch, self, "lab", Lab)
        self.budget: Any = Handed(self.watch, self.ledger, "lab.budget", Budget)
        return shown

    def timed(self, architecture: Any, policy: Mapping[str, str] | None = None) -> float:
        work = Workload.of(self._tier.workload)
        lengths: dict[str, Any] = {"source_len": work.source_len, "target_len": work.target_len}
        if self._largest is None:
            self._largest = cost(self.family, self.space.largest(), **lengths).macs
        family = self.family_of(architecture.space)
        lighter = self.bytes(architecture, policy) / self.bytes(architecture)
        return LIMIT_MS * lighter * cost(family, architecture, **lengths).macs / self._largest

    def metered(self, architecture: Any, policy: Mapping[str, str] | None = None) -> float:
        return self.timed(architecture, policy) / 1e3

    def train_batches(self, share: float = 1.0, passes: float = 1) -> TrainBatches:
        return Noted(self.watch, super().train_batches(share, passes))

    def try_charge(self, kind: str, amount: float) -> bool:
        self._refuse("tokens", self.ledger.spent("tokens"))
        took = super().try_charge(kind, amount)
        self._kill("tokens", self.ledger.spent("tokens"))
        return took

    def _ask(self, call: str, key: str, kind: str | None, amount: float = 1) -> dict[str, Any] | None:
        self._refuse("calls", self.journal.next)
        known = super()._ask(call, key, kind, amount)
        if known is None:
            self._kill("calls", self.journal.next)
        return known

    def _refuse(self, kind: str, amount: float) -> None:
        """Once the point is reached, all that is left is spent: every further charge is refused."""
        if amount >= (self.watch.checks["refuse"] or {}).get(kind, float("inf")):
            for limited in ("tokens", "evaluations", "probes"):
                self.ledger.book(limited, self.ledger.left(limited))

    def _kill(self, kind: str, amount: float) -> None:
        if amount >= (self.watch.checks["kill"] or {}).get(kind, float("inf")):
            os.kill(os.getpid(), signal.SIGKILL)

    def candidate(self, net: Any, architecture: Any, *arguments: Any, **more: Any) -> Candidate:
        made = super().candidate(net, architecture, *arguments, **more)
        with self.ledger.clock.pause("checks"), untouched_random_state(self.device):
            meter, net.meter = net.meter, None  # statistics for these checks are no business of the method's
            module = net.activate(self._architecture(architecture, net.family))
            net.meter = meter
            training = module.training
            ours, outputs = self._outputs(module.eval())
            module.train(training)
            baked, exported = self._outputs(export.load(made.path)[0].to(self.device))
            apart = max(float((a - b).abs().max()) for a, b in zip(outputs, exported, strict=True))
            found = {"index": made.index, "apart": apart, "supernet": ours.loss, "exported": baked.loss}
            self.watch.exports.append(found)
        return made

    def _outputs(self, module: torch.nn.Module) -> tuple[Measurement, list[torch.Tensor]]:
        """Validation, and what the network said to every batch of it."""
        said: list[torch.Tensor] = []
        hook = module.register_forward_hook(lambda _module, _given, output: said.append(output.detach()))
        try:
            return self._validate(module), said
        finally:
            hook.remove()

    def accept(self, item: object) -> bool:
        self.watch.compare_states()
        return super().accept(item)

    def close(self) -> None:
        sys.settrace(None)
        self.watch.compare_states()
        self.watch.write()
        super().close()


def watching(source: str) -> Callable[[Path, Mapping[str, Any]], Callable[..., CheckedLab]]:
    """Import the libraries of a method, and return what makes its watched Lab from a folder and checks."""
    import_libraries(source)
    return lambda folder, checks: partial(CheckedLab, Watch(folder, checks))
