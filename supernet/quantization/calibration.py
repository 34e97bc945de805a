"""Calibration: fixed activation ranges of static int8 (``int8s``), from training batches.

Each linear layer and convolution gets the range of its input; a convolution also that of its output, behind
its batch norm and, if the network rectifies it there, behind the ReLU. Ranges are per tensor. They are those
of the network in float32, so one calibration serves all policies of an architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from supernet.quantization.folding import fold_batch_norms
from supernet.quantization.precisions import LAYERS
from supernet.quantization.rounding import Array

METHODS = ("min-max", "percentile", "entropy")
"""Rules for the ends of a range."""
PERCENTILE = 99.999
"""Percentage of values inside a range of the method ``percentile``, as in ONNX Runtime."""
WIDEST = 1e30
"""Widest range that is one of activations: products of steps stay finite in float32."""
BINS = 2048
"""Bins of a histogram. ONNX Runtime's default for entropy is 128, which leaves one candidate: min-max."""
RANGE = "activation_range"
"""Buffer of a layer with the four numbers of its ``LayerRange``."""
QUANTIZED_BINS = 128
"""Bins to which the method ``entropy`` merges a histogram."""


@dataclass(frozen=True)
class LayerRange:
    """Activation range of one layer: lowest and highest value of its input and of its output."""

    low: float
    high: float
    output_low: float
    output_high: float

    @property
    def is_valid(self) -> bool:
        """True if both are ranges whose steps float32 holds."""
        widths = (self.high - self.low, self.output_high - self.output_low)
        return all(0 <= width <= WIDEST for width in widths)


Ranges = Mapping[str, LayerRange]
"""Name of a layer -> its range."""


def calibrate(
    module: nn.Module,
    batches: Sequence[Sequence[Tensor]],
    method: str = "min-max",
    *,
    call: Callable[..., Any] | None = None,
    real: Callable[..., Tensor | None] = lambda *inputs: None,
) -> dict[str, LayerRange]:
    """Return the activation ranges of an exported network over batches of training data.

    Args:
        module: in evaluation mode, on the device of the batches; its batch norms are folded in a copy.
        batches: inputs of each call.
        method: of ``METHODS``. ``percentile`` and ``entropy`` take a second pass, for histograms.
        call: ``(module, *inputs) -> output``; by default the module's forward.
        real: inputs -> places without padding ``[B, T, 1]``, which alone count; None: all.

    Raises:
        ValueError: no batches, another method, or a value that is not finite.
    """
    if method not in METHODS:
        raise ValueError(f"calibration {method!r}: choose one of {', '.join(METHODS)}")
    if not batches:
        raise ValueError("calibration needs at least one batch of training data")
    folded = fold_batch_norms(module)
    run = _Pass(folded, batches, call or (lambda net, *inputs: net(*inputs)), real)
    extremes: dict[str, tuple[float, float]] = {}
    for key, values in run():
        low, high = (float(x) for x in torch.aminmax(values))
        if not np.isfinite([low, high]).all():
            raise ValueError(f"calibration: activations of layer {key[1:]!r} are not finite numbers")
        old = extremes.get(key, (low, high))
        extremes[key] = min(low, old[0]), max(high, old[1])
    ends = extremes
    if method != "min-max":
        counts: dict[str, Array] = {}
        for key, values in run():
            edge = max(map(abs, extremes[key]))
            histogram = np.histogram(values.float().cpu().numpy(), BINS, (-edge, edge))[0]
            counts[key] = counts.get(key, 0) + histogram
        choose = percentile_ends if method == "percentile" else entropy_ends
        ends = {key: choose(histogram, *extremes[key]) for key, histogram in counts.items()}
    return {key[1:]: LayerRange(*ends[key], *ends[f">{key[1:]}"]) for key in extremes if key.startswith("<")}


def count_passes(method: str) -> int:
    """Return the passes over the batches that a method of ``METHODS`` takes."""
    return 1 if method == "min-max" else 2


def store_ranges(module: nn.Module, ranges: Ranges) -> None:
    """Store activation ranges in an exported network, as a buffer ``RANGE`` ``[4]`` of each layer.

    An export writes buffers beside the weights, and its digest covers them.
    """
    for name, own in ranges.items():
        layer = module.get_submodule(name)
        layer.register_buffer(RANGE, torch.tensor(astuple(own), dtype=torch.float32))


def stored_ranges(module: nn.Module) -> dict[str, LayerRange]:
    """Return the activation ranges that ``store_ranges`` stored; empty without any."""
    return {
        name: LayerRange(*getattr(layer, RANGE).tolist())
        for name, layer in module.named_modules()
        if RANGE in layer._buffers
    }


class _Pass:
    """All batches through a network; yields ``<NAME`` with inputs and ``>NAME`` with outputs of layers."""

    def __init__(
        self,
        net: nn.Module,
        batches: Sequence[Sequence[Tensor]],
        call: Callable[..., Any],
        real: Callable[..., Tensor | None],
    ) -> None:
        self.net, self.batches, self.call, self.real = net, batches, call, real
        self.rectified = rectified_layers(net)
        self.layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, LAYERS)}

    def __call__(self) -> Iterator[tuple[str, Tensor]]:
        for inputs in self.batches:
            seen: list[tuple[str, Tensor]] = []
            with self._observed(seen, self.real(*inputs)), torch.inference_mode():
                self.call(self.net, *inputs)
            yield from seen

    @contextmanager
    def _observed(self, seen: list[tuple[str, Tensor]], real: Tensor | None) -> Iterator[None]:
        def observe(name: str, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            for mark, values in (("<", inputs[0]), (">", output)):
                if mark == ">" and name in self.rectified:
                    values = values.clamp(min=0)
                if real is not None and real.dim() == values.dim() and real.shape[1] == values.shape[1]:
                    values = values.masked_fill(~real, 0.0)  # every range has zero in it
                seen.append((mark + name, values.flatten()))

        hooks = [layer.register_forward_hook(partial(observe, name)) for name, layer in self.layers.items()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def rectified_layers(module: nn.Module) -> frozenset[str]:
    """Return the layers whose outputs go through a ReLU only, as containers declare in ``rectified``."""
    return frozenset(_declared(module, "rectified"))


def shared_inputs(module: nn.Module) -> dict[str, str]:
    """Return layer -> container whose whole input it reads, as containers declare in ``input_layer``.

    If such a layer is ``int8s``, its container computes everything from the rounded input.
    """
    return _declared(module, "input_layer")


def _declared(module: nn.Module, attribute: str) -> dict[str, str]:
    """Return name of a declared layer -> name of the container that declares it."""
    names = {}
    for container, part in module.named_modules():
        own: Iterable[str] = getattr(type(part), attribute, ())
        names |= {f"{container}.{layer}".lstrip("."): container for layer in own}
    return names


def percentile_ends(counts: Array, low: float, high: float) -> tuple[float, float]:
    """Return the ends outside which half of what ``PERCENTILE`` leaves lies on either side.

    Args:
        counts: histogram between plus and minus the largest magnitude.
        low, high: extremes of the values.
    """
    edges = _edges(counts, low, high)
    share, cut = np.cumsum(counts / counts.sum()), (100 - PERCENTILE) / 200
    lower, upper = edges[np.searchsorted(share, cut)], edges[np.searchsorted(share, 1 - cut)]
    return max(float(lower), low), min(float(upper), high)


def entropy_ends(counts: Array, low: float, high: float) -> tuple[float, float]:
    """Return the symmetric ends of least Kullback-Leibler divergence (Migacz, TensorRT, GTC 2017).

    For each pair of ends the clipped distribution is compared with itself merged to ``QUANTIZED_BINS`` bins.

    Args:
        counts: histogram between plus and minus the largest magnitude.
        low, high: extremes of the values, which the ends do not exceed.
    """
    edges, middle = _edges(counts, low, high), len(counts) // 2
    halves = range(QUANTIZED_BINS // 2, middle + 1)
    divergences = [_divergence(counts, middle - i, min(middle + i + 1, len(counts))) for i in halves]
    half = halves[int(np.argmin(divergences))]
    lower, upper = edges[middle - half], edges[min(middle + half + 1, len(counts))]
    return max(float(lower), low), min(float(upper), high)


def _edges(counts: Array, low: float, high: float) -> Array:
    edge = max(abs(low), abs(high))
    return np.linspace(-edge, edge, len(counts) + 1)


def _divergence(counts: Array, start: int, end: int) -> float:
    """Return the divergence of a histogram clipped to some bins from the same in fewer bins."""
    inside = counts[start:end].astype(np.float64)
    clipped = inside.copy()
    clipped[0] += counts[:start].sum()
    clipped[-1] += counts[end:].sum()
    width = len(inside) // QUANTIZED_BINS
    even = QUANTIZED_BINS * width
    totals = inside[:even].reshape(QUANTIZED_BINS, width).sum(1)
    totals[-1] += inside[even:].sum()
    present = np.count_nonzero(clipped[:even].reshape(QUANTIZED_BINS, width), axis=1)
    merged = np.zeros_like(inside)
    merged[:even] = np.repeat(totals / np.maximum(present, 1), width)
    merged[clipped == 0] = 0
    p, q = _smoothed(clipped), _smoothed(merged)
    if p is None or q is None:
        return np.inf
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def _smoothed(counts: Array, least: float = 1e-4) -> Array | None:
    """Return counts with ``least`` in empty bins, taken from the others; None if there are too few."""
    empty = counts == 0
    if empty.all():
        return None
    taken = least * empty.sum() / (~empty).sum()
    if taken >= 1:
        return None
    smoothed: Array = np.where(empty, least, counts - taken)
    return None if (smoothed <= 0).any() else smoothed
