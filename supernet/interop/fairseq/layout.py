"""Names and shapes of the tensors of fairseq's Transformer, and of HAT's supernet, which derives from it.

Both use the same names. They differ in the output layer, and in whether queries, keys and values are one
matrix (``in_proj_weight``, HAT and fairseq before 0.9) or three (``q_proj.weight``). In this file ``state``
is theirs, ``weights`` are those of ``supernet.seq2seq``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from supernet import export
from supernet.interop import pickle_reader
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily, Transformer
from supernet.space import Architecture, ArchitectureLike

IGNORED = re.compile(
    r"(version|embed_positions\._float_tensor|embed_positions\.weights"
    r"|encoder\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias))$"
)
"""Names of tensors without weights of their own: format version, sinusoids, and the second copies that
fairseq 0.12 keeps of its encoder's linear layers."""
Settings = Mapping[str, Any] | pickle_reader.Inert
"""Settings of a checkpoint's model: a dictionary, or a namespace that was not loaded."""
LAYERS = ("encoder", "decoder")
POSITIONS, LONGEST = 1024, 1 << 16
"""fairseq's default number of positions, and the largest size that is accepted."""


@dataclass(frozen=True)
class Imported:
    """A network from another toolkit: all its weights, under the names of ``supernet.seq2seq``.

    ``architecture`` is its architecture within ``family``; of a supernet, the largest.
    """

    family: Seq2SeqFamily
    architecture: Architecture
    weights: Mapping[str, Tensor]

    def network(self) -> nn.Module:
        """Build the network alone, in evaluation mode; a supernet's weights are cut to ``architecture``."""
        from supernet.elastic import tied

        module = self.family.build(self.architecture)
        module.load_state_dict(tied(module, cut(self.weights, self.family, self.architecture)))
        return module.requires_grad_(False)

    def save(self, folder: Path) -> str:
        """Write the network as an exported sub-network (``supernet.export``); return the weights' SHA-256."""
        return export.save(folder, self.network(), self.family.spec(), self.architecture)


def cut(
    weights: Mapping[str, Tensor], family: Seq2SeqFamily, architecture: ArchitectureLike
) -> dict[str, Tensor]:
    """Return the leading parts of ``weights`` that ``architecture`` uses.

    Raises:
        ValueError: a tensor is missing or too small; names it.
    """
    parts: dict[str, Tensor] = {}
    for name, extents in family.extents(architecture).items():
        weight = weights.get(name)
        if weight is None:
            raise ValueError(f"no weights for {name}: the checkpoint has fewer layers, or other ones")
        if weight.dim() != len(extents) or any(
            have < need for have, need in zip(weight.shape, extents, strict=True)
        ):
            raise ValueError(f"{name}: {list(weight.shape)} in the checkpoint, {list(extents)} needed")
        parts[name] = weight[tuple(slice(0, n) for n in extents)]
    return parts


def to_weights(state: Mapping[str, Tensor], share: str) -> dict[str, Tensor]:
    """Return tensors of fairseq or HAT under our names, q, k and v fused.

    Args:
        share: which embeddings are one table (``Seq2SeqConfig.share``).

    Raises:
        ValueError: a tensor that belongs there is missing, or one is left that has no place here.
    """
    remaining = {name: tensor for name, tensor in state.items() if not IGNORED.search(name)}

    def take(name: str) -> Tensor:
        if not isinstance(remaining.get(name), Tensor):
            raise ValueError(f"it has no tensor {name!r}: another kind of model than a post-LN Transformer")
        return remaining.pop(name).float()

    weights = {"source_embedding.weight": take("encoder.embed_tokens.weight")}
    target = take("decoder.embed_tokens.weight")
    output = [
        remaining.pop(name).float()
        for name in ("decoder.embed_out", "decoder.output_projection.weight")
        if name in remaining
    ]
    if share != "all":
        weights["target_embedding.weight"] = target
    elif not same(weights["source_embedding.weight"], target):
        raise ValueError("source and target embeddings differ, and it states one table")
    if share == "none":
        if not output:
            raise ValueError("it has no output layer (decoder.output_projection.weight or decoder.embed_out)")
        weights["output.weight"] = output[0]
    elif output and not same(output[0], target):
        raise ValueError("output layer and target embeddings differ, and it states one table")
    for side in LAYERS:
        for i in range(depth(state, side)):
            ours, theirs = f"{side}.{i}", f"{side}.layers.{i}"
            moved = {"attention.out": "self_attn.out_proj", "attention_norm": "self_attn_layer_norm"}
            moved |= {
                "feed_forward.fc1": "fc1",
                "feed_forward.fc2": "fc2",
                "feed_forward_norm": "final_layer_norm",
            }
            qkv = projections(take, remaining, f"{theirs}.self_attn")
            weights |= fused(f"{ours}.attention.qkv", qkv)
            if side == "decoder":
                moved |= {"cross.out": "encoder_attn.out_proj", "cross_norm": "encoder_attn_layer_norm"}
                q, k, v = projections(take, remaining, f"{theirs}.encoder_attn")
                weights |= fused(f"{ours}.cross.q", [q]) | fused(f"{ours}.cross.kv", [k, v])
            for mine, name in moved.items():
                for part in ("weight", "bias"):
                    weights[f"{ours}.{mine}.{part}"] = take(f"{theirs}.{name}.{part}")
    if remaining:
        raise ValueError(f"it has a tensor {min(remaining)!r}, which a post-LN Transformer has not")
    for name, tensor in weights.items():
        if not tensor.is_meta and not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinite numbers: its training diverged")
    return weights


def projections(
    take: Callable[[str], Tensor], remaining: Mapping[str, Tensor], name: str
) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of queries, keys and values of one attention, in either form."""
    if f"{name}.q_proj.weight" in remaining:
        return [(take(f"{name}.{x}_proj.weight"), take(f"{name}.{x}_proj.bias")) for x in "qkv"]
    if f"{name}.q_proj_weight" in remaining:
        weights: Sequence[Tensor] = [take(f"{name}.{x}_proj_weight") for x in "qkv"]
    else:
        weights = take(f"{name}.in_proj_weight").chunk(3)
    return list(zip(weights, take(f"{name}.in_proj_bias").chunk(3), strict=True))


def fused(name: str, parts: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Concatenate projections of one input into one linear layer."""
    weights, biases = zip(*parts, strict=True)
    return {f"{name}.weight": torch.cat(weights), f"{name}.bias": torch.cat(biases)}


def depth(state: Mapping[str, Tensor], side: str) -> int:
    """Return the number of layers of a side."""
    start = f"{side}.layers."
    numbers = {name[len(start) :].partition(".")[0] for name in state if name.startswith(start)}
    if not numbers or numbers != {str(i) for i in range(len(numbers))}:
        raise ValueError(f"it has no {side} of numbered layers ({start}0...): no Transformer of fairseq's")
    return len(numbers)


def same(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are one table; tensors without data are compared by shape."""
    return a.shape == b.shape and (a.is_meta or torch.equal(a, b))


def to_state(module: Transformer, width: Mapping[str, int]) -> dict[str, Tensor]:
    """Return a network of ours under fairseq's names.

    fairseq's heads fill the width of their side. Where ours are narrower, each head is padded with zeros, and
    its queries are scaled by the root of the ratio, which undoes fairseq's scale: the outputs stay.

    Args:
        module: a ``supernet.seq2seq.Transformer``.
        width: of ``encoder`` and ``decoder``.
    """
    table = module.source_embedding.weight, module.target_embedding.weight
    state = {
        "encoder.embed_tokens.weight": table[0][:, : width["encoder"]],
        "decoder.embed_tokens.weight": table[1][:, : width["decoder"]],
    }
    tied = state["decoder.embed_tokens.weight"]
    state["decoder.output_projection.weight"] = tied if module.output is None else module.output.weight

    def put(name: str, linear: nn.Linear | nn.LayerNorm) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = linear.weight, linear.bias

    def attention(name: str, parts: Sequence[tuple[Tensor, Tensor]], out: nn.Linear, heads: int) -> None:
        size = width[name.partition(".")[0]]
        for letter, pair in zip("qkv", parts, strict=True):
            scale = (size / out.in_features) ** 0.5 if letter == "q" else 1.0
            for part, tensor in zip(("weight", "bias"), pair, strict=True):
                state[f"{name}.{letter}_proj.{part}"] = filled(tensor * scale, heads, size)
        state[f"{name}.out_proj.weight"] = filled(out.weight.t(), heads, size).t()
        state[f"{name}.out_proj.bias"] = out.bias

    for side in LAYERS:
        for i, layer in enumerate(getattr(module, side)):
            name = f"{side}.layers.{i}"
            own = layer.attention
            attention(f"{name}.self_attn", split(own.qkv, 3), own.out, own.heads)
            put(f"{name}.self_attn_layer_norm", layer.attention_norm)
            if side == "decoder":
                cross = layer.cross
                parts = [*split(cross.q, 1), *split(cross.kv, 2)]
                attention(f"{name}.encoder_attn", parts, cross.out, cross.heads)
                put(f"{name}.encoder_attn_layer_norm", layer.cross_norm)
            put(f"{name}.fc1", layer.feed_forward.fc1)
            put(f"{name}.fc2", layer.feed_forward.fc2)
            put(f"{name}.final_layer_norm", layer.feed_forward_norm)
    return {name: tensor.detach().float().clone().contiguous() for name, tensor in state.items()}


def split(linear: nn.Linear, parts: int) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of each of the projections in one linear layer."""
    return list(zip(linear.weight.chunk(parts), linear.bias.chunk(parts), strict=True))


def filled(rows: Tensor, heads: int, size: int) -> Tensor:
    """Pad each of ``heads`` heads with zero rows, to ``size`` rows in all."""
    split = rows.unflatten(0, (heads, -1))
    out = split.new_zeros((heads, size // heads, *rows.shape[1:]))
    out[:, : split.shape[1]] = split
    return out.flatten(0, 1)


def attribute(args: Settings, name: str, default: Any = None) -> Any:
    """Return an entry of a checkpoint's settings, whether they are a dictionary or a namespace."""
    return args.get(name, default) if isinstance(args, Mapping) else vars(args).get(name, default)


def number(args: Settings, name: str) -> int:
    """One of its sizes.

    Raises:
        ValueError: it is none.
    """
    value = attribute(args, name)
    if type(value) is not int or not 0 < value <= LONGEST:
        raise ValueError(f"{name} is {value!r}, not a number from 1 to {LONGEST}")
    return value


def shared(args: Settings) -> str:
    """Return the sharing of embedding tables (``Seq2SeqConfig.share``)."""
    if attribute(args, "share_all_embeddings", False):
        return "all"
    return "decoder" if attribute(args, "share_decoder_input_output_embed", False) else "none"


def config_of(args: Settings, weights: Mapping[str, Tensor], share: str) -> Seq2SeqConfig:
    """Return the configuration of a checkpoint's model."""
    source = weights["source_embedding.weight"]
    most = [attribute(args, f"max_{side}_positions") for side in ("source", "target")]
    return Seq2SeqConfig(
        len(source),
        len(weights.get("target_embedding.weight", source)),
        share=share,
        dropout=rate(args, "dropout"),
        attention_dropout=rate(args, "attention_dropout"),
        activation_dropout=rate(args, "activation_dropout"),
        max_positions=min(n if isinstance(n, int) and 0 < n <= LONGEST else POSITIONS for n in most),
    )


def plain(args: Settings, wanted: Mapping[str, Any]) -> None:
    """Check a model's settings against the only ones that can be imported.

    Raises:
        ValueError: one differs; an absent setting is as wanted.
    """
    for name, value in wanted.items():
        setting = attribute(args, name, value)
        if setting != value and (setting or value):
            raise ValueError(f"its {name} is {setting!r}; only {value!r} can be expressed here")


def rate(args: Settings, name: str) -> float:
    """Return a dropout rate; 0 if the settings have none."""
    value = attribute(args, name, 0.0)
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1 else 0.0
