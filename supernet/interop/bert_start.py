"""Start of encoders of every kind of space from one trained plain encoder, the parent.

Every tensor is the leading part of its counterpart in the parent, layers are evenly spaced, and bridges keep
their identity. So the largest sub-network of a space as wide and deep as the parent computes what the parent
does (AutoDistil's code; SuperShaper's). NAS-BERT's attentions and feed-forwards are cut from the parent's
layer at their place; its convolutions have no counterpart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from supernet.bert import BertFamily, CellBert, Op
from supernet.elastic import SuperNet
from supernet.interop.errors import InexpressibleError


@dataclass(frozen=True)
class Parent:
    """A plain encoder: its shape, and its tensors under the names of a ``HomogeneousBert`` of one shape."""

    weights: Mapping[str, Tensor]
    layers: int
    head_dim: int

    @classmethod
    def of(cls, net: SuperNet) -> Parent:
        """Return the largest sub-network of a homogeneous supernet as a parent.

        Raises:
            InexpressibleError: it is no plain encoder.
        """
        plan = net.family.plan(net.family.largest)
        attentions = [op for op in plan.ops if op.kind == "attention"]
        if plan.bridges or not attentions or isinstance(net.family, CellBert):
            raise InexpressibleError(f"a {net.family.kind} is no plain encoder to start from")
        head_dim = attentions[0].inner // attentions[0].heads
        return cls(net.source.bake(net.family.largest), len(attentions), head_dim)


def start_from(net: SuperNet, parent: Parent) -> None:
    """Start a network or supernet of encoders from a parent; tensors without a counterpart keep their values.

    Raises:
        InexpressibleError: the parent is too small, or has other heads.
        ValueError: the supernet's weights cannot be set.
    """
    net.source.adopt(cut(net.family, parent))


def cut(family: BertFamily, parent: Parent) -> dict[str, Tensor]:
    """Return the parent's tensors under the names of a family, each at least as large as the family's.

    A family of one architecture may be deeper than the parent, whose layers are then repeated.

    Raises:
        InexpressibleError: the parent is too small for the family, or has other heads.
    """
    check_heads(family, parent.head_dim)
    slots, weights = family.slots(), {}
    ops = {op.name: op for op in (*family.plan(family.largest).ops, *family.more()) if isinstance(op, Op)}
    places, depth = _places(family, ops)
    if depth > parent.layers and not family.single and not isinstance(family, CellBert):
        raise InexpressibleError(f"the model has {parent.layers} layers, the supernet up to {depth}")
    for name in slots:
        if not name.startswith("ops."):
            source = name
        else:
            own, _, rest = name.removeprefix("ops.").partition(".")
            source = f"ops.{places[own] * parent.layers // depth}_{ops[own].kind}.{rest}"
        if source in parent.weights:
            weights[name] = parent.weights[source]
    check_shapes(family, {name: tuple(weight.shape) for name, weight in weights.items()})
    return weights


def check_heads(family: BertFamily, head_dim: int) -> None:
    """Refuse a parent whose heads are not those of the family.

    Heads that share a searched width are split anew at each width, so that only the largest one's count.

    Raises:
        InexpressibleError: giving both widths.
    """
    fixed = family.space.constants.get("head_dim", 0) > 0
    if family.single and not fixed:
        return
    ours = {op.inner // op.heads for op in family.plan(family.largest).ops if op.kind == "attention"}
    if ours - {head_dim}:
        raise InexpressibleError(f"channels of a head: {head_dim} in the model, {max(ours)} in the supernet")


def check_shapes(family: BertFamily, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse tensors that are smaller than those of a family.

    Raises:
        InexpressibleError: naming the first such tensor.
    """
    for name, theirs in shapes.items():
        ours = family.slots()[name].shape
        if any(a < b for a, b in zip(theirs, ours, strict=True)):
            raise InexpressibleError(
                f"{name} is {list(theirs)} in the model and {list(ours)} in the supernet:"
                " it can be cut, not made larger"
            )


def _places(family: BertFamily, ops: Mapping[str, Op]) -> tuple[dict[str, int], int]:
    """Return the place of each operation by its name, and the number of places."""
    if isinstance(family, CellBert):
        inside = family.space.choice("ops_0").repeat
        places = {}
        for name in ops:
            block, layer, _ = name.split("_", 2)
            places[name] = int(block) * inside + int(layer)
        return places, family.space.constants["blocks"] * inside
    layers = {name: int(name.split("_", 1)[0]) for name in ops}
    return layers, 1 + max(layers.values())
