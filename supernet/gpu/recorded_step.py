"""Steps as CUDA graphs: for a small network, launching kernels takes longer than running them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

WARM_UP_STEPS = 1
"""Steps before the recording, in which libraries set themselves up; their effects are undone."""


def record_graph(step: Callable[[], object], keep: Callable[[], Iterable[Tensor]]) -> Callable[[], None]:
    """Record ``step`` as one CUDA graph and return the function that replays it.

    Args:
        step: reads and writes tensors at fixed addresses on the current device, without synchronisation.
        keep: returns the tensors that ``step`` changes and that a later step depends on. After recording
            they have their previous values; those that the first step creates are zero.
    """
    before = [(tensor, tensor.clone()) for tensor in keep()]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_STEPS):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    with torch.no_grad():
        for tensor in keep():
            tensor.zero_()
        for tensor, value in before:
            tensor.copy_(value)
    return graph.replay
