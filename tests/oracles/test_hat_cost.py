"""Parameters and FLOPs against HAT's published counts (and those of its follow-up, on 60 more).

What HAT's counter counts (torchprofile on the traced model, batch 1, 30 source and 30 target
tokens on WMT, 23 and 23 on IWSLT, FLOPs = twice its count) was found by solving for it on the 60
exact counts of ``seed_architectures_wmt.json``: all matrix products, as ours, and besides them every
element-wise *multiplication* that its tracer sees. ``counted_besides`` states that rule; it holds
for all 60 to the last digit, and with it all 28 published GFLOPs come out to the printed digit.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from supernet.cost import Cost, cost
from supernet.space import Architecture, from_hat, get_space

torch = pytest.importorskip("torch")

from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily

QKV = 512
VOCABULARY = {"wmt14ende": 32768, "wmt19ende": 49600}


def counted_besides(arch: Architecture, tokens: int) -> int:
    """Return the public counter's additions to matrix products, one for each element:

    layer normalisation outputs, queries times 1/sqrt(head width), embeddings times sqrt(width),
    position numbers times the padding mask, and three products of scalars (batch times heads, for
    the shapes of q, k and v) an attention.
    """
    enc, dec = arch["encoder_embed_dim"], arch["decoder_embed_dim"]
    embeddings = tokens * (enc + dec) + 2 * tokens
    encoder_layer = 2 * tokens * enc + (tokens * QKV + 3)
    decoder_layer = 3 * tokens * dec + 2 * (tokens * QKV + 3)
    return embeddings + arch["encoder_layers"] * encoder_layer + arch["decoder_layers"] * decoder_layer


def published(data_dir: Path, name: str) -> Any:
    path = data_dir / "published" / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return json.loads(path.read_text())


def count(fields: dict[str, Any], space: str, vocab: int, tokens: int) -> tuple[Architecture, Cost]:
    hat_space = get_space(space)
    arch = from_hat(hat_space, fields)
    share = "none" if space == "hat-space1" else "all"
    family = Seq2SeqFamily(hat_space, Seq2SeqConfig(vocab, vocab, share=share))
    return arch, cost(family, arch, source_len=tokens, target_len=tokens)


def test_all_28_published_sub_networks(data_dir: Path) -> None:
    rows = published(data_dir, "hat_subtransformers.json")["sub_networks"]
    assert len(rows) == 28
    for row in rows:
        figures = row["published"]
        iwslt = figures["task"].startswith("IWSLT")
        tokens = 23 if iwslt else 30
        arch, ours = count(row["architecture"], "hat-space1" if iwslt else "hat-space0", 32768, tokens)
        where = row["name"]
        assert f"{ours.params_body / 1e6:.2f}" == f"{figures['params_m']:.2f}", where
        assert abs(2 * ours.macs_body / 1e9 - figures["gflops"]) <= 0.01, where
        theirs = 2 * (ours.macs_body + counted_besides(arch, tokens)) / 1e9
        assert f"{theirs:.2f}" == f"{figures['gflops']:.2f}", where


@pytest.mark.parametrize("task", sorted(VOCABULARY))
def test_60_exact_counts(data_dir: Path, task: str) -> None:
    rows = published(data_dir, "seed_architectures_wmt.json")["tasks"][task]
    assert len(rows) == 30
    for row in rows:
        arch, ours = count(row["architecture"], "hat-space0", VOCABULARY[task], 30)
        assert ours.params_body == row["params"]
        assert row["embedding_params"] == VOCABULARY[task] * arch["decoder_embed_dim"]
        besides = counted_besides(arch, 30)
        assert 2 * (ours.macs_body + besides) == row["flops_without_output_layer"]
        assert 2 * (ours.macs + besides) == row["flops"]
        assert besides / ours.macs_body < 0.001
