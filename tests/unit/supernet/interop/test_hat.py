"""HAT's checkpoints and YAML files, in HAT's own layout made here, against its forward pass written out."""

import argparse
import json
import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import yaml as pyyaml

torch = pytest.importorskip("torch")

import torch.nn.functional as F
from torch import Tensor

from supernet import export
from supernet.interop import hat
from supernet.interop.fairseq import layout
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily, position_table
from supernet.space import from_hat, get_space

SMALL = {"width": 24, "ffn": 32, "heads": 4, "qkv": 16, "encoder": 3, "decoder": 3, "vocab": 30}
SUB: dict[str, Any] = {
    "encoder_embed_dim": 16,
    "decoder_embed_dim": 24,
    "encoder_ffn_embed_dim_all": [32, 16, 8],
    "decoder_ffn_embed_dim_all": [8, 16],
    "encoder_layer_num": 3,
    "decoder_layer_num": 2,
    "encoder_self_attention_heads_all": [4, 2, 4],
    "decoder_self_attention_heads_all": [2, 4],
    "decoder_ende_attention_heads_all": [4, 2],
    "decoder_arbitrary_ende_attn_all": [2, 1],
}


def state_of(sizes: dict[str, int], share: str, device: str = "cpu") -> OrderedDict[str, Tensor]:
    """Random tensors under HAT's names and of its shapes."""
    generator = None if device == "meta" else torch.Generator().manual_seed(1)
    width, qkv, state = sizes["width"], sizes["qkv"], OrderedDict()

    def put(name: str, *shape: int) -> None:
        state[name] = torch.randn(*shape, generator=generator, device=device) * 0.3

    def attention(name: str) -> None:
        put(f"{name}.in_proj_weight", 3 * qkv, width)
        put(f"{name}.in_proj_bias", 3 * qkv)
        put(f"{name}.out_proj.weight", width, qkv)
        put(f"{name}.out_proj.bias", width)

    for side in ("encoder", "decoder"):
        put(f"{side}.version", 1)
        put(f"{side}.embed_positions._float_tensor", 1)
        put(f"{side}.embed_tokens.weight", sizes["vocab"], width)
        for i in range(sizes[side]):
            layer = f"{side}.layers.{i}"
            attention(f"{layer}.self_attn")
            norms = ["self_attn_layer_norm", "final_layer_norm"]
            if side == "decoder":
                attention(f"{layer}.encoder_attn")
                norms.append("encoder_attn_layer_norm")
            for name, rows, columns in (("fc1", sizes["ffn"], width), ("fc2", width, sizes["ffn"])):
                put(f"{layer}.{name}.weight", rows, columns)
                put(f"{layer}.{name}.bias", rows)
            for norm in norms:
                put(f"{layer}.{norm}.weight", width)
                put(f"{layer}.{norm}.bias", width)
    if share == "all":
        state["decoder.embed_tokens.weight"] = state["encoder.embed_tokens.weight"]
    else:
        put("decoder.embed_out", sizes["vocab"], width)
    return state


def options(sizes: dict[str, int], share: str, sub: dict[str, Any] | None) -> argparse.Namespace:
    """Return a command line as HAT stores it."""
    args: dict[str, Any] = {"arch": "transformersuper", "qkv_dim": sizes["qkv"], "dropout": 0.3}
    args |= {"share_all_embeddings": share == "all", "share_decoder_input_output_embed": share == "all"}
    args |= {"vocab_original_scaling": False, "max_source_positions": 40, "max_target_positions": 40}
    for side in ("encoder", "decoder"):
        args |= {f"{side}_embed_dim": sizes["width"], f"{side}_ffn_embed_dim": sizes["ffn"]}
        args |= {f"{side}_layers": sizes[side], f"{side}_attention_heads": sizes["heads"]}
        args |= {f"{side}_embed_choice": [24, 16], f"{side}_ffn_embed_dim_choice": [32, 16, 8]}
        args |= {f"{side}_normalize_before": False, f"{side}_learned_pos": False}
    args |= {"decoder_layer_num_choice": [3, 2, 1], "decoder_arbitrary_ende_attn_choice": [-1, 1, 2]}
    for name in ("encoder_self", "decoder_self", "decoder_ende"):
        args[f"{name}_attention_heads_choice"] = [4, 2]
    for name in SUB:
        args[f"{name}_subtransformer"] = sub[name] if sub else None
    return argparse.Namespace(**args)


def written(path: Path, args: argparse.Namespace, state: Any, older: bool = True) -> Path:
    found = {"args": args, "model": state, "extra_state": {"best": 1.0}, "optimizer_history": []}
    torch.save(found, path, _use_new_zipfile_serialization=not older)
    return path


def forward(w: dict[str, Tensor], sub: dict[str, Any], source: Tensor, target: Tensor, qkv: int) -> Tensor:
    """HAT's forward pass over its own tensors, as its paper and its layout have it; no padding."""
    enc, dec = sub["encoder_embed_dim"], sub["decoder_embed_dim"]
    table = position_table(40, w["encoder.embed_tokens.weight"].shape[1])

    def embed(side: str, tokens: Tensor, width: int) -> Tensor:
        return (
            w[f"{side}.embed_tokens.weight"][tokens][..., :width] * math.sqrt(width)
            + table[: tokens.shape[1], :width]
        )

    def norm(x: Tensor, name: str) -> Tensor:
        d = x.shape[-1]
        return F.layer_norm(x, (d,), w[f"{name}.weight"][:d], w[f"{name}.bias"][:d])

    def linear(x: Tensor, name: str, out: int) -> Tensor:
        return x @ w[f"{name}.weight"][:out, : x.shape[-1]].t() + w[f"{name}.bias"][:out]

    def attention(x: Tensor, y: Tensor, name: str, heads: int, causal: bool = False) -> Tensor:
        weight, bias = w[f"{name}.in_proj_weight"], w[f"{name}.in_proj_bias"]
        parts = []
        for i, z in enumerate((x, y, y)):
            rows = slice(i * qkv, (i + 1) * qkv)
            part = z @ weight[rows, : z.shape[-1]].t() + bias[rows]
            parts.append(part.view(*part.shape[:2], heads, -1).transpose(1, 2))
        score = parts[0] @ parts[1].transpose(-1, -2) / math.sqrt(qkv // heads)
        if causal:
            score = score.masked_fill(torch.ones(score.shape[-2:]).triu(1).bool(), float("-inf"))
        return linear(
            (score.softmax(-1) @ parts[2]).transpose(1, 2).flatten(2), f"{name}.out_proj", x.shape[-1]
        )

    def feed_forward(x: Tensor, name: str, inner: int) -> Tensor:
        y = linear(linear(x, f"{name}.fc1", inner).relu(), f"{name}.fc2", x.shape[-1])
        return norm(x + y, f"{name}.final_layer_norm")

    x, states = embed("encoder", source, enc), []
    for i in range(sub["encoder_layer_num"]):
        name = f"encoder.layers.{i}"
        heads = sub["encoder_self_attention_heads_all"][i]
        x = norm(x + attention(x, x, f"{name}.self_attn", heads), f"{name}.self_attn_layer_norm")
        x = feed_forward(x, name, sub["encoder_ffn_embed_dim_all"][i])
        states.append(x)
    x = embed("decoder", target, dec)
    for i in range(sub["decoder_layer_num"]):
        name = f"decoder.layers.{i}"
        heads, cross = sub["decoder_self_attention_heads_all"][i], sub["decoder_ende_attention_heads_all"][i]
        reach = {-1: 1, 1: 2, 2: 3}[sub["decoder_arbitrary_ende_attn_all"][i]]
        memory = torch.cat([states[-1 - k] for k in range(reach)], dim=1)
        x = norm(x + attention(x, x, f"{name}.self_attn", heads, True), f"{name}.self_attn_layer_norm")
        x = norm(x + attention(x, memory, f"{name}.encoder_attn", cross), f"{name}.encoder_attn_layer_norm")
        x = feed_forward(x, name, sub["decoder_ffn_embed_dim_all"][i])
    output = w["decoder.embed_out"] if "decoder.embed_out" in w else w["decoder.embed_tokens.weight"]
    return x @ output[:, :dec].t()


def yaml(path: Path, sub: dict[str, Any]) -> Path:
    lines = ["# a sub-network", "arch: transformersuper", "dropout: 0.375", "encoder-embed-dim: 24"]
    lines += [f"{name.replace('_', '-')}-subtransformer: {value}  # yes" for name, value in sub.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("older", [True, False], ids=["before-1.6", "zip"])
@pytest.mark.parametrize("share", ["all", "none"])
def test_a_sub_network_answers_as_hats_own_forward_pass(tmp_path: Path, share: str, older: bool) -> None:
    state = state_of(SMALL, share)
    path = written(tmp_path / "sub.pt", options(SMALL, share, SUB), state, older)
    found = hat.network(path)
    source = torch.randint(4, 30, (3, 7), generator=torch.Generator().manual_seed(2))
    target = source[:, :5]
    ours = found.network()(source, target)
    assert torch.allclose(ours, forward(state, SUB, source, target, SMALL["qkv"]), atol=1e-4)
    assert found.family.config.share == share
    found.save(tmp_path / "exported")
    again, about = export.load(tmp_path / "exported")
    assert torch.equal(again(source, target), ours)
    assert about["architecture"]["decoder_cross_source"] == [2, 1]


def test_a_supernet_with_a_yaml_file_is_that_sub_network(tmp_path: Path) -> None:
    state = state_of(SMALL, "all")
    path = written(tmp_path / "super.pt", options(SMALL, "all", None), state)
    whole, part = hat.network(path), hat.network(path, yaml(tmp_path / "sub.yml", SUB))
    assert whole.architecture == whole.family.space.largest()
    assert part.architecture == from_hat(whole.family.space, SUB)
    net = hat.supernet(path)
    source = torch.randint(4, 30, (2, 6), generator=torch.Generator().manual_seed(3))
    expected = forward(state, SUB, source, source, SMALL["qkv"])
    assert torch.allclose(net.export(part.architecture)(source, source), expected, atol=1e-4)
    assert whole.family.space.size() > 1000


def test_all_28_published_configurations_have_their_published_size(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "published" / "hat_subtransformers.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    rows = json.loads(path.read_text())["sub_networks"]
    assert len(rows) == 28
    for row in rows:
        iwslt = row["published"]["task"].startswith("IWSLT")
        share, space = ("none", get_space("hat-space1")) if iwslt else ("all", get_space("hat-space0"))
        sizes = {
            "width": 640,
            "qkv": 512,
            "encoder": 6,
            "decoder": 6,
            "vocab": 8,
            "ffn": 2048 if iwslt else 3072,
        }
        weights = layout.to_weights(state_of(sizes, share, "meta"), share)
        family = Seq2SeqFamily(space, Seq2SeqConfig(8, 8, share=share))
        config = hat.read_config(yaml(tmp_path / "sub.yml", row["architecture"]))
        cut = layout.cut(weights, family, from_hat(space, config))
        count = sum(w.numel() for name, w in cut.items() if not name.startswith(family.outside))
        assert f"{count / 1e6:.2f}" == f"{row['published']['params_m']:.2f}", row["name"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "decoder-layer-num-subtransformer: !!python/object/apply:os.system ['true']",
            "'true' is no whole number",
        ),
        ("decoder-layer-num-subtransformer: 2.5", "line 14: '2.5' is no whole number"),
        ("decoder-layer-num-subtransformer: {a: 1}", "a mapping is no whole number"),
        ("decoder-layer-num-subtransformer: []", "is no whole number"),
        ("decoder-layer-num-subtransformer: " + "[" * 200_000, "no readable YAML file .nested too deeply"),
        ("decoder-layer-num-subtransformer: [1", "no readable YAML file"),
        ("decoder-layer-num-subtransformer: 5", "5 is not in space"),
        ("", "lacks decoder-layer-num-subtransformer"),
    ],
)
def test_a_bad_yaml_file_is_one_message(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path / "super.pt", options(SMALL, "all", None), state_of(SMALL, "all"))
    config = yaml(tmp_path / "sub.yml", {k: v for k, v in SUB.items() if k != "decoder_layer_num"})
    config.write_text(config.read_text() + line + "\n")
    with pytest.raises(ValueError, match=message):
        hat.network(path, config)


def test_yaml_as_pyyaml_writes_it(tmp_path: Path) -> None:
    fields = {f"{k.replace('_', '-')}-subtransformer": v for k, v in SUB.items()}
    expected = hat.read_config(yaml(tmp_path / "ours.yml", SUB))
    path = tmp_path / "theirs.yml"
    texts = [
        pyyaml.safe_dump(
            fields | {"lr": 1e-7, "user-dir": "a: b", "nested": {"deep": [1]}}, default_flow_style=False
        ),
        pyyaml.safe_dump(fields, default_flow_style=False, default_style='"'),
        pyyaml.safe_dump(fields, indent=4, explicit_start=True, explicit_end=True, width=20),
        "".join(f"{k}: {v if isinstance(v, list) else float(v)}\n" for k, v in fields.items()),
    ]
    for text in texts:
        for raw in (text.encode(), text.encode("utf-8-sig"), text.replace("\n", "\r\n").encode()):
            path.write_bytes(raw)
            assert hat.read_config(path) == expected


def test_other_models_are_named(tmp_path: Path) -> None:
    state = state_of(SMALL, "all")
    less = OrderedDict(state)
    del less["encoder.layers.1.fc1.bias"]
    more = OrderedDict(state) | {"encoder.layers.0.fc1.experts": torch.zeros(1)}
    for broken, message in ((less, "layers.1.fc1.bias"), (more, "fc1.experts"), ({}, "it has no encoder")):
        path = written(tmp_path / "broken.pt", options(SMALL, "all", None), broken)
        with pytest.raises(ValueError, match=message):
            hat.network(path)
    for name, value, message in (
        ("encoder_normalize_before", True, "encoder_normalize_before"),
        ("encoder_layers", 10**12, "encoder_layers is 1000000000000, not a number from 1 to 65536"),
        ("decoder_layers", 6, "states 6 decoder layers and has 3"),
        ("qkv_dim", "16", "qkv_dim is '16', not a number from 1 to 65536"),
        ("encoder_embed_choice", argparse.Namespace(), "cannot be imported"),
    ):
        args = options(SMALL, "all", None)
        setattr(args, name, value)
        with pytest.raises(ValueError, match=message):
            hat.network(written(tmp_path / "other.pt", args, state))
    with pytest.raises(ValueError, match="31 symbols and the checkpoint embeds 30"):
        hat.network(written(tmp_path / "good.pt", options(SMALL, "all", None), state), vocab=(30, 31))
