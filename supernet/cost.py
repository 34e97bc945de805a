"""The one accounting of parameters, multiply-accumulates and bytes.

Parameters are counted from the tensors that an architecture uses (``family.extents``), so what is
counted is what is exported. Multiply-accumulates (MACs) are those of matrix products alone, of one
teacher-forced pass over one sentence pair: projections, both products of every attention (the
causal half is not left out: kernels compute it), feed-forward and output layer. Additions,
normalisation, softmax and scaling are left out, as ``torch.utils.flop_counter`` does too; one MAC
is two of the FLOPs that papers print.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supernet.seq2seq import Seq2SeqFamily

FP32_BYTES = 4


@dataclass(frozen=True)
class Cost:
    """What one sub-network costs.

    Attributes:
        params: every parameter of the exported sub-network, shared tables once.
        params_body: without embedding tables and output layer, as HAT publishes them.
        macs: of one pass at the stated lengths, output layer included.
        macs_body: without the output layer, as HAT publishes them (there: FLOPs, twice as many).
        bytes: of the parameters in float32.
    """

    params: int
    params_body: int
    macs: int
    macs_body: int
    bytes: int

    def to_dict(self) -> dict[str, int]:
        """Plain JSON types, for records."""
        return asdict(self)


def cost(family: Seq2SeqFamily, arch: Mapping[str, Any], *, source_len: int, target_len: int) -> Cost:
    """Count one sub-network.

    Args:
        family: vocabulary and space of the network.
        arch: an architecture of ``family.space``.
        source_len: tokens of the source sentence, padding and end token included.
        target_len: decoder positions.

    Raises:
        ValueError: a length below 1.
    """
    if source_len < 1 or target_len < 1:
        raise ValueError(f"lengths must be at least 1, got source {source_len} and target {target_len}")
    sizes = {name: math.prod(shape) for name, shape in family.extents(arch).items()}
    params = sum(sizes.values())
    body = sum(size for name, size in sizes.items() if not outside_body(name))
    macs_body = body_macs(
        arch, family.space.constants["qkv_dim"], source_len=source_len, target_len=target_len
    )
    output = target_len * arch["decoder_embed_dim"] * family.config.target_vocab
    return Cost(params, body, macs_body + output, macs_body, FP32_BYTES * params)


def outside_body(name: str) -> bool:
    """True for the parameter names that published counts leave out."""
    return name.startswith(("source_embedding.", "target_embedding.", "output."))


def body_macs(arch: Mapping[str, Any], qkv_dim: int, *, source_len: int, target_len: int) -> int:
    """MACs of encoder and decoder layers of HAT's family for one sentence pair.

    Cross-attention over k encoder layers has ``k * source_len`` keys, each projected anew by every
    decoder layer that reads them.
    """
    s, t = source_len, target_len
    enc, dec = arch["encoder_embed_dim"], arch["decoder_embed_dim"]

    def attention(queries: int, keys: int, width: int, memory: int) -> int:
        projections = queries * width * qkv_dim + 2 * keys * memory * qkv_dim + queries * qkv_dim * width
        return projections + 2 * queries * keys * qkv_dim

    encoder = sum(attention(s, s, enc, enc) + 2 * s * enc * ffn for ffn in arch["encoder_ffn"])
    decoder = 0
    for ffn, source in zip(arch["decoder_ffn"], arch["decoder_cross_source"], strict=True):
        reached = min(CROSS_REACH[source], arch["encoder_layers"])
        decoder += attention(t, t, dec, dec) + attention(t, reached * s, dec, enc) + 2 * t * dec * ffn
    return int(encoder + decoder)


CROSS_REACH = {-1: 1, 1: 2, 2: 3}
"""HAT's label of a cross-attention source -> how many of the last encoder layers it reads."""
