"""A translator as two ONNX graphs: one that runs once a sentence, and one that runs for every token.

The first maps ``source`` ``[B, S]`` to the keys and values that each decoder layer attends to, and their
mask. The second maps these, one token a row ``[N]`` (``N / B`` beams a sentence) and the decoder's cache
(``own``, of length 0 at first) to ``logits`` ``[N, V]`` and the grown cache. Searching, and reordering the
cache, is left to the caller.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supernet.quantization.onnx_runtime import open_session
from supernet.quantization.onnx_trace import trace
from supernet.quantization.precisions import Policy, check, units
from supernet.seq2seq import DecoderCache, LayerCache, Transformer

CROSS = ("keys", "values", "mask")
"""Parts of a layer's cross-attention state."""


def encoder_and_step(module: Transformer, policy: Policy | None = None) -> tuple[bytes, bytes]:
    """Return both graphs of an exported translator under a policy: encoder, decoder step.

    Raises:
        ValueError: the policy names an unknown layer or a precision that ONNX Runtime lacks for it, or the
            extra ``onnx`` is not installed.
    """
    policy = policy or {}
    check(policy, units(module))
    depth = module.decoder_depth
    cross = [f"cross.{i}.{part}" for i in range(depth) for part in CROSS]
    own = [f"own.{i}.{part}" for i in range(depth) for part in CROSS[:2]]
    source = torch.full((2, 5), 4)
    with torch.no_grad():
        asked = _remember(module, source)
        kept = _step(module, torch.full((4,), 4), *asked, *_nothing(module, 4))[1:]
    # Layers may attend to different numbers of encoder layers: each has a length of its own.
    axes = {
        f"cross.{i}.{part}": {0: "sentences", 3 if part == "mask" else 2: f"length.{i}"}
        for i in range(depth)
        for part in CROSS
    }
    encoder = trace(
        module,
        [source],
        call=_remember,
        names=(("source",), cross),
        axes=axes | {"source": {0: "sentences", 1: "length"}},
    )
    grown = [f"{name}.now" for name in own]
    step = trace(
        module,
        [torch.full((4,), 4), *asked, *kept],
        call=_step,
        names=(("tokens", *cross, *own), ("logits", *grown)),
        axes=axes
        | {name: {0: "rows", 2: "kept"} for name in own}
        | {name: {0: "rows", 2: "kept_now"} for name in grown}
        | {"tokens": {0: "rows"}, "logits": {0: "rows"}},
    )
    files = [
        graph.under({name: p for name, p in policy.items() if name in graph.layers})
        for graph in (encoder, step)
    ]
    return files[0], files[1]


class OnnxTranslator:
    """A translator in ONNX Runtime, for the latency workload.

    Args:
        module: exported, float32.
        policy: precision of each layer; None for float32.
        threads: threads of the runtime.

    Raises:
        ValueError: as ``encoder_and_step``.
    """

    def __init__(self, module: Transformer, policy: Policy | None = None, threads: int = 1) -> None:
        self.encoder, self.step = (open_session(graph, threads) for graph in encoder_and_step(module, policy))
        self.attended = [output.name for output in self.encoder.get_outputs()]
        self.shapes = {
            given.name: given.shape for given in self.step.get_inputs() if given.name.startswith("own.")
        }

    def forced_steps(
        self, source: NDArray[np.int64], steps: int, beam: int, token: int = 4
    ) -> NDArray[np.float32]:
        """Encode ``source`` ``[1, S]``, then run ``steps`` decoder steps of ``beam`` rows of one token.

        Returns:
            the last logits ``[beam, V]``, as ``supernet.decode.forced_steps`` does.
        """
        given = dict(zip(self.attended, self.encoder.run(None, {"source": source}), strict=True))
        given["tokens"] = np.full(beam, token, dtype=np.int64)
        for name, (_, heads, _, size) in self.shapes.items():
            given[name] = np.zeros((beam, heads, 0, size), dtype=np.float32)
        logits = np.empty((0, 0), dtype=np.float32)
        for _ in range(steps):
            logits, *grown = self.step.run(None, given)
            given.update(zip(self.shapes, grown, strict=True))
        return logits


def _nothing(module: Any, rows: int) -> list[Tensor]:
    """Return empty keys and values of every decoder layer."""
    tensors = []
    for layer in module.decoder[: module.decoder_depth]:
        heads = layer.attention.heads
        tensors += [torch.zeros(rows, heads, 0, layer.attention.out.in_features // heads)] * 2
    return tensors


def _remember(module: Any, source: Tensor) -> list[Tensor]:
    return [x for layer in module.decoder_cache(module.encode(source)).layers for x in layer.cross]


def _step(module: Any, tokens: Tensor, *kept: Tensor) -> list[Tensor]:
    depth = module.decoder_depth
    cross, own = kept[: 3 * depth], kept[3 * depth :]
    layers = [
        LayerCache((cross[3 * i], cross[3 * i + 1], cross[3 * i + 2]), (own[2 * i], own[2 * i + 1]))
        for i in range(depth)
    ]
    cache = DecoderCache(layers, tokens.shape[0] // kept[0].shape[0])
    cache.length = own[0].shape[2]
    logits = module.step(tokens, cache)
    return [logits, *(x for layer in cache.layers for x in layer.own or ())]
