"""``generate`` of exported translators against our beam search."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from supernet import seq2seq
from supernet.decode import translate
from tests.unit.supernet.interop.networks import (
    exported,
    of,
    pair_family,
)

transformers = pytest.importorskip("transformers", reason="needs the extra huggingface")

from supernet.interop.huggingface import export, generation, stock


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
