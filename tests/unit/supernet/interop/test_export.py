"""Exported sub-networks in transformers and CTranslate2, and supernets that start from transformers' weights.
The oracle is the real runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from supernet import resnet, seq2seq, vision_language, vit
from supernet.bert import BertConfig, family_of
from supernet.decode import translate
from supernet.elastic import SuperNet
from supernet.export import CorruptExportError
from supernet.finetune import Classifier
from supernet.interop.errors import InexpressibleError, MissingPackageError, UnreadableModelError, require
from supernet.space import get_space
from supernet.weights import SharedSlices

transformers = pytest.importorskip("transformers", reason="needs the extra huggingface")

from supernet.interop.huggingface import export, generation, stock, vocabularies, warm_start  # noqa: E402
from tests.processor import needs_vnni

STOCK, OWN = "stock", "own"


def text_family(space: str, **config):
    return family_of(get_space(space))(get_space(space), BertConfig(50, **{"max_positions": 24, **config}))


def image_family(space: str = "vit-smoke", **config):
    return vit.ViTFamily(get_space(space), vit.ViTConfig(**{"classes": 5, "image": 8, **config}))


def question_family(vocab: int = 20):
    config = vision_language.VLConfig(5, image=32, vocab=vocab, text=6)
    return vision_language.VLFamily(get_space("vl-smoke"), config)


def residual_family():
    space = get_space("resnet-smoke")
    return resnet.ResNetFamily(space, resnet.ResNetConfig(classes=5, image=16))


def pair_family(share: str):
    config = seq2seq.Seq2SeqConfig(40, 40, share=share, max_positions=32)
    return seq2seq.Seq2SeqFamily(get_space("mt-smoke"), config)


def exported(family, architecture):
    """A sub-network with weights that no initialisation leaves at zero or one, and what export says of it."""
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(1)))
    module, generator = net.export(architecture), torch.Generator().manual_seed(2)
    for parameter in module.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return module, {"spec": family.spec(), "architecture": architecture.to_dict()}


def of(family, seed: int, **edits):
    space = family.space
    values = space.sample(np.random.default_rng(seed)) if seed else space.largest()
    return space.architecture({**values.to_dict(), **edits})


CASES = {
    "homogeneous": (lambda: text_family("autodistil-smoke-small"), 0, {"width": 32, "heads": 2}, STOCK),
    "wide heads": (lambda: text_family("autodistil-smoke-small"), 0, {"heads": 2}, OWN),
    "bottleneck": (lambda: text_family("supershaper-smoke"), 3, {}, OWN),
    "cells": (lambda: text_family("nas-bert-smoke"), 4, {}, OWN),
    "images": (image_family, 0, {}, STOCK),
    "mixed images": (image_family, 5, {}, OWN),
    "residual": (residual_family, 5, {}, OWN),
    "questions": (question_family, 5, {}, OWN),
    **{
        f"pairs, share {share}": (
            lambda share=share: pair_family(share),
            0,
            {"decoder_cross_source": [-1, -1]},
            STOCK,
        )
        for share in ("all", "decoder", "none")
    },
    "two sources": (lambda: pair_family("all"), 0, {"decoder_cross_source": [1, -1]}, OWN),
    "two widths": (lambda: pair_family("none"), 6, {"encoder_embed_dim": 32}, OWN),
}


@pytest.mark.parametrize("name", CASES)
def test_a_folder_of_transformers_gives_the_logits_of_the_export(name, tmp_path):
    make, seed, edits, kind = CASES[name]
    family = make()
    module, about = exported(family, of(family, seed, **edits))
    model = export.to_huggingface(module, about)
    assert type(model).__name__.startswith("Supernet") == (kind == OWN)
    assert export.save(model, module, tmp_path) < export.CLOSE
    assert not list(tmp_path.glob("*.bin")) and not list(tmp_path.glob("*.py"))


@pytest.mark.parametrize("name", ["homogeneous", "bottleneck", "cells"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_fine_tuned_encoders_too_with_padding(name, outputs, tmp_path):
    make, seed, edits, kind = CASES[name]
    family = make()
    module, about = exported(family, of(family, seed, **edits))
    classifier = Classifier(module, outputs, 1).eval()
    with torch.no_grad():
        classifier.out.weight.mul_(50)  # untrained, it says nearly the same of everything
    model = export.to_huggingface(classifier, about)
    assert export.save(model, classifier, tmp_path) < export.CLOSE
    given = export.sample(classifier)
    blind = model(**{**given, "attention_mask": torch.ones_like(given["input_ids"])}).logits
    assert not torch.allclose(blind[0], model(**given).logits[0], atol=1e-4)  # the mask is heeded


def test_a_copy_that_differs_is_refused(tmp_path):
    family = text_family("bert-smoke")
    module, about = exported(family, of(family, 0))
    model = export.to_huggingface(module, about)
    next(module.parameters()).data.mul_(1.5)
    with pytest.raises(export.OutputMismatchError, match="differ by"):
        export.save(model, module, tmp_path)


def test_own_classes_load_in_a_process_that_imports_one_module(tmp_path):
    family = text_family("supershaper-smoke")
    module, about = exported(family, of(family, 3))
    export.save(export.to_huggingface(module, about), module, tmp_path)
    code = (
        "import sys, torch, supernet.interop.huggingface.automodels\nfrom transformers import"
        " AutoModelForMaskedLM\n"
        "model = AutoModelForMaskedLM.from_pretrained(sys.argv[1])\n"
        "print(model(torch.arange(5, 15)[None]).logits.double().sum().item())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert float(ran.stdout.split()[-1]) == pytest.approx(
        module(torch.arange(5, 15)[None]).double().sum().item()
    )


@pytest.mark.parametrize("stock_class", [True, False])
def test_generate_translates_as_our_beam_search_does(stock_class, tmp_path):
    family = pair_family("all")
    module, about = exported(family, of(family, 0, decoder_cross_source=[-1, -1]))
    model = stock.model_of(module) if stock_class else export.registered(module, about)
    export.save(model, module, tmp_path)
    model = export.reload(model, tmp_path)
    generator = torch.Generator().manual_seed(0)
    sources = [torch.randint(4, 40, (n,), generator=generator).tolist() for n in (5, 7, 9, 3)]
    ours = translate(module, sources, beam=1, max_len_a=0, max_len_b=9)
    ids = torch.full((4, 10), seq2seq.PAD)
    for i, source in enumerate(sources):
        ids[i, : len(source) + 1] = torch.tensor([*source, seq2seq.EOS])
    mask = (ids != seq2seq.PAD).long()
    found = model.generate(input_ids=ids, attention_mask=mask, num_beams=1, do_sample=False, max_length=11)
    for hypothesis, theirs in zip(ours, found.tolist(), strict=True):
        wanted = [seq2seq.EOS, *hypothesis.tokens]
        assert theirs[: len(wanted)] == wanted


def test_tokenizers_travel(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    from benchmarks.tasks import corpus, text

    lines = ["the cat sat on the mat", "a dog saw the cats", "the mat is on a dog", "cats and dogs"] * 20
    pieces = text.learn(lines, 45)
    (tmp_path / "pieces.json").write_text(pieces.to_str())
    vocabularies.save_word_pieces(tmp_path / "pieces.json", tmp_path / "encoder", 24)
    found = transformers.AutoTokenizer.from_pretrained(tmp_path / "encoder")
    ids = [pieces.encode(line).ids for line in lines[:2]]
    assert found(*lines[:2])["input_ids"] == [2, *ids[0], 3, *ids[1], 3]
    assert found(*lines[:2])["token_type_ids"] == [0] * (len(ids[0]) + 2) + [1] * (len(ids[1]) + 1)
    assert found.mask_token_id == 4 and found.pad_token_id == 0 and found.model_max_length == 24
    assert isinstance(pieces, tokenizers.Tokenizer)

    (tmp_path / "vocabulary.model").write_bytes(corpus.learn(lines, 45))
    ours = corpus.load_vocabulary(tmp_path)
    vocabularies.save_subwords(tmp_path / "vocabulary.model", tmp_path / "pairs", 32)
    found = transformers.AutoTokenizer.from_pretrained(tmp_path / "pairs")
    for line in (*lines[:4], "an unseen Zebra, too: ä!"):
        assert found(line)["input_ids"] == [*ours.encode(line), seq2seq.EOS]
    for line in lines[:4]:
        assert found.decode(ours.encode(line), skip_special_tokens=True) == ours.decode(ours.encode(line))


@pytest.fixture(scope="module")
def translator():
    """A network that has learnt to say a sentence backwards in other words."""
    family = pair_family("all")
    architecture = of(family, 0, decoder_cross_source=[-1, -1])
    module = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(1))).export(architecture)
    module.requires_grad_(True)
    generator = torch.Generator().manual_seed(3)
    optimiser = torch.optim.Adam(module.parameters(), 2e-3)
    for _ in range(150):
        source, target = pairs(64, generator)
        logits = module(source, F.pad(target[:, :-1], (1, 0), value=seq2seq.EOS))
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=seq2seq.PAD)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return module.eval().requires_grad_(False)


def pairs(rows: int, generator: torch.Generator):
    source = torch.full((rows, 8), seq2seq.PAD)
    target = source.clone()
    for i, n in enumerate(torch.randint(2, 7, (rows,), generator=generator).tolist()):
        words = torch.randint(4, 40, (n,), generator=generator)
        source[i, : n + 1] = torch.cat([words, torch.tensor([seq2seq.EOS])])
        target[i, : n + 1] = torch.cat([43 - words, torch.tensor([seq2seq.EOS])])
    return source, target


@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=needs_vnni)])
@pytest.mark.parametrize(
    "name", ["homogeneous", "bottleneck", "cells", "mixed images", "questions", "trained pairs"]
)
def test_onnx_runtime_says_the_same(name, precision, translator, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet.interop import onnx
    from supernet.quantization import precisions

    module, given = translator, pairs(64, torch.Generator().manual_seed(5))
    if name in CASES:
        make, seed, edits, _ = CASES[name]
        family = make()
        module, _ = exported(family, of(family, seed, **edits))
    policy = precisions.uniform_int8(module) if precision == "int8" else None
    given = () if name in CASES else (given[0], F.pad(given[1][:, :-1], (1, 0), value=seq2seq.EOS))
    found = onnx.write(module, tmp_path, policy, given)
    assert found["agreeing"] >= 0.995 and (policy or found["apart"] <= 1e-4)
    sizes = sum(path.stat().st_size for path in tmp_path.glob("*.onnx"))
    onnx.write(module, tmp_path / "fp32")
    whole = sum(path.stat().st_size for path in tmp_path.glob("fp32/*.onnx"))
    assert sizes < 0.8 * whole if policy else sizes == whole  # int8 is really int8


def test_onnx_translators_that_read_two_layers(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet.interop import onnx

    family = pair_family("none")
    module, _ = exported(family, of(family, 0, decoder_cross_source=[1, -1], encoder_embed_dim=32))
    assert onnx.write(module, tmp_path)["apart"] <= 1e-4


@pytest.mark.parametrize(("own", "cross"), [([4, 2], [2, 4]), ([2, 2], [4, 4]), ([4, 4], [2, 2])])
def test_onnx_translators_whose_attentions_differ_in_heads(own, cross, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet.interop import onnx

    family = pair_family("none")
    module, _ = exported(family, of(family, 0, decoder_self_heads=own, decoder_cross_heads=cross))
    assert onnx.write(module, tmp_path)["apart"] <= 1e-4


def test_the_latency_workload_is_the_same_one_in_onnx_runtime(translator, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet import decode
    from supernet.interop import onnx

    onnx.write(translator, tmp_path)
    source = torch.tensor([[4, 4, 4, 2]])
    with torch.no_grad():
        due = decode.forced_steps(translator, source, 5, 3)
    served = onnx.forced_steps(tmp_path, source, 5, 3)
    for _ in range(2):  # it begins anew each time
        torch.testing.assert_close(served(), due, atol=1e-4, rtol=1e-4)


def test_an_onnx_file_that_differs_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet.interop import onnx

    family = image_family()
    module, _ = exported(family, of(family, 0))
    right = onnx._single_graph(module, [export.sample(module, 2)["pixel_values"]], None)
    next(module.parameters()).data.mul_(1.5)
    monkeypatch.setattr(onnx, "_single_graph", lambda *_: right)
    with pytest.raises(export.OutputMismatchError, match="differ by"):
        onnx.write(module, tmp_path)
    (tmp_path / "model.onnx").write_bytes(right[:500])
    with pytest.raises(CorruptExportError, match="not a model of ONNX Runtime"):
        onnx.load(tmp_path / "model.onnx")


# CTranslate2


VOCABULARY = ["<s>", "<pad>", "</s>", "<unk>", *(f"w{i}" for i in range(36))]
TRANSLATORS = [
    ("all", {}),
    ("none", {"encoder_embed_dim": 32}),
    ("decoder", {"decoder_embed_dim": 32, "encoder_ffn": [128, 32], "encoder_heads": [2, 2]}),
]


@pytest.mark.parametrize(("share", "edits"), TRANSLATORS)
def test_ctranslate2_gives_the_log_probabilities_of_the_export(share, edits, tmp_path):
    pytest.importorskip("ctranslate2", reason="needs the extra ctranslate2")
    from supernet.interop import ctranslate2

    family = pair_family(share)
    module, _ = exported(family, of(family, 0, decoder_cross_source=[-1, -1], **edits))
    ctranslate2.convert(module, VOCABULARY, tmp_path / "model")
    translator = ctranslate2.load(tmp_path / "model")
    generator = torch.Generator().manual_seed(0)
    for n in (1, 5, 20):
        source, target = torch.randint(4, 40, (2, n), generator=generator).tolist()
        words = [[[VOCABULARY[i] for i in side]] for side in (source, target)]
        (found,) = translator.score_batch(*words)
        with torch.no_grad():
            logits = module(torch.tensor([[*source, 2]]), torch.tensor([[2, *target]]))[0]
        wanted = F.log_softmax(logits, -1).gather(1, torch.tensor([*target, 2])[:, None])[:, 0]
        assert found.log_probs == pytest.approx(wanted.tolist(), abs=1e-4)


@pytest.mark.parametrize(("quantization", "apart"), [("", 0.2), pytest.param("int8", 5.0, marks=needs_vnni)])
def test_ctranslate2_translates_as_well(translator, quantization, apart, tmp_path):
    pytest.importorskip("ctranslate2", reason="needs the extra ctranslate2")
    import sacrebleu

    from supernet.interop import ctranslate2

    ctranslate2.convert(translator, VOCABULARY, tmp_path / "model", quantization)
    runtime = ctranslate2.load(tmp_path / "model")
    source, target = pairs(100, torch.Generator().manual_seed(4))
    sources = [[i for i in row if i > seq2seq.EOS] for row in source.tolist()]
    references = [" ".join(VOCABULARY[i] for i in row if i > seq2seq.EOS) for row in target.tolist()]
    ours = [" ".join(VOCABULARY[i] for i in found.tokens) for found in translate(translator, sources)]
    theirs = ctranslate2.translate(runtime, [[VOCABULARY[i] for i in row] for row in sources])
    bleu = [sacrebleu.corpus_bleu(x, [references]).score for x in (ours, [" ".join(x) for x in theirs])]
    assert bleu[0] > 10 and bleu[1] == pytest.approx(bleu[0], abs=apart)
    if not quantization:
        assert np.mean([a == " ".join(b) for a, b in zip(ours, theirs, strict=True)]) >= 0.98


def test_what_ctranslate2_has_no_words_for_is_refused_with_the_reason(tmp_path):
    pytest.importorskip("ctranslate2", reason="needs the extra ctranslate2")
    from supernet.interop import ctranslate2

    family = pair_family("all")
    for edits, why in (
        ({"decoder_cross_source": [1, -1]}, "last encoder layer"),
        ({"decoder_cross_source": [-1, -1], "decoder_self_heads": [4, 2]}, "number of heads"),
    ):
        module, _ = exported(family, of(family, 0, **edits))
        with pytest.raises(InexpressibleError, match=why):
            ctranslate2.convert(module, VOCABULARY, tmp_path / "model")
    module, _ = exported(family, of(family, 0, decoder_cross_source=[-1, -1]))
    with pytest.raises(ValueError, match="39 pieces"):
        ctranslate2.convert(module, VOCABULARY[:-1], tmp_path / "model")
    with pytest.raises(ValueError, match="choose one of"):
        ctranslate2.convert(module, VOCABULARY, tmp_path / "model", "int4")
    ctranslate2.convert(module, VOCABULARY, tmp_path / "model")
    weights = tmp_path / "model" / "model.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    for folder in (tmp_path / "model", tmp_path / "nothing"):
        with pytest.raises(CorruptExportError, match="not a model of CTranslate2"):
            ctranslate2.load(folder)


def test_a_runtime_that_is_not_there_is_named_with_what_to_type():
    with pytest.raises(MissingPackageError, match=r"pip install 'supernet-bench\[ctranslate2\]'"):
        require("a_package_that_nobody_has", "ctranslate2")


# Supernets that start from transformers' weights


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


def test_a_beit_with_relative_positions_says_what_is_left_out(tmp_path):
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
    with pytest.raises(InexpressibleError, match="'gpt2': a supernet starts from bert, vit, beit"):
        warm_start.read(folder, layered())


def decoded(family, edits, tmp_path, scale=1.5, **rules):
    """Translations of random sources: by ``supernet.decode``, and by plain ``generate`` of a saved copy."""
    module, about = exported(family, of(family, 0, **edits))
    for parameter in module.parameters():
        parameter.data.mul_(scale)
    model = export.to_huggingface(module, about)
    generation.configure(model, **rules)
    export.save(model, module, tmp_path)
    draws = np.random.default_rng(0)
    sources = [draws.integers(4, 40, draws.integers(1, 12)).tolist() for _ in range(24)]
    ours = [hypothesis.tokens for hypothesis in translate(module, sources, **rules)]
    return sources, ours, export.reload(model, tmp_path)


@pytest.mark.parametrize(
    ("share", "rules"), [("all", {"beam": 1}), ("all", {"beam": 4, "lenpen": 0.6}), ("none", {"min_len": 3})]
)
def test_generate_of_our_class_decodes_as_we_do_to_the_limit_of_each_sentence(share, rules, tmp_path):
    limits = {"max_len_a": 1.0, "max_len_b": 3}
    sources, ours, model = decoded(
        pair_family(share), {"decoder_cross_source": [1, -1]}, tmp_path, **rules, **limits
    )
    assert {len(tokens) - len(source) for tokens, source in zip(ours, sources, strict=True)} >= {4}
    assert generation.generate(model, sources) == ours
    padded = transformers.BatchEncoding(
        {"input_ids": torch.nn.utils.rnn.pad_sequence([torch.tensor([*s, 2]) for s in sources], True, 1)}
    )
    rows = model.generate(**padded).tolist()
    assert [row[1 : row.index(2, 1)] for row in rows] == ours


@pytest.mark.parametrize("rules", [{"beam": 1}, {"beam": 5, "lenpen": 0.6}])
def test_generate_of_a_stock_class_decodes_as_we_do_where_all_have_one_limit(rules, tmp_path):
    limits = {"max_len_a": 0.0, "max_len_b": 9}
    sources, ours, model = decoded(
        pair_family("all"), {"decoder_cross_source": [-1, -1]}, tmp_path, **rules, **limits
    )
    assert type(model).__name__ == "FSMTForConditionalGeneration"
    assert model.generation_config.max_new_tokens == 10
    theirs = generation.generate(model, sources)
    assert sum(a == b for a, b in zip(theirs, ours, strict=True)) >= 23  # its last end token is free
