"""Batch norms folded into the convolutions before them, as runtimes deploy them."""

from __future__ import annotations

import copy

import torch
from torch import nn

from supernet.quantization.precisions import LAYERS


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Return a copy in which each convolution includes the batch norm that follows it in a ``nn.Sequential``.

    Outputs change by float32 rounding alone. Layers keep their names; a folded convolution gains a bias.
    Batch norms in other places stay.

    Args:
        module: in evaluation mode, with running statistics.
    """
    folded = copy.deepcopy(module).eval()
    for parent in [m for m in folded.modules() if isinstance(m, nn.Sequential)]:
        names = list(parent._modules)
        for name, after in zip(names[:-1], names[1:], strict=True):
            layer, norm = parent._modules[name], parent._modules[after]
            if isinstance(layer, LAYERS) and norm is not None and _is_batch_norm(norm):
                _fold(layer, norm)
                parent._modules[after] = FoldedBatchNorm(norm)
    return folded


class FoldedBatchNorm(nn.Module):
    """Placeholder of a folded batch norm: the identity, with a ``weight`` of its type."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight = torch.ones_like(norm.weight)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def _is_batch_norm(module: nn.Module) -> bool:
    return isinstance(getattr(module, "running_mean", None), torch.Tensor)


def _fold(layer: nn.Module, norm: nn.Module) -> None:
    """Multiply the weights of a layer by the norm's scale, and give it the norm's shift as bias."""
    mean: torch.Tensor = norm.running_mean  # type: ignore[assignment]
    # The norm is affine in each channel: two probes determine it, whatever its epsilon.
    probe = mean + mean.abs().clamp(min=1)
    with torch.no_grad():
        shift, value = norm(torch.stack([mean, probe]).view(2, -1, 1, 1)).flatten(1)
        scale = (value - shift) / (probe - mean)
        weight: torch.Tensor = layer.weight  # type: ignore[assignment]
        bias: torch.Tensor | None = layer.bias  # type: ignore[assignment]
        before = -mean if bias is None else bias - mean
        column = scale.view(-1, *[1] * (weight.dim() - 1))
        layer.weight = nn.Parameter(weight * column, requires_grad=False)
        layer.bias = nn.Parameter(shift + before * scale, requires_grad=False)
