"""LiteTransformerSearch: its count against PyTorch's, its winners against enumeration."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from baselines.lts import LTS, parameter_count
from supernet.bert import BertConfig, HomogeneousBert
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space, seq2seq_space

SPACE = seq2seq_space(
    "tiny",
    embed=(8, 16),
    ffn=(8, 16),
    heads=(2,),
    qkv_dim=8,
    encoder_layers=1,
    decoder_layers=(3, 2, 1),
    cross_source=(-1,),
)
FAMILY = Seq2SeqFamily(SPACE, Seq2SeqConfig(12, 12, max_positions=16))


def test_counts_are_those_of_the_modules() -> None:
    rng = np.random.default_rng(0)
    for _ in range(8):
        architecture = SPACE.sample(rng)
        module = FAMILY.build(architecture)
        decoder = sum(p.numel() for p in module.decoder.parameters())
        encoder = sum(p.numel() for p in module.encoder.parameters())
        assert parameter_count(FAMILY, "decoder")(architecture) == decoder
        assert parameter_count(FAMILY, "body")(architecture) == decoder + encoder


def test_an_encoder_counts_its_body() -> None:
    space = get_space("bert-smoke")
    family = HomogeneousBert(space, BertConfig(50, max_positions=16))
    counts = [parameter_count(family, which)(space.largest()) for which in ("decoder", "body")]
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("limit", [6_000.0, 9_000.0])
def test_the_winner_is_the_largest_decoder_within_the_limit(
    limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from baselines import lts

    cost = {a: parameter_count(FAMILY, "body")(a) for a in SPACE}
    decoder = parameter_count(FAMILY, "decoder")
    trained: list[object] = []
    monkeypatch.setattr(lts, "reachable_limits", lambda lab, space: list(lab.limits))
    monkeypatch.setattr(
        lts,
        "limit_tests",
        lambda lab, space: lambda most: lambda some: np.array([cost[a] <= most for a in some], dtype=bool),
    )
    monkeypatch.setattr(lts, "train", lambda lab, net, sampling, share, name: trained.append(share) or net)
    settings = {
        "parents": 10,
        "mutants": 40,
        "crossovers": 40,
        "generations": 12,
        "mutation_probability": 0.3,
    }
    lab = SimpleNamespace(
        space=SPACE,
        rng=np.random.default_rng(1),
        limits=(limit, 1e9),
        options={"count": "decoder"},
        task=SimpleNamespace(settings=settings),
        phase=lambda name: __import__("contextlib").nullcontext(),
        progress=lambda *a: None,
        supernet=lambda only=None: SimpleNamespace(family=FAMILY, only=only),
        candidate=lambda net, a, origin, target: (a, origin, target),
    )
    (best, origin, target), (largest, _, _) = LTS().search(lab)  # type: ignore[arg-type,misc]
    assert decoder(best) == max(decoder(a) for a in cost if cost[a] <= limit)
    assert (origin, target, trained) == ("scratch", limit, [0.5, 0.5])
    assert decoder(largest) == decoder(SPACE.largest())
