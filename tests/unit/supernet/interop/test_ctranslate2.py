"""Exported translators in CTranslate2, which is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from supernet import seq2seq
from supernet.decode import translate
from supernet.export import CorruptExportError
from supernet.interop.errors import InexpressibleError
from tests.processor import needs_vnni
from tests.unit.supernet.interop.networks import (
    exported,
    of,
    pair_family,
    pairs,
)

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


def test_networks_that_ctranslate2_cannot_represent_are_refused_with_the_reason(tmp_path):
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
