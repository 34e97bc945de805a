"""Supernets that start from the weights of transformers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from supernet import vit
from supernet.bert import BertConfig
from supernet.elastic import SuperNet
from supernet.interop.errors import InexpressibleError, UnreadableModelError
from supernet.weights import SharedSlices
from tests.unit.supernet.interop.networks import (
    image_family,
    text_family,
)

transformers = pytest.importorskip("transformers", reason="needs the extra huggingface")

from supernet.interop.huggingface import warm_start


def bert_folder(folder: Path, **config) -> Path:
    torch.manual_seed(0)
    made = transformers.BertConfig(
        **{
            "vocab_size": 50,
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "max_position_embeddings": 24,
            **config,
        }
    )
    model = transformers.BertForMaskedLM(made)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    model.save_pretrained(folder)
    return folder


def layered():
    from supernet.bert import LayeredBert
    from supernet.space import layered_space

    space = layered_space("s", layers=(2, 4), heads=(2, 4), ffn=(64, 128), hidden=64, head_dim=16)
    return LayeredBert(space, BertConfig(50, max_positions=24))


def started(family, folder, order="plain"):
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(1)))
    return net, warm_start.initialise(net, folder, order)


@pytest.mark.parametrize("order", warm_start.ORDERS)
def test_the_largest_sub_network_is_the_model_it_started_from(order, tmp_path):
    folder = bert_folder(tmp_path)
    net, told = started(layered(), folder, order)
    assert told.left_out == [] and len(told.sha256) == 64
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    tokens = torch.randint(5, 50, (2, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = model(tokens).logits
        found = net.export(net.space.largest())(tokens)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_sorted_by_norm_the_small_ones_have_the_largest_heads_and_channels(tmp_path):
    folder = bert_folder(tmp_path)
    theirs = transformers.BertForMaskedLM.from_pretrained(folder).bert.encoder.layer[0]
    net, _ = started(layered(), folder, "norm")
    small = net.export(net.space.architecture({"layers": 2, "heads": [2, 2], "ffn": [64, 64]}))
    rows = [getattr(theirs.attention.self, name).weight.abs().sum(1) for name in ("query", "key", "value")]
    size = (sum(rows) + theirs.attention.output.dense.weight.abs().sum(0)).view(4, 16).sum(1)
    best = size.argsort(descending=True)[:2]
    kept = small.ops["0_attention"].q.weight.view(2, 16, 64)
    assert torch.equal(kept, theirs.attention.self.query.weight.view(4, 16, 64)[best])
    channel = theirs.intermediate.dense.weight.abs().sum(1) + theirs.output.dense.weight.abs().sum(0)
    order = channel.argsort(descending=True)[:64]
    assert torch.equal(small.ops["0_feed_forward"].fc2.weight, theirs.output.dense.weight[:, order])


def test_special_tokens_come_first_and_words_keep_their_weights(tmp_path):
    folder = bert_folder(tmp_path)
    words = ["[PAD]", *(f"unused{i}" for i in range(6)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"w{i}" for i in range(50 - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    net, _ = started(layered(), folder)
    pieces = warm_start.pieces(folder)
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] and sorted(pieces) == sorted(words)
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    said = ["[CLS]", "w3", "[MASK]", "w5", "unused2", "[SEP]"]
    with torch.no_grad():
        theirs = model(torch.tensor([[words.index(word) for word in said]])).logits
        ours = net.export(net.space.largest())(torch.tensor([[pieces.index(word) for word in said]]))
    assert torch.allclose(ours, theirs[..., [words.index(piece) for piece in pieces]], atol=1e-4)


def test_supershaper_starts_from_the_model_through_identities(tmp_path):
    family = text_family("supershaper-smoke")
    constants, deepest = family.space.constants, len(family.largest["widths"])
    folder = bert_folder(
        tmp_path,
        hidden_size=constants["hub"],
        num_attention_heads=constants["heads"],
        intermediate_size=constants["ffn"],
        num_hidden_layers=deepest,
    )
    net, _ = started(family, folder)
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    tokens = torch.arange(5, 25)[None]
    assert family.largest["widths"] == (constants["hub"],) * deepest
    with torch.no_grad():
        assert torch.allclose(net.export(family.largest)(tokens), model(tokens).logits, atol=1e-4)


@pytest.mark.parametrize("kind", ["ViT", "Beit"])
@pytest.mark.parametrize("order", warm_start.ORDERS)
def test_image_supernets_start_from_vit_and_beit(kind, order, tmp_path):
    family = image_family()
    config = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 128}
    config |= {"image_size": 8, "patch_size": 2, "num_labels": 5, "layer_norm_eps": vit.EPS}
    if kind == "Beit":
        config |= {"use_absolute_position_embeddings": True, "use_mean_pooling": False}
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForImageClassification")(
        getattr(transformers, f"{kind}Config")(**config)
    ).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    model.save_pretrained(tmp_path)
    net, told = started(family, tmp_path, order)
    assert told.left_out == []
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, wanted = net.export(family.largest)(images), model(images).logits
    assert torch.allclose(found, wanted, atol=1e-4)


def test_a_beit_with_relative_positions_names_the_omitted_weights(tmp_path):
    config = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 128}
    config |= {"image_size": 8, "patch_size": 2, "num_labels": 7, "use_relative_position_bias": True}
    transformers.BeitForImageClassification(transformers.BeitConfig(**config)).save_pretrained(tmp_path)
    _, told = started(image_family(), tmp_path)
    left = " ".join(told.left_out)
    assert "relative positions" in left and "head.weight" in left and "embedding.position" in left


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"vocab_size": 60}, "word pieces: 60 in the model, 50"),
        ({"num_attention_heads": 8}, "channels of a head: 8 in the model, 16"),
        ({"num_hidden_layers": 2}, "2 layers, the supernet up to 4"),
        ({"intermediate_size": 64}, "cut, not made larger"),
        ({"hidden_act": "relu"}, "activation"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_the_reason(config, why, tmp_path):
    with pytest.raises(InexpressibleError, match=why):
        warm_start.read(bert_folder(tmp_path, **config), layered())


@pytest.mark.parametrize("shards", [1, 3])
def test_pickled_weights_are_read_without_executing_them(shards, tmp_path):
    folder = bert_folder(tmp_path / "bert")
    expected, digest = warm_start.read(folder, layered()), warm_start.digest(folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = list(weights)
    for shard in range(shards):
        part = {name: weights[name] for name in names[shard::shards]}
        name = f"pytorch_model-{shard + 1:05}-of-{shards:05}.bin" if shards > 1 else "pytorch_model.bin"
        torch.save(part, folder / name)
    warm_start.check_whole(folder)
    start = warm_start.read(folder, layered())
    assert start.weights.keys() == expected.weights.keys() and warm_start.digest(folder) != digest
    assert all(torch.equal(start.weights[name], weight) for name, weight in expected.weights.items())


def test_json_nested_beyond_reading_is_one_sentence(tmp_path):
    folder, deep = bert_folder(tmp_path / "bert"), "[" * 100_000
    (folder / "vocab.txt").write_text("[PAD]")
    (folder / "tokenizer_config.json").write_text(deep)
    with pytest.raises(UnreadableModelError, match="cannot be read"):
        warm_start.pieces(folder)
    (folder / "vocab.txt").unlink()
    (folder / "tokenizer.json").write_text(deep)
    with pytest.raises(UnreadableModelError, match="not a vocabulary"):
        warm_start.vocabulary(folder)
    (folder / "config.json").write_text(deep)
    with pytest.raises(UnreadableModelError, match=r"config.json cannot be read"):
        warm_start.read(folder, layered())


def test_bad_folders_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(UnreadableModelError, match=r"config.json cannot be read"):
        warm_start.read(tmp_path / "nothing", layered())
    folder = bert_folder(tmp_path / "bert")
    with pytest.raises(InexpressibleError, match="a supernet of kind vit cannot start from"):
        warm_start.read(folder, image_family())
    with pytest.raises(ValueError, match="choose one of plain, norm"):
        warm_start.read(folder, layered(), "random")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(UnreadableModelError, match="its weights cannot be read"):
        warm_start.read(folder, layered())
    weights.unlink()
    torch.save({"a": [1]}, folder / "pytorch_model.bin")
    with pytest.raises(UnreadableModelError, match="its weights cannot be read .it holds other things"):
        warm_start.read(folder, layered())
    torch.save({"a": os.mkdir}, folder / "pytorch_model.bin")
    with pytest.raises(UnreadableModelError, match="carries code"):
        warm_start.read(folder, layered())
    with pytest.raises(UnreadableModelError, match="carries code"):
        warm_start.check_whole(folder)
    other = json.loads((folder / "config.json").read_text()) | {"model_type": "gpt2"}
    (folder / "config.json").write_text(json.dumps(other))
    with pytest.raises(
        InexpressibleError, match="'gpt2': a supernet starts from bert, distilbert, vit, beit"
    ):
        warm_start.read(folder, layered())
