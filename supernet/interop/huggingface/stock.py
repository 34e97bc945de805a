"""Sub-networks as stock classes of transformers: names of weights, and reasons that rule a network out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from supernet import bert, seq2seq, vit
from supernet.bert import EncoderPlan
from supernet.interop.errors import InexpressibleError, require
from supernet.train.finetune import Classifier

Names = Iterator[tuple[str, str]]
"""Pairs of our name and the name in transformers."""


def model_of(module: torch.nn.Module) -> Any:
    """Return a stock model with the weights of an exported sub-network, in evaluation mode.

    Raises:
        InexpressibleError: no stock class can represent this network; the message gives the reason.
        MissingPackageError: transformers is not installed.
    """
    if isinstance(module, bert.Bert):
        return bert_for_masked_words(module)
    if isinstance(module, Classifier):
        return bert_classifier(module)
    if isinstance(module, vit.ViT):
        return vit_classifier(module)
    if isinstance(module, seq2seq.Transformer):
        return fsmt(module)
    raise InexpressibleError(f"transformers has no stock class for a {type(module).__name__}")


def _filled(model: Any, weights: Mapping[str, Tensor]) -> Any:
    """Load exactly these weights into a model of transformers."""
    model.load_state_dict({name: tensor.detach().clone() for name, tensor in weights.items()}, strict=True)
    return model.eval()


def layers_of(plan: EncoderPlan) -> list[tuple[bert.Op, bert.Op]]:
    """Return attention and feed-forward of each layer of a plain encoder.

    Raises:
        InexpressibleError: it has other stages.
    """
    if plan.bridges:
        raise InexpressibleError("its widths differ from layer to layer")
    ops = plan.ops
    kinds = [op.kind for op in ops]
    if not ops or kinds != ["attention", "feed_forward"] * (len(ops) // 2):
        raise InexpressibleError("its operations are not attention and feed-forward in turns")
    return list(zip(ops[::2], ops[1::2], strict=True))


def bert_names(layers: list[tuple[bert.Op, bert.Op]]) -> Names:
    """Yield the names of an encoder with its embedding: ours and those of ``BertModel``."""
    for ours, theirs in (("word", "word"), ("position", "position"), ("segment", "token_type")):
        yield f"embedding.{ours}.weight", f"embeddings.{theirs}_embeddings.weight"
    linears = [("embedding.norm", "embeddings.LayerNorm")]
    for i, (attention, ffn) in enumerate(layers):
        a, f, theirs = f"ops.{attention.name}", f"ops.{ffn.name}", f"encoder.layer.{i}"
        own = f"{theirs}.attention"
        linears += [(f"{a}.{p[0]}", f"{own}.self.{p}") for p in ("query", "key", "value")]
        linears += [(f"{a}.out", f"{own}.output.dense"), (f"{a}.norm", f"{own}.output.LayerNorm")]
        linears += [(f"{f}.fc1", f"{theirs}.intermediate.dense"), (f"{f}.fc2", f"{theirs}.output.dense")]
        linears += [(f"{f}.norm", f"{theirs}.output.LayerNorm")]
    yield from both(linears)


BERT_HEAD = (
    ("head.dense", "cls.predictions.transform.dense"),
    ("head.norm", "cls.predictions.transform.LayerNorm"),
)
"""Pairs of names of the masked-language-model head."""


def both(linears: Iterable[tuple[str, str]]) -> Names:
    """Yield weight and bias of each pair of linear layers or norms."""
    for ours, theirs in linears:
        for part in ("weight", "bias"):
            yield f"{ours}.{part}", f"{theirs}.{part}"


def bert_config(module: bert.Bert) -> Any:
    """Return the ``BertConfig`` of a stock encoder with the shape of ``module``.

    Raises:
        InexpressibleError: layers are not all alike, or heads do not share the width, as in stock encoders.
    """
    layers = layers_of(module.plan)
    shapes = {(a.width, a.inner, a.heads, f.width, f.inner) for a, f in layers}
    if len(shapes) > 1:
        raise InexpressibleError("its layers are not all alike")
    width, inner, heads, _, ffn = shapes.pop()
    if inner != width:
        raise InexpressibleError(f"its heads have {inner} channels together and a layer has {width}")
    own = module.config
    return require("transformers", "huggingface").BertConfig(
        vocab_size=own.vocab,
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=heads,
        intermediate_size=ffn,
        hidden_dropout_prob=own.dropout,
        attention_probs_dropout_prob=own.attention_dropout,
        max_position_embeddings=own.max_positions,
        type_vocab_size=own.segments,
        layer_norm_eps=bert.EPS,
        pad_token_id=bert.PAD,
    )


def bert_for_masked_words(module: bert.Bert) -> Any:
    """Return the network as ``BertForMaskedLM``."""
    config, ours = bert_config(module), dict(module.named_parameters())
    body = [(o, f"bert.{t}") for o, t in bert_names(layers_of(module.plan))]
    weights = {theirs: ours[name] for name, theirs in (*body, *both(BERT_HEAD))}
    weights["cls.predictions.decoder.weight"] = ours["embedding.word.weight"]
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"] = ours["head.bias"]
    return _filled(require("transformers", "huggingface").BertForMaskedLM(config), weights)


def bert_classifier(module: Classifier) -> Any:
    """Return the network as ``BertForSequenceClassification``; with one output, a regression."""
    config, ours = bert_config(module.encoder), dict(module.named_parameters())
    config.num_labels = module.out.out_features
    body = [(f"encoder.{o}", f"bert.{t}") for o, t in bert_names(layers_of(module.encoder.plan))]
    ends = both((("pooler", "bert.pooler.dense"), ("out", "classifier")))
    weights = {theirs: ours[name] for name, theirs in (*body, *ends)}
    return _filled(require("transformers", "huggingface").BertForSequenceClassification(config), weights)


def vit_names(depth: int) -> Names:
    """Yield the names of an image classifier: ours and those of ``ViTForImageClassification``."""
    linears = [("norm", "vit.layernorm"), ("head", "classifier")]
    for i in range(depth):
        a, theirs = f"layers.{i}.attention", f"vit.layers.{i}"
        linears += [(f"{a}.{p}", f"{theirs}.attention.{p}_proj") for p in ("q", "k", "v")]
        linears += [(f"{a}.out", f"{theirs}.attention.o_proj")]
        linears += [(f"layers.{i}.ffn.{p}", f"{theirs}.mlp.{p}") for p in ("fc1", "fc2")]
        linears += [(f"layers.{i}.attention_norm", f"{theirs}.layernorm_before")]
        linears += [(f"layers.{i}.ffn_norm", f"{theirs}.layernorm_after")]
    yield from both(linears)


def vit_classifier(module: vit.ViT) -> Any:
    """``ViTForImageClassification``."""
    layers: Any = list(module.layers)[: module.depth]
    shapes = {(x.attention.heads, x.attention.q.out_features, x.ffn.fc1.out_features) for x in layers}
    if len(shapes) > 1:
        raise InexpressibleError("its layers are not all alike")
    heads, inner, ffn = shapes.pop()
    own, width = module.config, module.norm.weight.shape[0]
    if inner != width:
        raise InexpressibleError(f"its heads have {inner} channels together and a layer has {width}")
    transformers = require("transformers", "huggingface")
    config = transformers.ViTConfig(
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=heads,
        intermediate_size=ffn,
        hidden_dropout_prob=own.dropout,
        layer_norm_eps=vit.EPS,
        image_size=own.image,
        patch_size=module.patch_size,
        num_channels=own.channels,
        num_labels=own.classes,
    )
    ours = dict(module.named_parameters())
    weights = {theirs: ours[name] for name, theirs in vit_names(len(layers))}
    patch, embeddings = module.patch_size, "vit.embeddings"
    kernel = ours["patch.weight"].view(width, own.channels, patch, patch)
    weights[f"{embeddings}.patch_embeddings.projection.weight"] = kernel
    weights[f"{embeddings}.patch_embeddings.projection.bias"] = ours["patch.bias"]
    weights[f"{embeddings}.cls_token"] = ours["embedding.token"][None]
    weights[f"{embeddings}.position_embeddings"] = ours["embedding.position"][None]
    return _filled(transformers.ViTForImageClassification(config), weights)


def fsmt(module: seq2seq.Transformer) -> Any:
    """Build an ``FSMTForConditionalGeneration``, the only stock class with fairseq's positions, which are
    ours.

    Raises:
        InexpressibleError: layers are not all alike, widths of the two sides or of the heads differ,
            the decoder reads more than the last encoder layer, or positions are cut from a wider table.
    """
    encoder: Any = list(module.encoder)[: module.encoder_depth]
    decoder: Any = list(module.decoder)[: module.decoder_depth]
    width = module.encoder_width
    if module.decoder_width != width:
        raise InexpressibleError(f"its encoder is {width} wide and its decoder {module.decoder_width}")
    if any(min(x.cross.sources, len(encoder)) > 1 for x in decoder):
        raise InexpressibleError("its decoder reads more than the last encoder layer")
    inner = encoder[0].attention.out.in_features
    if inner != width:
        raise InexpressibleError(f"its heads have {inner} channels together and a layer has {width}")
    if module.positions.shape[1] != width:
        raise InexpressibleError(
            f"its positions are the first {width} columns of a table {module.positions.shape[1]} wide"
        )
    shapes = [
        {(x.attention.heads, x.feed_forward.fc1.out_features) for x in side} for side in (encoder, decoder)
    ]
    if any(len(distinct) > 1 for distinct in shapes) or any(
        x.cross.heads != x.attention.heads for x in decoder
    ):
        raise InexpressibleError("its layers are not all alike")
    (heads, ffn), (decoder_heads, decoder_ffn) = (distinct.pop() for distinct in shapes)
    own = module.config
    transformers = require("transformers", "huggingface")
    config = transformers.FSMTConfig(
        langs=["source", "target"],
        src_vocab_size=own.source_vocab,
        tgt_vocab_size=own.target_vocab,
        d_model=width,
        encoder_layers=len(encoder),
        encoder_ffn_dim=ffn,
        encoder_attention_heads=heads,
        decoder_layers=len(decoder),
        decoder_ffn_dim=decoder_ffn,
        decoder_attention_heads=decoder_heads,
        # The table's first two rows are no positions.
        max_position_embeddings=own.max_positions,
        dropout=own.dropout,
        attention_dropout=own.attention_dropout,
        activation_dropout=own.activation_dropout,
        bos_token_id=seq2seq.BOS,
        pad_token_id=seq2seq.PAD,
        eos_token_id=seq2seq.EOS,
        decoder_start_token_id=seq2seq.EOS,
        forced_eos_token_id=seq2seq.EOS,
        tie_word_embeddings=own.share == "all",
        use_cache=False,  # of the forward pass alone: with a cache, FSMT leaves out its causal mask
    )
    model = transformers.FSMTForConditionalGeneration(config)
    weights = {name: tensor for name, tensor in model.state_dict().items() if "embed_positions" in name}
    model.generation_config.use_cache = True
    return _filled(model, weights | _fsmt_weights(module, len(encoder), len(decoder)))


def _fsmt_weights(module: seq2seq.Transformer, encoder: int, decoder: int) -> dict[str, Tensor]:
    ours = dict(module.named_parameters(remove_duplicate=False))
    output = module.target_embedding.weight if module.output is None else module.output.weight
    weights = {
        "model.encoder.embed_tokens.weight": ours["source_embedding.weight"],
        "model.decoder.embed_tokens.weight": ours["target_embedding.weight"],
        "model.decoder.output_projection.weight": output,
    }
    for part in ("weight", "bias"):
        for side, depth in (("encoder", encoder), ("decoder", decoder)):
            for i in range(depth):
                here, theirs = f"{side}.{i}", f"model.{side}.layers.{i}"
                for name, tensor in zip("qkv", ours[f"{here}.attention.qkv.{part}"].chunk(3), strict=True):
                    weights[f"{theirs}.self_attn.{name}_proj.{part}"] = tensor
                if side == "decoder":
                    k, v = ours[f"{here}.cross.kv.{part}"].chunk(2)
                    weights |= {
                        f"{theirs}.encoder_attn.k_proj.{part}": k,
                        f"{theirs}.encoder_attn.v_proj.{part}": v,
                    }
                for own, other in FSMT_NAMES if side == "decoder" else FSMT_NAMES[:5]:
                    weights[f"{theirs}.{other}.{part}"] = ours[f"{here}.{own}.{part}"]
    return weights


FSMT_NAMES = (
    ("attention.out", "self_attn.out_proj"),
    ("attention_norm", "self_attn_layer_norm"),
    ("feed_forward.fc1", "fc1"),
    ("feed_forward.fc2", "fc2"),
    ("feed_forward_norm", "final_layer_norm"),
    ("cross.q", "encoder_attn.q_proj"),
    ("cross.out", "encoder_attn.out_proj"),
    ("cross_norm", "encoder_attn_layer_norm"),
)
"""Pairs of names of a layer; the last three are a decoder's alone."""
