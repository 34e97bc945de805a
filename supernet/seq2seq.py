"""Encoder-decoder Transformer in HAT's search space: all of it in this single file.

One class, :class:`Transformer`, of plain ``nn.Linear``, ``nn.Embedding`` and ``nn.LayerNorm`` modules, serves
two purposes. It is the exported sub-network, and it is the skeleton into which a supernet binds the weights
of one architecture after another. So there is a single forward pass to verify.

The space is that of HAT (Wang et al., ACL 2020, section 3.1): post-LN, one width for the encoder and one for
the decoder, a feed-forward width and a number of heads per layer, 1 to 6 decoder layers, and cross-attention
over the last one, two or three encoder layers, whose keys are concatenated along time. Heads re-partition a
fixed ``qkv_dim`` and so change no parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.layers import (
    ElasticNorm,
    Shapes,
    add_linear_norm,
    apply_linear,
    dropout,
    embed_tokens,
    feed_forward_shapes,
    linear_relu,
    linear_shapes,
    norm_shapes,
    padding_bias,
    shortcut_between,
    split_heads,
)
from supernet.model_family import ModelFamily, Spec
from supernet.packing import Packed, Padded
from supernet.space import ArchitectureLike, SearchSpace
from supernet.sublayers import SublayerModule, sublayer
from supernet.weights import Init, Slot

BOS, PAD, EOS, UNK = 0, 1, 2, 3
"""Ids of the special tokens, in fairseq's order. ``EOS`` also opens the decoder's input, as in fairseq."""

SOURCES = {-1: 1, 1: 2, 2: 3}
"""HAT's code of a cross-attention source -> number of last encoder layers attended to."""


@dataclass(frozen=True)
class Seq2SeqConfig:
    """Configuration common to all sub-networks of a family."""

    source_vocab: int
    target_vocab: int
    share: str = "all"
    """Embedding tables: ``all`` (encoder, decoder and output share one), ``decoder`` (decoder and output
    share one) or ``none``. HAT shares all on WMT and none on IWSLT."""
    dropout: float = 0.3
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    max_positions: int = 1024

    def __post_init__(self) -> None:
        if self.share not in ("all", "decoder", "none"):
            raise ValueError(f"share {self.share!r}: choose all, decoder or none")
        if self.share == "all" and self.source_vocab != self.target_vocab:
            raise ValueError(
                "sharing all embeddings needs one vocabulary,"
                f" not {self.source_vocab} and {self.target_vocab}"
            )


@dataclass
class Memory:
    """Encoder output that the decoder attends to.

    ``states``: outputs of the last up to three encoder layers, newest first, each ``[B, S, d]`` or, packed,
    ``[S, d]``. ``layout``: of the sentences.
    """

    states: list[Tensor]
    layout: Padded | Packed


class SelfAttention(SublayerModule):
    """Multi-head self-attention with one fused ``qkv`` projection (rows never sliced)."""

    settings = ("heads",)

    def __init__(self, width: int, qkv_dim: int, heads: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * qkv_dim)
        self.out = nn.Linear(qkv_dim, width)
        self.heads = heads
        self.attention_dropout = 0.0

    @property
    def rate(self) -> float:
        """Dropout rate of the attention weights now."""
        return self.attention_dropout if self.training else 0.0


class CrossAttention(SublayerModule):
    """Attention of the decoder over ``sources`` encoder layers (HAT's arbitrary attention)."""

    settings = ("heads", "sources")

    def __init__(self, width: int, memory_width: int, qkv_dim: int, heads: int, sources: int) -> None:
        super().__init__()
        self.q = nn.Linear(width, qkv_dim)
        self.kv = nn.Linear(memory_width, 2 * qkv_dim)
        self.out = nn.Linear(qkv_dim, width)
        self.heads = heads
        self.sources = sources
        self.attention_dropout = 0.0

    def reached(self, memory: Memory) -> list[Tensor]:
        """Return the encoder states attended to; a shallow encoder has fewer than ``sources`` to offer."""
        return memory.states[: self.sources]

    def remember(self, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys and values ``[B, H, sources * S, h]`` of a padded memory, and their mask."""
        states = self.reached(memory)
        k, v = self.kv(memory.layout.join(states)).chunk(2, dim=-1)
        bias = memory.layout.bias_over(len(states))  # type: ignore[union-attr]
        return split_heads(k, self.heads), split_heads(v, self.heads), bias

    @property
    def rate(self) -> float:
        """Dropout rate of the attention weights now."""
        return self.attention_dropout if self.training else 0.0


class FeedForward(SublayerModule):
    """The two linear layers of a feed-forward, with a ReLU between them."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.activation_dropout = 0.0

    def add(self, x: Tensor, norm: ElasticNorm, p: float) -> Tensor:
        """Return the norm of ``x`` ``[..., width]`` plus its feed-forward, after dropout with rate ``p``."""
        shortcut = shortcut_between(x, [self.fc1], self.fc2)
        y = dropout(linear_relu(x, self.fc1, shortcut), self.activation_dropout, self.training)
        return add_linear_norm(x, y, self.fc2, norm, p, self.training, shortcut)


class EncoderLayer(SublayerModule):
    """Post-LN encoder layer."""

    settings = ("attention_residual_dropout", "dropout")

    def __init__(self, width: int, inner: int, qkv_dim: int, heads: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, qkv_dim, heads)
        self.attention_norm = ElasticNorm(width)
        self.feed_forward = FeedForward(width, inner)
        self.feed_forward_norm = ElasticNorm(width)
        self.attention_residual_dropout = self.dropout = 0.0

    def forward(self, x: Tensor, layout: Padded | Packed) -> Tensor:
        return self.feed(self.attend(x, layout))

    @sublayer("attention", "attention_norm")
    def attend(self, x: Tensor, layout: Padded | Packed) -> Tensor:
        """Apply self-attention, residual and norm."""
        a = self.attention
        shortcut = shortcut_between(x, [a.qkv], a.out)
        y = layout.within_source(*apply_linear(x, a.qkv, shortcut).chunk(3, dim=-1), a.heads, a.rate)
        rate = self.attention_residual_dropout
        return add_linear_norm(x, y, a.out, self.attention_norm, rate, self.training, shortcut)

    @sublayer("feed_forward", "feed_forward_norm")
    def feed(self, x: Tensor) -> Tensor:
        """Apply feed-forward, residual and norm."""
        return self.feed_forward.add(x, self.feed_forward_norm, self.dropout)


class DecoderLayer(SublayerModule):
    """Post-LN decoder layer: causal self-attention, cross-attention, feed-forward."""

    settings = ("dropout",)

    def __init__(
        self,
        width: int,
        inner: int,
        qkv_dim: int,
        heads: int,
        cross_heads: int,
        memory_width: int,
        sources: int,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(width, qkv_dim, heads)
        self.attention_norm = ElasticNorm(width)
        self.cross = CrossAttention(width, memory_width, qkv_dim, cross_heads, sources)
        self.cross_norm = ElasticNorm(width)
        self.feed_forward = FeedForward(width, inner)
        self.feed_forward_norm = ElasticNorm(width)
        self.dropout = 0.0

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        x = self.attend(x, memory.layout)
        return self.feed(self.attend_across(x, memory.layout, *self.cross.reached(memory)))

    @sublayer("attention", "attention_norm")
    def attend(self, x: Tensor, layout: Padded | Packed) -> Tensor:
        """Apply causal self-attention, residual and norm."""
        a = self.attention
        shortcut = shortcut_between(x, [a.qkv], a.out)
        y = layout.within_target(*apply_linear(x, a.qkv, shortcut).chunk(3, dim=-1), a.heads, a.rate)
        return add_linear_norm(x, y, a.out, self.attention_norm, self.dropout, self.training, shortcut)

    @sublayer("cross", "cross_norm")
    def attend_across(self, x: Tensor, layout: Padded | Packed, *states: Tensor) -> Tensor:
        """Apply attention to encoder ``states``, residual and norm."""
        a = self.cross
        shortcut = shortcut_between(x, [a.q], a.out)
        k, v = apply_linear(layout.join(states), a.kv).chunk(2, dim=-1)
        y = layout.across(apply_linear(x, a.q, shortcut), k, v, a.heads, a.rate, len(states))
        return add_linear_norm(x, y, a.out, self.cross_norm, self.dropout, self.training, shortcut)

    @sublayer("feed_forward", "feed_forward_norm")
    def feed(self, x: Tensor) -> Tensor:
        """Apply feed-forward, residual and norm."""
        return self.feed_forward.add(x, self.feed_forward_norm, self.dropout)


def bound(layer: nn.Module, width: int | None = None) -> Callable[[Tensor], Tensor]:
    """Return a plain linear layer, norm or embedding (as output layer of ``width``) as a function that holds
    its tensors; any other layer, and one with hooks, as it is.

    ``nn.Module`` finds each tensor by its name at every call. In a decoder step of a few rows that costs as
    much as the arithmetic.
    """
    if layer._forward_hooks or layer._forward_pre_hooks:
        return layer
    if isinstance(layer, ElasticNorm):
        scale, shift, eps = layer.weight, layer.bias, layer.eps
        shape, norm = scale.shape, torch.layer_norm
        return lambda x: norm(x, shape, scale, shift, eps)
    linear: Callable[..., Tensor] = F.linear
    if isinstance(layer, nn.Embedding):
        table = layer.weight[:, :width]
        return lambda x: linear(x, table)
    if type(layer) is nn.Linear:
        weight, bias = layer.weight, layer.bias
        return lambda x: linear(x, weight, bias)
    return layer


class BoundLayer:
    """One decoder layer for the steps of one translation: the arithmetic of ``DecoderLayer`` in evaluation,
    one position at a time, its layers ``bound``."""

    def __init__(self, layer: DecoderLayer) -> None:
        own, cross, inner = layer.attention, layer.cross, layer.feed_forward
        self.heads, self.cross_heads = own.heads, cross.heads
        self.qkv, self.out, self.norm = bound(own.qkv), bound(own.out), bound(layer.attention_norm)
        self.q, self.cross_out, self.cross_norm = bound(cross.q), bound(cross.out), bound(layer.cross_norm)
        self.fc1, self.fc2 = bound(inner.fc1), bound(inner.fc2)
        self.last_norm = bound(layer.feed_forward_norm)

    def __call__(self, x: Tensor, kept: LayerCache, beam: int) -> Tensor:
        """Map ``[N, d]`` to ``[N, d]``; ``kept`` grows by one position."""
        rows, attention = x.shape[0], F.scaled_dot_product_attention
        q, k, v = self.qkv(x).view(rows, 3, self.heads, 1, -1).unbind(1)
        if kept.own is not None:
            k, v = torch.cat([kept.own[0], k], 2), torch.cat([kept.own[1], v], 2)
        kept.own = (k, v)
        x = self.norm(x + self.out(attention(q, k, v).flatten(1)))
        k, v, bias = kept.cross
        q = self.q(x).view(rows // beam, beam, self.cross_heads, -1).transpose(1, 2)
        y = attention(q, k, v, bias).transpose(1, 2).reshape(rows, -1)
        x = self.cross_norm(x + self.cross_out(y))
        return self.last_norm(x + self.fc2(torch.relu(self.fc1(x))))


@dataclass
class LayerCache:
    """Cache of one decoder layer: keys, values ``[B, H, S, h]`` and mask of the encoder, and keys and values
    ``[N, H, t, h]`` of its own self-attention."""

    cross: tuple[Tensor, Tensor, Tensor]
    own: tuple[Tensor, Tensor] | None = None


class DecoderCache:
    """Decoder state of ``N = B * beam`` rows, ``beam`` consecutive rows a sentence.

    The encoder's keys and values are kept once a sentence: its beams attend to them as queries of one row. So
    reordering beams within a sentence changes only the decoder's own keys and values.
    """

    def __init__(self, layers: list[LayerCache], beam: int) -> None:
        self.layers, self.beam, self.length = layers, beam, 0
        self.steps: list[BoundLayer] = []
        self.output: Callable[[Tensor], Tensor] | None = None

    def reorder(self, rows: Tensor) -> None:
        """Replace row i by old row ``rows[i]`` ``[N]``, which must be of the same sentence."""
        for layer in self.layers:
            if layer.own is not None:
                layer.own = (layer.own[0].index_select(0, rows), layer.own[1].index_select(0, rows))

    def keep(self, sentences: Tensor) -> None:
        """Drop every sentence but these (indices, ascending)."""
        rows = (sentences[:, None] * self.beam + torch.arange(self.beam, device=sentences.device)).flatten()
        self.reorder(rows)
        for layer in self.layers:
            k, v, bias = layer.cross
            layer.cross = (k[sentences], v[sentences], bias[sentences])


class Transformer(SublayerModule):
    """One sub-network, or the skeleton of all of them.

    Args:
        config: common to the family.
        architecture: widths, depths and heads (field names of HAT's space in ``supernet.space``).
        qkv_dim: total width of the heads, fixed over the space.
        position_dim: width of the supernet's table of positions, of which a prefix is used.
    """

    positions: Tensor
    settings = ("encoder_width", "decoder_width", "embedding_dropout")

    def __init__(
        self, config: Seq2SeqConfig, architecture: ArchitectureLike, *, qkv_dim: int, position_dim: int
    ) -> None:
        super().__init__()
        a = architecture
        self.config = config
        self.encoder_width, self.decoder_width = a["encoder_embed_dim"], a["decoder_embed_dim"]
        self.encoder_depth, self.decoder_depth = a["encoder_layers"], a["decoder_layers"]
        widest = max(self.encoder_width, self.decoder_width)
        if config.share == "all":
            self.source_embedding = self.target_embedding = nn.Embedding(config.source_vocab, widest, PAD)
        else:
            self.source_embedding = nn.Embedding(config.source_vocab, self.encoder_width, PAD)
            self.target_embedding = nn.Embedding(config.target_vocab, self.decoder_width, PAD)
        self.output = (
            nn.Linear(self.decoder_width, config.target_vocab, bias=False) if config.share == "none" else None
        )
        self.encoder = nn.ModuleList(
            EncoderLayer(self.encoder_width, inner, qkv_dim, heads)
            for inner, heads in zip(a["encoder_ffn"], a["encoder_heads"], strict=True)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(
                self.decoder_width, inner, qkv_dim, heads, cross, self.encoder_width, SOURCES[source]
            )
            for inner, heads, cross, source in zip(
                a["decoder_ffn"],
                a["decoder_self_heads"],
                a["decoder_cross_heads"],
                a["decoder_cross_source"],
                strict=True,
            )
        )
        self.embedding_dropout = (0.0, 0.0)
        self.register_buffer(
            "positions", position_table(config.max_positions, position_dim), persistent=False
        )

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self.positions.device

    def embed(
        self, table: nn.Embedding, tokens: Tensor, width: int, at: Tensor | None = None, start: int = 0
    ) -> Tensor:
        """Return scaled token embeddings plus positions: ``[B, T] -> [B, T, width]``.

        Positions count from ``start``; those of packed tokens ``[N]`` are ``at``.
        """
        weight = table.weight if table.weight.shape[1] == width else table.weight[:, :width]
        x = embed_tokens(tokens, weight, math.sqrt(width), PAD)
        if at is not None:
            return x + F.embedding(at, self.positions[:, :width]).to(x.dtype)
        if start + tokens.shape[1] > self.config.max_positions:
            raise ValueError(
                f"{start + tokens.shape[1]} tokens: at most {self.config.max_positions} are embedded"
            )
        return x + self.positions[start : start + tokens.shape[1], :width].to(x.dtype)

    @sublayer("source_embedding")
    def embed_source(self, source: Tensor, at: Tensor | None) -> Tensor:
        """Embed source tokens, with dropout; packed ones are ``at`` these positions."""
        x = self.embed(self.source_embedding, source, self.encoder_width, at)
        return dropout(x, self.embedding_dropout[0], self.training)

    @sublayer("target_embedding")
    def embed_target(self, target: Tensor, at: Tensor | None) -> Tensor:
        """Embed target tokens, with dropout; packed ones are ``at`` these positions."""
        x = self.embed(self.target_embedding, target, self.decoder_width, at)
        return dropout(x, self.embedding_dropout[1], self.training)

    def encode(self, source: Tensor, layout: Packed | None = None) -> Memory:
        """Encode token ids: ``[B, S]``, padded on the right, or ``[S]``, packed."""
        x = self.embed_source(source, layout.source_at if layout else None)
        pairs = layout or Padded(padding_bias(source == PAD, x.dtype))
        states: list[Tensor] = []
        for layer in self.encoder[: self.encoder_depth]:
            x = layer(x, pairs)
            states.append(x)
        return Memory(states[:-4:-1], pairs)

    def forward(
        self,
        source: Tensor,
        target_in: Tensor,
        real: Tensor | int | None = None,
        layout: Packed | None = None,
    ) -> Tensor:
        """Return logits ``[B, T, V]`` of every next token given ``source`` ``[B, S]`` and ``target_in`` ``[B,
        T]``.

        With ``real`` ``[N]``, indices into ``B * T``, return logits ``[N, V]`` of those positions alone. With
        ``layout``, both sides are packed, ``[S]`` and ``[T]``, and ``real`` is the number of positions from
        the first on.
        """
        memory = self.encode(source, layout)
        x = self.embed_target(target_in, layout.target_at if layout else None)
        for layer in self.decoder[: self.decoder_depth]:
            x = layer(x, memory)
        if isinstance(real, int):
            x = x[:real]
        elif real is not None:
            x = x.flatten(0, 1).index_select(0, real)
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """Apply the output layer: ``[..., d] -> [..., V]``."""
        if self.output is not None:
            return apply_linear(x, self.output)
        return F.linear(x, self.target_embedding.weight[:, : self.decoder_width])

    def decoder_cache(self, memory: Memory, beam: int = 1) -> DecoderCache:
        """Return a fresh cache for ``beam`` rows a sentence."""
        return DecoderCache(
            [LayerCache(x.cross.remember(memory)) for x in self.decoder[: self.decoder_depth]], beam
        )

    def step(self, tokens: Tensor, cache: DecoderCache) -> Tensor:
        """Return logits ``[N, V]`` after one more token a row, ``[N]``; the cache grows by one position."""
        x = self.embed(self.target_embedding, tokens[:, None], self.decoder_width, start=cache.length)[:, 0]
        if cache.output is None:
            cache.steps = [BoundLayer(layer) for layer in self.decoder[: self.decoder_depth]]
            cache.output = bound(self.output or self.target_embedding, self.decoder_width)
        for layer, kept in zip(cache.steps, cache.layers, strict=True):
            x = layer(x, kept, cache.beam)
        cache.length += 1
        return cache.output(x)


def position_table(length: int, width: int) -> Tensor:
    """Return sinusoidal positions ``[length, width]`` in fairseq's layout: sines, then cosines, counted from
    ``PAD + 1``."""
    half = width // 2
    rate = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000) / max(half - 1, 1)))
    angle = torch.arange(PAD + 1, PAD + 1 + length, dtype=torch.float32)[:, None] * rate
    table = torch.cat([angle.sin(), angle.cos()], dim=1)
    return F.pad(table, (0, width - 2 * half))


class Seq2SeqFamily(ModelFamily):
    """All sub-networks of one search space over one pair of vocabularies.

    Args:
        space: one of ``supernet.space.seq2seq_space``.
        config: vocabularies, sharing and dropout.
        position_dim: width of the table of positions; by default the space's largest width.
    """

    kind = "seq2seq"
    outside = ("source_embedding.", "target_embedding.", "output.")
    """Prefixes of the parameter names that HAT's published counts leave out."""

    def __init__(self, space: SearchSpace, config: Seq2SeqConfig, position_dim: int | None = None) -> None:
        super().__init__(space, config)
        self.qkv_dim = space.constants["qkv_dim"]
        widest = max(self.largest["encoder_embed_dim"], self.largest["decoder_embed_dim"])
        self.position_dim = position_dim or widest
        self._slots = {
            name: Slot(shape, initial(name, shape)) for name, shape in self.extents(self.largest).items()
        }

    def mixable(self) -> list[tuple[str, str]]:
        """Return ``(layer, linear)`` of the two linear layers of each feed-forward (MoS, section 3.2)."""
        layers = [f"encoder.{i}" for i in range(self.largest["encoder_layers"])]
        layers += [f"decoder.{i}" for i in range(self.largest["decoder_layers"])]
        return [(layer, f"{layer}.feed_forward.{fc}") for layer in layers for fc in ("fc1", "fc2")]

    def extents(self, architecture: ArchitectureLike) -> Shapes:
        a, qkv = architecture, self.qkv_dim
        enc, dec = a["encoder_embed_dim"], a["decoder_embed_dim"]
        shapes: Shapes = {}
        if self.config.share == "all":
            shapes["source_embedding.weight"] = (self.config.source_vocab, max(enc, dec))
        else:
            shapes["source_embedding.weight"] = (self.config.source_vocab, enc)
            shapes["target_embedding.weight"] = (self.config.target_vocab, dec)
        if self.config.share == "none":
            shapes["output.weight"] = (self.config.target_vocab, dec)

        def attention(layer: str, width: int) -> Shapes:
            projections = linear_shapes(f"{layer}.attention.qkv", width, 3 * qkv)
            projections |= linear_shapes(f"{layer}.attention.out", qkv, width)
            return projections | norm_shapes(f"{layer}.attention_norm", width)

        def feed_forward(layer: str, width: int, inner: int) -> Shapes:
            linears = feed_forward_shapes(f"{layer}.feed_forward", width, inner)
            return linears | norm_shapes(f"{layer}.feed_forward_norm", width)

        for i in range(a["encoder_layers"]):
            shapes |= attention(f"encoder.{i}", enc)
            shapes |= feed_forward(f"encoder.{i}", enc, a["encoder_ffn"][i])
        for i in range(a["decoder_layers"]):
            shapes |= attention(f"decoder.{i}", dec)
            shapes |= linear_shapes(f"decoder.{i}.cross.q", dec, qkv)
            shapes |= linear_shapes(f"decoder.{i}.cross.kv", enc, 2 * qkv)
            shapes |= linear_shapes(f"decoder.{i}.cross.out", qkv, dec)
            shapes |= norm_shapes(f"decoder.{i}.cross_norm", dec)
            shapes |= feed_forward(f"decoder.{i}", dec, a["decoder_ffn"][i])
        return shapes

    def macs(self, architecture: ArchitectureLike, source_len: int, target_len: int) -> tuple[int, int]:
        """Return MACs of encoder and decoder layers, and of the output layer, for one sentence pair.

        Cross-attention over k encoder layers has ``k * source_len`` keys, each projected anew by every
        decoder layer that reads them.
        """
        a, s, t, qkv = architecture, source_len, target_len, self.qkv_dim
        enc, dec = a["encoder_embed_dim"], a["decoder_embed_dim"]

        def attention(queries: int, keys: int, width: int, memory: int) -> int:
            projections = queries * width * qkv + 2 * keys * memory * qkv + queries * qkv * width
            return int(projections + 2 * queries * keys * qkv)

        body = sum(attention(s, s, enc, enc) + 2 * s * enc * ffn for ffn in a["encoder_ffn"])
        for ffn, source in zip(a["decoder_ffn"], a["decoder_cross_source"], strict=True):
            reached = min(SOURCES[source], a["encoder_layers"])
            body += attention(t, t, dec, dec) + attention(t, reached * s, dec, enc) + 2 * t * dec * ffn
        return body, t * dec * self.config.target_vocab

    def skeleton(self, device: torch.device | str = "cpu") -> Transformer:
        """Build the largest sub-network without storage; a supernet binds weights into it."""
        with torch.device("meta"):
            model = self.build(self.largest)
        model.positions = position_table(self.config.max_positions, self.position_dim).to(device)
        return model

    def configure(self, model: Transformer, architecture: ArchitectureLike) -> None:
        """Set depth, heads, cross-attention sources and dropout rates.

        Dropout shrinks with width as in HAT's code: p times sub-network width over supernet width, except at
        the residual of the encoder's self-attention.
        """
        a, c, top = architecture, self.config, self.largest
        model.encoder_width, model.decoder_width = a["encoder_embed_dim"], a["decoder_embed_dim"]
        model.encoder_depth, model.decoder_depth = a["encoder_layers"], a["decoder_layers"]
        enc = c.dropout * model.encoder_width / top["encoder_embed_dim"]
        dec = c.dropout * model.decoder_width / top["decoder_embed_dim"]
        model.embedding_dropout = (enc, dec)
        for i, layer in enumerate(model.encoder[: model.encoder_depth]):
            layer.attention.heads = a["encoder_heads"][i]
            layer.attention.attention_dropout = c.attention_dropout
            layer.feed_forward.activation_dropout = (
                c.activation_dropout * a["encoder_ffn"][i] / top["encoder_ffn"][i]
            )
            layer.attention_residual_dropout, layer.dropout = c.dropout, enc
        for i, layer in enumerate(model.decoder[: model.decoder_depth]):
            layer.attention.heads = a["decoder_self_heads"][i]
            layer.cross.heads = a["decoder_cross_heads"][i]
            layer.cross.sources = SOURCES[a["decoder_cross_source"][i]]
            layer.attention.attention_dropout = layer.cross.attention_dropout = c.attention_dropout
            layer.feed_forward.activation_dropout = (
                c.activation_dropout * a["decoder_ffn"][i] / top["decoder_ffn"][i]
            )
            layer.dropout = dec

    def build(self, architecture: ArchitectureLike) -> Transformer:
        """Build one sub-network with torch's initial values, in evaluation mode."""
        model = Transformer(self.config, architecture, qkv_dim=self.qkv_dim, position_dim=self.position_dim)
        return model.eval()

    def collapsed(self, architecture: ArchitectureLike) -> Self:
        """Return the family of this one architecture, with the same table of positions."""
        return type(self)(self.space.restrict_to(architecture), self.config, self.position_dim)

    def spec(self) -> Spec:
        return {
            "kind": self.kind,
            **asdict(self.config),
            "position_dim": self.position_dim,
            "space": self.space.to_dict(),
        }


def from_spec(spec: Spec) -> Seq2SeqFamily:
    """Build the family that ``Seq2SeqFamily.spec`` describes."""
    fields = {k: v for k, v in spec.items() if k not in ("kind", "position_dim", "space")}
    return Seq2SeqFamily(SearchSpace.from_dict(spec["space"]), Seq2SeqConfig(**fields), spec["position_dim"])


def initial(name: str, shape: tuple[int, ...]) -> Init:
    """Return HAT's initialisation: Xavier-uniform matrices, zero biases, embeddings N(0, 1/width)."""
    if name.endswith("bias"):
        return Init("constant", 0.0)
    if "norm" in name:
        return Init("constant", 1.0)
    if "embedding" in name:
        return Init("normal", shape[1] ** -0.5, zero_row=PAD)
    if name.startswith("output"):
        return Init("normal", shape[1] ** -0.5)
    # One Xavier fan a projection, not one for the fused matrix; fairseq's factor for q, k and v.
    blocks = 3 if ".qkv." in name else 2 if ".kv." in name else 1
    return Init("xavier", 2**-0.5 if blocks > 1 or ".q." in name else 1.0, blocks=blocks)
