"""Peak memory of one inference: by the allocator on a GPU, by live tensors on the processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.measurement.interleaved import TimedNetwork
from benchmarks.measurement.workload import Workload
from benchmarks.records.canonical import JsonView
from benchmarks.records.record import Memory
from supernet.quantization import precisions


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the live tensors that operators have made; ``peak`` is their height."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live: dict[int, tuple[Any, int]] = {}

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        known = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for key in [key for key, (ref, _) in self._live.items() if ref.expired()]:
            del self._live[key]
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in known:  # a view, or written in place: nothing new
                    weak = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                    self._live[storage._cdata] = (weak, storage.nbytes())
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
        return out


def measure_peak_memory(
    module: nn.Module, workload: Workload | JsonView, device: str, *, precision: str = "fp32"
) -> Memory:
    """Count the bytes that weights and workload need at their height."""
    timed = TimedNetwork(module, Workload.of(workload), device, precision)
    weights = _bytes([*timed.module.parameters(), *timed.module.buffers()])
    weights += precisions.packed_bytes(timed.module)
    with torch.inference_mode():
        if timed.cuda:
            timed.run()  # libraries allocate their workspaces once
            torch.cuda.synchronize()
            rest = torch.cuda.memory_allocated() - weights
            torch.cuda.reset_peak_memory_stats()
            timed.run()
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated() - rest
            source = "weights and workload, torch.cuda.max_memory_allocated"
            return {"peak_bytes": int(peak), "source": source}
        with LiveBytes() as live:
            timed.run()
    source = "weights and live tensors of the workload, counted at every operator, kernels' scratch left out"
    return {"peak_bytes": weights + _bytes([timed.source]) + live.peak, "source": source}


def _bytes(tensors: Sequence[Tensor]) -> int:
    """Return the bytes of the storages behind ``tensors``, each counted once."""
    return sum({s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in tensors)}.values())
