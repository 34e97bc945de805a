"""Accounting of parameters, multiply-accumulates and bytes; the only one in the project.

Parameters are counted from the tensors of the exported architecture. Multiply-accumulates (MACs) are those of
matrix products and convolutions in one pass over one sentence (pair, teacher-forced): projections, both
products of every attention (the causal half included, since kernels compute it), feed-forward and output
layer. Additions, normalisation, softmax and scaling are left out, as in ``torch.utils.flop_counter``. One MAC
is two of the FLOPs that papers print.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from supernet.quantization.precisions import Policy, check
from supernet.quantization.rounding import FP32_BYTES, stored_bytes
from supernet.space import ArchitectureLike

EMBEDDINGS = ("embedding.", "source_embedding", "target_embedding")
"""Prefixes of the names of embedding tables, whose matrices are no linear layers."""


class CountedFamily(Protocol):
    """Model family, as far as costs need it; see ``supernet.model_family.ModelFamily``."""

    @property
    def outside(self) -> tuple[str, ...]:
        """Prefixes of the names of parameters outside the body."""

    def collapsed(self, architecture: ArchitectureLike, /) -> CountedFamily:
        """Return the family of this one architecture in the form in which it is exported."""

    def extents(self, architecture: ArchitectureLike, /) -> Mapping[str, tuple[int, ...]]:
        """Return name -> leading extents of every tensor that ``architecture`` uses."""

    def macs(self, architecture: ArchitectureLike, source_len: int, target_len: int, /) -> tuple[int, int]:
        """Return the multiply-accumulates of the body and of the output layer, for one sample."""


@dataclass(frozen=True)
class Cost:
    """Cost of one sub-network.

    Attributes:
        params: every parameter of the exported sub-network, shared tables once.
        params_body: without embedding tables and output layer, as HAT publishes them.
        macs: of one pass at the stated lengths, output layer included.
        macs_body: without the output layer, as HAT publishes them (there: FLOPs, twice as many).
        bytes: of the parameters as deployed: float32, or for layers of a policy the weight in its precision
            with its scales.
    """

    params: int
    params_body: int
    macs: int
    macs_body: int
    bytes: int

    def to_dict(self) -> dict[str, int]:
        """Return plain JSON types, for records."""
        return asdict(self)


def cost(
    family: CountedFamily,
    arch: ArchitectureLike,
    *,
    source_len: int,
    target_len: int,
    policy: Policy | None = None,
) -> Cost:
    """Return the cost of one sub-network.

    Args:
        family: vocabulary and space of the network.
        arch: an architecture of ``family.space``.
        source_len: tokens of the (source) sentence, padding and end token included.
        target_len: decoder positions; for an encoder, predicted positions.
        policy: linear layer -> precision (``supernet.quantization.precisions``); None for all float32.

    Raises:
        ValueError: a length below 1, or a policy for layers that the network does not have.
    """
    if source_len < 1 or target_len < 1:
        raise ValueError(f"lengths must be at least 1, got source {source_len} and target {target_len}")
    sizes = exported_sizes(family, arch)
    params = sum(sizes.values())
    body = sum(size for name, size in sizes.items() if not name.startswith(family.outside))
    macs_body, output = family.macs(arch, source_len, target_len)
    return Cost(params, body, macs_body + output, macs_body, weight_bytes(family, arch, policy))


def parameters(family: CountedFamily, arch: ArchitectureLike) -> int:
    """Return the number of parameters of the exported sub-network, shared tables once."""
    return sum(exported_sizes(family, arch).values())


def weight_bytes(family: CountedFamily, arch: ArchitectureLike, policy: Policy | None = None) -> int:
    """Return the bytes of all parameters of the exported sub-network as deployed.

    Raises:
        ValueError: a policy for layers that the network does not have, or precisions that they cannot have.
    """
    policy, layers = policy or {}, policy_units(family, arch)
    check(policy, layers)
    saved = sum(stored_bytes("fp32", layers[n]) - stored_bytes(p, layers[n]) for n, p in policy.items())
    return FP32_BYTES * parameters(family, arch) - saved


def policy_units(family: CountedFamily, arch: ArchitectureLike) -> dict[str, tuple[int, ...]]:
    """Return name -> weight shape of the linear layers and convolutions that a policy may name."""
    return {
        name.removesuffix(".weight"): tuple(shape)
        for name, shape in family.collapsed(arch).extents(arch).items()
        if name.endswith(".weight") and len(shape) >= 2 and not name.startswith(EMBEDDINGS)
    }


def exported_sizes(family: CountedFamily, arch: ArchitectureLike) -> dict[str, int]:
    """Return name -> number of elements of every tensor of the exported sub-network."""
    shapes = family.collapsed(arch).extents(arch)
    return {name: math.prod(shape) for name, shape in shapes.items()}
