"""Networks of study ``gpu-precision`` in one precision, compiled, gated and ready to be timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.measurement import parity
from benchmarks.studies.gpu_precision.layers import check_kernels, convert


@dataclass(frozen=True)
class Compiled:
    """A network in one precision with its input.

    Attributes:
        call: compiled; on a GPU it replays a CUDA graph.
        inputs: of one inference, on the device.
        kernels: calls of low-precision kernels an inference.
    """

    call: Any
    inputs: Tensor
    kernels: int

    @classmethod
    def of(cls, module: nn.Module, precision: str, inputs: Tensor, expected: Tensor) -> Compiled:
        """Convert, check and compile a network.

        Args:
            module: in float32, on the device.
            precision: of its products.
            inputs: in float32, or token ids.
            expected: float32 outputs.

        Raises:
            MeasurementRejectedError: other kernels run than the precision implies, or outputs are far from
                float32's.
            ValueError: the precision has no kernels for this network.
        """
        network = convert(module, precision)
        if inputs.is_floating_point() and precision != "fp32":
            inputs = inputs.bfloat16()
        if any(isinstance(part, nn.Conv2d) for part in network.modules()) and inputs.ndim == 4:
            network = cast("Any", network).to(memory_format=torch.channels_last)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            kernels = check_kernels(network, inputs)
            # On a processor, where tests run, nothing is gained by minutes of compiling.
            how: dict[str, Any] = {"mode": "reduce-overhead"} if inputs.is_cuda else {"backend": "eager"}
            call = torch.compile(network, fullgraph=True, dynamic=False, **how)
            for _ in range(3):  # compiled, recorded, replayed
                outputs = call(inputs).float().clone()
            parity.check_distance(outputs, expected)
        return cls(call, inputs, kernels)

    def serve(self) -> None:
        """Run one inference, from a quiet device to a quiet device."""
        with torch.inference_mode(), torch._dynamo.config.patch(error_on_recompile=True):
            self.call(self.inputs)
        if self.inputs.is_cuda:
            torch.cuda.synchronize()
