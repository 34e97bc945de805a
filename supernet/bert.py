"""BERT-like encoders in four kinds of search space: all of it in this single file.

One class, :class:`Bert`, runs a *plan*: operations (attention, feed-forward, separable convolution), each
post-LN with its own residual, and linear *bridges* between different widths. The kinds of space differ in
their plans:

* homogeneous: all layers alike; width, heads, feed-forward width and depth are free (AutoDistil, Xu et
  al., NeurIPS 2022; mixture-of-supernets' space v5.1);
* layered: one width, heads and feed-forward width of every layer free, and depth (SimQ-NAS, 2023);
* bottleneck: a width per layer, reached from a hub of fixed width and left to it (SuperShaper, Ganesan
  et al. 2021; mixture-of-supernets' space v1);
* cells: a few blocks of one width each, free operations inside (NAS-BERT, Xu et al., KDD 2021).

A bridge over a hub is one linear layer after another. A supernet keeps both factors; exported, counted and
timed is their product.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.layers import (
    ElasticNorm,
    Shapes,
    add_linear_norm,
    apply_linear,
    apply_weights,
    dropout,
    embed_tokens,
    feed_forward_shapes,
    linear_gelu,
    linear_shapes,
    norm_shapes,
    padding_bias,
    project,
    shortcut_between,
    split_heads,
)
from supernet.model_family import ModelFamily, Spec
from supernet.space import Architecture, ArchitectureLike, SearchSpace
from supernet.sublayers import SublayerModule, sublayer
from supernet.weights import Init, Slot, spread

if TYPE_CHECKING:
    from supernet.gpu.kernels import Shortcut

PAD, UNK, CLS, SEP, MASK = range(5)
"""Ids of the special tokens, in the order in which the vocabulary is learnt."""
EPS = 1e-12
"""Epsilon of BERT's layer norms."""


@dataclass(frozen=True)
class BertConfig:
    """Configuration common to all sub-networks of a family."""

    vocab: int
    dropout: float = 0.1
    attention_dropout: float = 0.1
    max_positions: int = 512
    segments: int = 2
    """Number of segment embeddings (sentence A, sentence B)."""


@dataclass(frozen=True)
class Op:
    """One operation of a plan, with residual and layer norm.

    ``kind`` is ``attention`` (``inner``: width of all heads together), ``feed_forward`` (``inner``: hidden
    width) or ``convolution`` (``inner``: kernel size).
    """

    name: str
    kind: str
    width: int
    inner: int
    heads: int = 0


@dataclass(frozen=True)
class Bridge:
    """A change of width by the linear layers ``names``, one after the other, ``through`` another width."""

    names: tuple[str, ...]
    start: int
    end: int
    through: int = 0

    def ends(self) -> list[tuple[str, int, int]]:
        """Return name, input width and output width of every linear layer."""
        widths = [self.start, *([self.through] if len(self.names) == 2 else []), self.end]
        return [(name, widths[i], widths[i + 1]) for i, name in enumerate(self.names)]


@dataclass(frozen=True)
class EncoderPlan:
    """One sub-network: width of the embedding, and the stages that follow it."""

    embedding: int
    stages: tuple[Op | Bridge, ...]

    @property
    def out(self) -> int:
        """Width of the encoder's output."""
        last = self.stages[-1]
        return last.end if isinstance(last, Bridge) else last.width

    @property
    def ops(self) -> list[Op]:
        """The operations, in order."""
        return [stage for stage in self.stages if isinstance(stage, Op)]

    @property
    def bridges(self) -> list[Bridge]:
        """The bridges, in order."""
        return [stage for stage in self.stages if isinstance(stage, Bridge)]


class Attention(SublayerModule):
    """Multi-head self-attention with residual and layer norm: ``[B, T, width]`` to ``[B, T, width]``."""

    settings = ("heads",)

    def __init__(self, op: Op, config: BertConfig) -> None:
        super().__init__()
        self.q = nn.Linear(op.width, op.inner)
        self.k = nn.Linear(op.width, op.inner)
        self.v = nn.Linear(op.width, op.inner)
        self.out = nn.Linear(op.inner, op.width)
        self.norm = ElasticNorm(op.width, EPS)
        self.heads, self.config = op.heads, config

    def projections(self, x: Tensor, shortcut: Shortcut | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values ``[B, T, inner]``."""
        q, k, v = project(x, (self.q, self.k, self.v), self.training, shortcut)
        return q, k, v

    @sublayer()
    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        shortcut = shortcut_between(x, (self.q, self.k, self.v), self.out) if self.training else None
        q, k, v = (split_heads(y, self.heads) for y in self.projections(x, shortcut))
        p = self.config.attention_dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=p)
        y = y.transpose(1, 2).flatten(2)
        return add_linear_norm(x, y, self.out, self.norm, self.config.dropout, self.training, shortcut)


class FeedForward(SublayerModule):
    """Linear, GELU, linear, with residual and layer norm: ``[B, T, width]`` to ``[B, T, width]``."""

    def __init__(self, op: Op, config: BertConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(op.width, op.inner)
        self.fc2 = nn.Linear(op.inner, op.width)
        self.norm = ElasticNorm(op.width, EPS)
        self.config = config

    @sublayer()
    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        shortcut = shortcut_between(x, [self.fc1], self.fc2)
        y = linear_gelu(x, self.fc1, shortcut)
        return add_linear_norm(x, y, self.fc2, self.norm, self.config.dropout, self.training, shortcut)


class Unit(SublayerModule):
    """Depthwise convolution over time, pointwise linear, GELU, with residual and layer norm."""

    def __init__(self, op: Op, config: BertConfig) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(op.width, op.width, op.inner, padding=op.inner // 2, groups=op.width)
        self.pointwise = nn.Linear(op.width, op.width)
        self.norm = ElasticNorm(op.width, EPS)
        self.config = config

    @sublayer()
    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        seen = x if real is None else x * real
        y = self.pointwise(self.depthwise(seen.transpose(1, 2)).transpose(1, 2))
        return self.norm(x + dropout(F.gelu(y), self.config.dropout, self.training))


class Convolution(nn.Module):
    """Separable convolution: two units in sequence (NAS-BERT, section 3.1)."""

    def __init__(self, op: Op, config: BertConfig) -> None:
        super().__init__()
        self.first, self.second = Unit(op, config), Unit(op, config)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        # Padding must not leak into its neighbours.
        real = None if bias is None else (bias[:, 0, 0, :, None] == 0).to(x.dtype)
        return self.second(self.first(x, real), real)


OPERATIONS: dict[str, type[nn.Module]] = {
    "attention": Attention,
    "feed_forward": FeedForward,
    "convolution": Convolution,
}


class Embedding(SublayerModule):
    """Word, position and segment embeddings, summed and normalised: ids ``[B, T]`` to ``[B, T, width]``."""

    def __init__(self, config: BertConfig, width: int) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab, width, PAD)
        self.position = nn.Embedding(config.max_positions, width)
        self.segment = nn.Embedding(config.segments, width)
        self.norm = ElasticNorm(width, EPS)
        self.config = config

    @sublayer()
    def forward(self, tokens: Tensor, segments: Tensor | None) -> Tensor:
        if tokens.shape[1] > self.config.max_positions:
            raise ValueError(f"{tokens.shape[1]} tokens: at most {self.config.max_positions} are embedded")
        kind = self.segment.weight[0] if segments is None else F.embedding(segments, self.segment.weight)
        # Of one segment, what a place adds is the same in every row: summed before it meets them.
        place = self.position.weight[: tokens.shape[1]] + kind
        x = embed_tokens(tokens, self.word.weight, 1.0, PAD) + place
        return dropout(self.norm(x), self.config.dropout, self.training)


class Head(nn.Module):
    """Masked-language-model head; its output layer is the word embedding."""

    def __init__(self, config: BertConfig, start: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(start, width)
        self.norm = ElasticNorm(width, EPS)
        self.bias = nn.Parameter(torch.zeros(config.vocab))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.dense(x))), words, self.bias)


class Bert(SublayerModule):
    """One sub-network, or the skeleton of all of them.

    Args:
        config: common to the family.
        plan: of the sub-network; ``configure`` sets another one over the same modules.
        more: operations and bridges besides the plan's, for a skeleton.
    """

    def __init__(self, config: BertConfig, plan: EncoderPlan, more: Sequence[Op | Bridge] = ()) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config, plan.embedding)
        self.ops, self.linears = nn.ModuleDict(), nn.ModuleDict()
        for stage in (*plan.stages, *more):
            if isinstance(stage, Op):
                self.ops[stage.name] = OPERATIONS[stage.kind](stage, config)
            else:
                for name, start, end in stage.ends():
                    self.linears[name] = nn.Linear(start, end)
        self.head = Head(config, plan.out, plan.embedding)
        self.configure(plan)

    def configure(self, plan: EncoderPlan) -> None:
        """Set the plan to run."""
        self.plan = plan
        for op in plan.ops:
            if op.kind == "attention":
                self.ops[op.name].heads = op.heads

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self.embedding.word.weight.device

    def bridge(self, stage: Bridge, x: Tensor) -> Tensor:
        """Apply a bridge."""
        if self.replayer is None:
            return self.cross(x, *stage.names)
        parts = [f"linears.{name}" for name in stage.names]
        return self.replayer.run(Bert.cross, self, parts, (x, *stage.names))

    def cross(self, x: Tensor, *names: str) -> Tensor:
        """Apply one or two linear layers; the product of two is computed first, which pays off for wide
        batches."""
        first, *rest = (self.linears[name] for name in names)
        if not rest:
            return apply_linear(x, first)
        return apply_weights(x, *product(first.weight, first.bias, rest[0].weight, rest[0].bias))

    def run(
        self, x: Tensor, bias: Tensor | None = None, stages: Sequence[Op | Bridge] | None = None
    ) -> Tensor:
        """Run the plan, or some of its stages, on embedded tokens ``[B, T, width]``."""
        for stage in self.plan.stages if stages is None else stages:
            x = self.bridge(stage, x) if isinstance(stage, Bridge) else self.ops[stage.name](x, bias)
        return x

    def encode(self, tokens: Tensor, segments: Tensor | None = None, padded: bool = False) -> Tensor:
        """Encode ``[B, T]`` token ids as ``[B, T, out]``; with ``padded``, attention ignores padding."""
        x = self.embedding(tokens, segments)
        return self.run(x, mask(tokens, x.dtype) if padded else None)

    def projections(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values ``[B, T, inner]`` of the last attention; later stages are not
        run."""
        stages = self.plan.stages
        last = max(i for i, s in enumerate(stages) if isinstance(s, Op) and s.kind == "attention")
        x = self.run(self.embedding(tokens, None), stages=stages[:last])
        attention: Any = self.ops[self.plan.stages[last].name]  # type: ignore[union-attr]
        q, k, v = attention.projections(x)
        return q, k, v

    def forward(self, tokens: Tensor, places: Tensor | None = None) -> Tensor:
        """Return logits ``[B, T, V]`` of every position of packed text.

        With ``places`` ``[N]``, indices into ``B * T``, return the logits ``[N, V]`` of those positions
        alone.
        """
        x = self.encode(tokens)
        if places is not None:
            x = x.flatten(0, 1).index_select(0, places)
        logits: Tensor = self.head(x, self.embedding.word.weight)
        return logits


def mask(tokens: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the additive mask ``[B, 1, 1, T]``: minus infinity at padding."""
    return padding_bias(tokens == PAD, dtype)


def product(w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight and bias of linear layer 2 after linear layer 1."""
    return w2 @ w1, torch.addmv(b2, w2, b1)


def op_shapes(op: Op) -> Shapes:
    """Return the shapes of one operation's parameters."""
    name = f"ops.{op.name}"
    shapes: Shapes = {}
    if op.kind == "attention":
        for part in ("q", "k", "v"):
            shapes |= linear_shapes(f"{name}.{part}", op.width, op.inner)
        shapes |= linear_shapes(f"{name}.out", op.inner, op.width)
    elif op.kind == "feed_forward":
        shapes |= feed_forward_shapes(name, op.width, op.inner)
    else:
        for unit in (f"{name}.first", f"{name}.second"):
            shapes[f"{unit}.depthwise.weight"] = (op.width, 1, op.inner)
            shapes[f"{unit}.depthwise.bias"] = (op.width,)
            shapes |= linear_shapes(f"{unit}.pointwise", op.width, op.width)
            shapes |= norm_shapes(f"{unit}.norm", op.width)
        return shapes
    return shapes | norm_shapes(f"{name}.norm", op.width)


FORMS = ("hub", "merged", "plain")
"""Forms of a family.

``hub``: supernet with bridges over a hub; ``merged``: its export; ``plain``: a network trained by itself,
with a bridge only where the width changes.
"""


class BertFamily(ModelFamily):
    """All sub-networks of one search space over one vocabulary.

    Args:
        space: its ``constants`` are the widths that are not searched.
        form: one of ``FORMS``; by default the supernet's form of the kind.
    """

    kind: ClassVar[str]
    supernet_form: ClassVar[str]
    network: ClassVar[type[Bert]] = Bert
    named_draws = True
    outside = ("embedding.", "head.")
    """Beginnings of the parameter names that do not count as the body."""

    def __init__(self, space: SearchSpace, config: BertConfig, form: str | None = None) -> None:
        super().__init__(space, config)
        self.form = form or self.supernet_form
        if self.form not in FORMS:
            raise ValueError(f"form {form!r}: choose one of {', '.join(FORMS)}")
        shapes = self.shapes(self.plan(self.largest), self.more())
        self._slots = {name: Slot(shape, self.initial(name, shape)) for name, shape in shapes.items()}

    @abstractmethod
    def plan(self, architecture: ArchitectureLike) -> EncoderPlan:
        """Return the plan of ``architecture``."""

    def more(self) -> list[Op | Bridge]:
        """Return the stages of other architectures that the largest one does not have."""
        return []

    def mixable(self) -> list[tuple[str, str]]:
        """Return ``(layer, linear)`` of the two linear layers of each feed-forward (MoS, section 3.2)."""
        names = [f"ops.{op.name}" for op in self.plan(self.largest).ops if op.kind == "feed_forward"]
        return [(name, f"{name}.{fc}") for name in names for fc in ("fc1", "fc2")]

    def extents(self, architecture: ArchitectureLike) -> Shapes:
        return self.shapes(self.plan(architecture))

    def shapes(self, plan: EncoderPlan, more: Sequence[Op | Bridge] = ()) -> Shapes:
        """Return names and shapes of all parameters of a plan and of more stages."""
        config, width = self.config, plan.embedding
        rows = {"word": config.vocab, "position": config.max_positions, "segment": config.segments}
        shapes: Shapes = {f"embedding.{table}.weight": (count, width) for table, count in rows.items()}
        shapes |= norm_shapes("embedding.norm", width)
        for stage in (*plan.stages, *more):
            if isinstance(stage, Op):
                shapes |= op_shapes(stage)
            else:
                for name, start, end in stage.ends():
                    shapes |= linear_shapes(f"linears.{name}", start, end)
        shapes |= linear_shapes("head.dense", plan.out, width) | norm_shapes("head.norm", width)
        return shapes | {"head.bias": (config.vocab,)}

    def macs(self, architecture: ArchitectureLike, source_len: int, target_len: int) -> tuple[int, int]:
        """Return MACs of the exported body over ``source_len`` tokens, and of the head over ``target_len`` of
        them."""
        plan, t = self.collapsed(architecture).plan(architecture), source_len
        body = sum(t * bridge.start * bridge.end for bridge in plan.bridges)
        for op in plan.ops:
            if op.kind == "attention":
                body += 4 * t * op.width * op.inner + 2 * t * t * op.inner
            elif op.kind == "feed_forward":
                body += 2 * t * op.width * op.inner
            else:
                body += 2 * t * op.width * (op.inner + op.width)
        return body, target_len * plan.embedding * (plan.out + self.config.vocab)

    def initial(self, name: str, shape: tuple[int, ...]) -> Init:
        """Return BERT's initialisation: N(0, 0.02) for weights, zero for biases.

        Feed-forwards are uniform with that deviation. Bridges start as the identity, without which stacks of
        them lose rank. Depthwise convolutions keep the scale of their input: N(0, 1 / kernel size).
        """
        if name.endswith("bias"):
            return Init("constant", 0.0)
        if "norm" in name:
            return Init("constant", 1.0)
        if name.startswith("linears."):
            return Init("identity", 1.0)
        if name.endswith("depthwise.weight"):
            return Init("normal", shape[-1] ** -0.5)
        if "feed_forward" in name:
            return spread(0.02, shape)
        return Init("normal", 0.02, zero_row=PAD if name == "embedding.word.weight" else None)

    def skeleton(self, device: torch.device | str = "cpu") -> Bert:
        with torch.device("meta"):
            return self.network(self.config, self.plan(self.largest), self.more())

    def configure(self, model: Bert, architecture: ArchitectureLike) -> None:
        model.configure(self.plan(architecture))

    def build(self, architecture: ArchitectureLike) -> Bert:
        family = self.collapsed(architecture)
        return self.network(self.config, family.plan(architecture)).eval()

    def merge(self, weights: Mapping[str, Tensor], architecture: ArchitectureLike) -> dict[str, Tensor]:
        """Return the weights of ``extents`` as those of the exported sub-network: factors of bridges
        multiplied."""
        if self.form != "hub":
            return dict(weights)
        merged = {name: weight for name, weight in weights.items() if not name.startswith("linears.")}
        after = self.collapsed(architecture).plan(architecture).bridges
        for bridge, single in zip(self.plan(architecture).bridges, after, strict=True):
            parts = [weights[f"linears.{n}.{p}"] for n in bridge.names for p in ("weight", "bias")]
            weight, bias = parts if len(parts) == 2 else product(*parts)
            merged[f"linears.{single.names[0]}.weight"] = weight
            merged[f"linears.{single.names[0]}.bias"] = bias
        return merged

    def restrict_to(self, architecture: Architecture) -> Self:
        return self._as("plain", architecture)

    def collapsed(self, architecture: ArchitectureLike) -> Self:
        return self._as("merged" if self.form == "hub" else self.form, architecture)

    def _as(self, form: str, architecture: ArchitectureLike) -> Self:
        return type(self)(self.space.restrict_to(architecture), self.config, form)

    def spec(self) -> Spec:
        form = "merged" if self.form == "hub" else self.form
        return {"kind": self.kind, "form": form, "config": asdict(self.config), "space": self.space.to_dict()}


class HomogeneousBert(BertFamily):
    """All layers alike; a shallow sub-network uses layers evenly spaced over those of the deepest one.

    Space: ``width``, ``heads``, ``ffn_tenths`` (feed-forward width in tenths of ``width``), ``layers``.
    Constant ``head_dim``: width of one head, independent of the layer's width (AutoDistil's code: 64); with 0
    the heads share the layer's width.
    """

    kind = "bert-homogeneous"
    supernet_form = "plain"

    def plan(self, architecture: ArchitectureLike) -> EncoderPlan:
        a = architecture
        width, heads, layers = a["width"], a["heads"], a["layers"]
        inner = heads * self.space.constants["head_dim"] or width
        deepest = max(self.space.choice("layers").options)
        stages: list[Op | Bridge] = []
        for i in range(layers):
            at = i * deepest // layers
            stages.append(Op(f"{at}_attention", "attention", width, inner, heads))
            stages.append(Op(f"{at}_feed_forward", "feed_forward", width, width * a["ffn_tenths"] // 10))
        return EncoderPlan(width, tuple(stages))


class LayeredBert(BertFamily):
    """One width, with heads and feed-forward width of every layer; a shallow sub-network uses the first
    layers.

    Space: ``layers``, ``heads`` and ``ffn`` (one a layer). Constants ``hidden``, ``head_dim``.
    """

    kind = "bert-layers"
    supernet_form = "plain"

    def plan(self, architecture: ArchitectureLike) -> EncoderPlan:
        width, head_dim = (self.space.constants[name] for name in ("hidden", "head_dim"))
        stages: list[Op | Bridge] = []
        for i, (heads, ffn) in enumerate(zip(architecture["heads"], architecture["ffn"], strict=True)):
            stages.append(Op(f"{i}_attention", "attention", width, heads * head_dim, heads))
            stages.append(Op(f"{i}_feed_forward", "feed_forward", width, ffn))
        return EncoderPlan(width, tuple(stages))


class BottleneckBert(BertFamily):
    """A width per layer, each reached from a hub and left to it; neighbours' bridges merge (SuperShaper).

    Space: ``widths``, one a layer. Constants ``hub``, ``heads``, ``ffn``.
    """

    kind = "bert-bottleneck"
    supernet_form = "hub"

    def plan(self, architecture: ArchitectureLike) -> EncoderPlan:
        hub, heads, ffn = (self.space.constants[name] for name in ("hub", "heads", "ffn"))
        widths = architecture["widths"]
        stages: list[Op | Bridge] = []
        before = hub
        for i, width in enumerate(widths):
            if self.form == "hub" and i:
                stages.append(Bridge((f"{i - 1}_out", f"{i}_in"), before, width, hub))
            else:
                stages.append(Bridge((f"{i}_in",), before, width))
            stages.append(Op(f"{i}_attention", "attention", width, width, heads))
            stages.append(Op(f"{i}_feed_forward", "feed_forward", width, ffn))
            before = width
        stages.append(Bridge((f"{len(widths) - 1}_out",), before, hub))
        return EncoderPlan(hub, tuple(stages))

    def restrict_to(self, architecture: Architecture) -> Self:
        return self._as("merged", architecture)


CELLS = ("attention", "feed_forward", "convolution-3", "convolution-5", "convolution-7")
"""NAS-BERT's operations, indexed by their code in an architecture."""


Cell = tuple[int, tuple[int, ...]]
"""One candidate of a block: its width and the codes of its operations."""


class CellBert(BertFamily):
    """Blocks of one width each with free operations (NAS-BERT); every candidate has weights of its own.

    Space, for each block ``b``: ``width_b``, ``layers_b``, ``ops_b`` (see ``CELLS``). Constants: ``blocks``;
    ``hub``, width of the teacher, whose states are a block's input and target; ``head_dim``; ``ffn_ratio``;
    ``embedding``, of a network trained by itself.
    """

    kind = "bert-cells"
    supernet_form = "hub"

    def plan(self, architecture: ArchitectureLike) -> EncoderPlan:
        constants = self.space.constants
        hub = constants["hub"]
        embedding = constants["embedding"] if self.form == "plain" else hub
        stages: list[Op | Bridge] = []
        before = embedding
        for block in range(constants["blocks"]):
            width = architecture[f"width_{block}"]
            names = (self.name("in", block, width),)
            if self.form == "hub" and block:
                out = self.name("out", block - 1, before)
                stages.append(Bridge((out, *names), before, width, hub))
            elif self.form != "plain" or before != width:
                stages.append(Bridge(names, before, width))
            for i, code in enumerate(architecture[f"ops_{block}"]):
                stages.append(self.op(block, i, code, width))
            before = width
        if self.form != "plain":
            last = self.name("out", constants["blocks"] - 1, before)
            stages.append(Bridge((last,), before, hub))
        return EncoderPlan(embedding, tuple(stages))

    def block(self, block: int, width: int, ops: Sequence[int]) -> list[Op | Bridge]:
        """Return the stages of one block by itself, from the hub and back to it."""
        hub = self.space.constants["hub"]
        inside = [self.op(block, i, code, width) for i, code in enumerate(ops)]
        enter = Bridge((self.name("in", block, width),), hub, width)
        return [enter, *inside, Bridge((self.name("out", block, width),), width, hub)]

    def name(self, end: str, block: int, width: int) -> str:
        """Return the name of a block's input or output bridge; every width has its own."""
        return f"{block}_{end}_{width}"

    def op(self, block: int, layer: int, code: int, width: int) -> Op:
        """Return candidate operation ``code`` of a layer at one width."""
        kind, _, kernel = CELLS[code].partition("-")
        name = f"{block}_{layer}_{kind}{kernel}_{width}"
        if kind == "attention":
            return Op(name, kind, width, width, width // self.space.constants["head_dim"])
        inner = int(kernel) if kernel else width * self.space.constants["ffn_ratio"]
        return Op(name, kind, width, inner)

    def more(self) -> list[Op | Bridge]:
        if self.form != "hub":
            return []
        stages: list[Op | Bridge] = []
        hub, blocks = self.space.constants["hub"], self.space.constants["blocks"]
        for block in range(blocks):
            ops = self.space.choice(f"ops_{block}")
            for width in self.space.choice(f"width_{block}").options:
                stages.append(Bridge((self.name("in", block, width),), hub, width))
                stages.append(Bridge((self.name("out", block, width),), width, hub))
                for layer in range(ops.repeat):
                    stages += [self.op(block, layer, code, width) for code in ops.options]
        return stages

    def mixable(self) -> list[tuple[str, str]]:
        return []


FAMILIES: dict[str, type[BertFamily]] = {
    family.kind: family for family in (HomogeneousBert, LayeredBert, BottleneckBert, CellBert)
}


def family_of(space: SearchSpace) -> type[BertFamily]:
    """Return the kind of family of a space, decided by the names of its constants."""
    constants = space.constants
    kinds = {"blocks": CellBert, "hub": BottleneckBert, "hidden": LayeredBert}
    return next((kind for name, kind in kinds.items() if name in constants), HomogeneousBert)


def from_spec(spec: Spec) -> BertFamily:
    """Build the family that ``BertFamily.spec`` describes."""
    space = SearchSpace.from_dict(spec["space"])
    return FAMILIES[spec["kind"]](space, BertConfig(**spec["config"]), spec["form"])
