"""The conformance suite's Lab: the harness's own, instrumented. It lives in the method's process.

Its observations go to ``checks.json`` in the run's folder; ``benchmarks.conformance.checks`` judges them.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from benchmarks import class_facts, code_files
from benchmarks.api import Batch, Budget, Candidate, Lab, Measurement, State, TrainBatches
from benchmarks.conformance.observations import LIMIT_MS, ExportDifference, Instrumentation, Observations
from benchmarks.lab.candidates import untouched_random_state
from benchmarks.lab.journal import Entry
from benchmarks.lab.lab import BenchLab
from benchmarks.measurement.workload import Workload
from supernet import export
from supernet.cost import cost
from supernet.elastic import SuperNet
from supernet.space import Architecture

if TYPE_CHECKING:
    from _typeshed import TraceFunction

AUDITED = ("open", "os.listdir", "os.scandir", "subprocess.Popen", "os.system", "os.posix_spawn")
"""Events by which a process reaches for a file; see the table of audit events in Python's manual."""
PRIVATE = {
    "test split": ("_prepared", "_task", "_tier", "folder"),
    "budget": ("ledger", "training", "validation", "try_charge", "journal"),
}
"""Check -> non-public attributes of the Lab whose use fails it; the use of any other fails the contract."""


def surface(kind: type) -> frozenset[str]:
    """Return the public names of an interface."""
    names = {name for base in kind.__mro__ for name in (*vars(base), *getattr(base, "__annotations__", ()))}
    return frozenset(name for name in names if not name.startswith("_"))


def import_libraries(source: str) -> None:
    """Import the libraries that a method's files import.

    Some libraries draw from global random state while they are imported, for which the method is
    not to blame. The harness's modules and those of the method's own package are left out.
    """
    own = code_files.sources(source)
    packages = {"benchmarks", *(name.partition(".")[0] for name in own)}
    for name in {name for path in own.values() for name in class_facts.imports(path)}:
        if name.partition(".")[0] not in packages:
            with suppress(ImportError):
                importlib.import_module(name)


def states() -> dict[str, bytes]:
    """Return fingerprints of the global random generators."""
    kind, keys, *rest = np.random.get_state()
    return {
        "random": repr(hash(random.getstate())).encode(),
        "numpy.random": repr((kind, rest)).encode() + np.asarray(keys).tobytes(),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


class ProcessMonitor:
    """Monitor of a search process, from before the method's file is executed.

    Args:
        folder: folder of the run.
        settings: what to watch for, and when to interfere.
    """

    def __init__(self, folder: Path, settings: Instrumentation) -> None:
        self.folder, self.settings = folder, settings
        self.files = frozenset(settings["files"])
        self.observed = Observations()
        self.batches: dict[int, int] = {}
        self._states = states()
        self._frames: dict[FrameType, tuple[int, dict[str, bytes]]] = {}
        sys.addaudithook(self._audit)
        self._count_passes()
        if settings["trace"]:
            sys.settrace(self._trace)

    def locate(self) -> str:
        """Return the innermost line of the method's own files that is being executed, as ``mine.py:41``."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename not in self.files:
            frame = frame.f_back
        return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else ""

    def record_access(self, label: str, name: str) -> None:
        """Record that the method used ``label.name``, which is not public."""
        place = self.locate()
        if place:
            check = next((c for c, names in PRIVATE.items() if name in names), "contract")
            check = "budget" if label == "lab.budget" else check
            uses = self.observed.private.setdefault(check, {})
            if f"{label}.{name}" not in uses:
                uses[f"{label}.{name}"] = place
                # At once: what the method does with it may end its run.
                self.observed.write(self.folder / "scratch")

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event not in AUDITED:
            return
        flat: list[object] = []
        for argument in arguments:
            flat += argument if isinstance(argument, list | tuple) else [argument]
        words = [os.fsdecode(a) for a in flat if isinstance(a, str | bytes | os.PathLike)]
        for word in [part for text in words for part in (text, *text.split())]:
            path = Path(os.path.realpath(word))
            for place in (path, *path.parents):
                if hashlib.sha256(str(place).encode()).hexdigest() == self.settings["sealed"]:
                    self.observed.sealed.setdefault(path.name, self.locate())

    def _trace(self, frame: FrameType, _event: str, _argument: object) -> TraceFunction | None:
        """Trace the lines of the method's own files, and of no other; for ``sys.settrace``."""
        if frame.f_code.co_filename not in self.files:
            return None
        self._frames[frame] = frame.f_lineno, states()
        return self._line

    def _line(self, frame: FrameType, event: str, _argument: object) -> TraceFunction:
        line, before = self._frames.get(frame, (frame.f_lineno, self._states))
        now = states()
        for name in now:
            if now[name] != before[name]:
                self.observed.moved.setdefault(name, f"{Path(frame.f_code.co_filename).name}:{line}")
        if event == "return":
            self._frames.pop(frame, None)
        else:
            self._frames[frame] = frame.f_lineno, now
        return self._line

    def compare_states(self) -> None:
        """Record each global generator whose state differs from the one that the process was seeded with."""
        now = states()
        for name in now:
            if now[name] != self._states[name]:
                self.observed.moved.setdefault(name, "")

    def _count_passes(self) -> None:
        """Count the target tokens of every training pass of every supernet, whatever its meter charges."""
        initialise, monitor = SuperNet.__init__, self

        def counted(module: torch.nn.Module, arguments: tuple[object, ...], output: object) -> None:
            if isinstance(output, torch.Tensor) and output.requires_grad:
                known = [monitor.batches.get(a.data_ptr()) for a in arguments if isinstance(a, torch.Tensor)]
                rows = output.numel() // output.shape[-1]
                tokens = next((tokens for tokens in known if tokens is not None), rows)
                monitor.observed.trained_tokens += tokens

        def init(net: SuperNet, *arguments: object, **more: object) -> None:
            initialise(net, *arguments, **more)  # type: ignore[arg-type]
            net.model.register_forward_hook(counted)

        SuperNet.__init__ = init  # type: ignore[assignment, method-assign]


class AccessProxy:
    """Proxy that records access to non-public attributes and forwards it."""

    def __init__(self, monitor: ProcessMonitor, inner: object, label: str, kind: type) -> None:
        self.__dict__["_proxied"] = monitor, inner, label, surface(kind)

    def __getattr__(self, name: str) -> Any:
        monitor, inner, label, public = self.__dict__["_proxied"]
        if name not in public:
            monitor.record_access(label, name)
        return getattr(inner, name)

    def __setattr__(self, name: str, value: object) -> None:
        monitor, inner, label, _ = self.__dict__["_proxied"]
        monitor.record_access(label, name)
        setattr(inner, name, value)


class TrackedBatches(TrainBatches):
    """Training batches whose tensors the monitor recognises in a network's forward pass."""

    def __init__(self, monitor: ProcessMonitor, inner: TrainBatches) -> None:
        self._monitor, self._inner = monitor, inner
        self.total, self.spent = inner.total, inner.spent

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._inner:
            self.spent = self._inner.spent
            tensors = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
            self._monitor.batches |= {tensor.data_ptr(): batch.tokens for tensor in tensors}
            yield batch

    def state(self) -> State:
        return self._inner.state()

    def restore(self, state: State) -> None:
        self._inner.restore(state)
        self.spent = self._inner.spent


class InstrumentedLab(BenchLab):
    """A ``BenchLab`` whose latency and energy are modelled by multiply-adds, so that equal seeds repeat."""

    def __init__(self, monitor: ProcessMonitor, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.monitor = monitor
        self._largest: int | None = None

    def method_view(self) -> Any:
        view = AccessProxy(self.monitor, self, "lab", Lab)
        self.budget = cast(Budget, AccessProxy(self.monitor, self.ledger, "lab.budget", Budget))
        return view

    def probe_ms(self, architecture: Architecture, policy: Mapping[str, str] | None = None) -> float:
        workload = Workload.of(self._tier.workload)
        count = partial(cost, source_len=workload.source_len, target_len=workload.target_len)
        if self._largest is None:
            self._largest = count(self.family, self.space.largest()).macs
        family = self.family_of(architecture.space)
        lighter = self.bytes(architecture, policy) / self.bytes(architecture)
        return float(LIMIT_MS * lighter * count(family, architecture).macs / self._largest)

    def probe_joules(self, architecture: Architecture, policy: Mapping[str, str] | None = None) -> float:
        return self.probe_ms(architecture, policy) / 1e3

    def train_batches(self, share: float = 1.0, passes: float = 1) -> TrainBatches:
        return TrackedBatches(self.monitor, super().train_batches(share, passes))

    def try_charge(self, kind: str, amount: float) -> bool:
        self._refuse("tokens", self.ledger.spent("tokens"))
        charged = super().try_charge(kind, amount)
        self._kill("tokens", self.ledger.spent("tokens"))
        return charged

    def _replay(self, call: str, key: str, kind: str | None, amount: float = 1) -> Entry | None:
        self._refuse("calls", self.journal.next_call)
        known = super()._replay(call, key, kind, amount)
        if known is None:
            self._kill("calls", self.journal.next_call)
        return known

    def _refuse(self, kind: str, amount: float) -> None:
        """Spend the whole allowance once the point is reached, so that every further charge is refused."""
        if amount >= (self.monitor.settings["refuse"] or {}).get(kind, float("inf")):
            for limited in ("tokens", "evaluations", "probes"):
                self.ledger.book(limited, self.ledger.left(limited))

    def _kill(self, kind: str, amount: float) -> None:
        if amount >= (self.monitor.settings["kill"] or {}).get(kind, float("inf")):
            os.kill(os.getpid(), signal.SIGKILL)

    def candidate(self, net: SuperNet, architecture: object, *arguments: Any, **more: Any) -> Candidate:
        candidate = super().candidate(net, architecture, *arguments, **more)
        with self.ledger.clock.pause("checks"), untouched_random_state(self.device):
            meter, net.meter = net.meter, None  # statistics for these checks are not the method's to pay
            module = net.activate(self._resolve_architecture(architecture, net.family))
            net.meter = meter
            training = module.training
            ours, outputs = self._outputs(module.eval())
            module.train(training)
            baked, exported = self._outputs(export.load(candidate.path)[0].to(self.device))
            distance = max(float((a - b).abs().max()) for a, b in zip(outputs, exported, strict=True))
            difference = ExportDifference(candidate.index, distance, ours.loss, baked.loss)
            self.monitor.observed.exports.append(difference)
        return candidate

    def _outputs(self, module: torch.nn.Module) -> tuple[Measurement, list[torch.Tensor]]:
        """Validate a network, and return its output on every batch too."""
        outputs: list[torch.Tensor] = []
        hook = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output.detach()))
        try:
            return self._validate(module), outputs
        finally:
            hook.remove()

    def accept(self, item: object) -> bool:
        self.monitor.compare_states()
        return super().accept(item)

    def close(self) -> None:
        sys.settrace(None)
        self.monitor.compare_states()
        self.monitor.observed.complete = True
        self.monitor.observed.write(self.monitor.folder / "scratch")
        super().close()


def instrument(source: str) -> Callable[[Path, Instrumentation], Callable[..., InstrumentedLab]]:
    """Import the libraries of a method; return a factory of its instrumented Lab from folder and settings."""
    import_libraries(source)
    return lambda folder, settings: partial(InstrumentedLab, ProcessMonitor(folder, settings))
