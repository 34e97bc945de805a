"""Steps as CUDA graphs: launching the kernels of a small network takes longer than running them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

WARM_UP_STEPS = 3
"""Before a step is recorded; what they do is undone."""


def recorded(step: Callable[[], object], keep: Callable[[], Iterable[Tensor]]) -> Callable[[], None]:
    """``step`` as one CUDA graph, to be called in its place.

    Args:
        step: reads and writes tensors of fixed place on the current device, and waits for nothing.
        keep: the tensors that it changes and that a later step depends on; after recording they are as they
            were, those that the first step makes are zero.
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
