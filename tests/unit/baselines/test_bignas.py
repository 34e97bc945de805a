"""BigNAS: in-place distillation against the formula, dropout for the largest alone, coarse then fine."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines.bignas import DistilledWithoutDropout, alike, coarse_to_fine
from supernet.cost import parameters
from supernet.families import family_of
from supernet.pipeline import find_at_random, find_by_evolution
from supernet.space import get_space, seq2seq_space

SPACE = seq2seq_space(
    "tiny",
    embed=(8, 16),
    ffn=(8, 16, 24),
    heads=(2, 4),
    qkv_dim=8,
    encoder_layers=2,
    decoder_layers=(3, 2, 1),
)


def coarse_to_fine_by_half(lab, score, allowed, evaluations, known):
    return coarse_to_fine(lab, score, allowed, evaluations, known, 0.5)


class Noisy(torch.nn.Module):
    """Logits of its weights, through dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(6, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(x @ self.weight, 0.5, self.training)


def test_children_learn_from_the_largest_without_dropout() -> None:
    torch.manual_seed(0)
    model, x = Noisy().train(), torch.randn(3, 6)
    batch = SimpleNamespace(inputs=(x,), labels=torch.tensor([0, 1, 2]))
    objective = DistilledWithoutDropout(0.0, distill=True)
    torch.manual_seed(1)
    first, teacher = objective(model, batch, None)
    torch.manual_seed(1)
    logits = torch.nn.functional.dropout(x @ model.weight, 0.5, True)
    torch.testing.assert_close(
        first, torch.nn.functional.cross_entropy(logits, batch.labels, reduction="sum")
    )
    assert not teacher.requires_grad
    child, same = objective(model, batch, teacher)
    expected = -(teacher.softmax(-1) * (x @ model.weight).log_softmax(-1)).sum()
    torch.testing.assert_close(child, expected)
    assert same is teacher and model.training


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_the_childrens_loss_may_be_of_labels(share: float) -> None:
    torch.manual_seed(0)
    model, x = Noisy().train(), torch.randn(3, 6)
    batch = SimpleNamespace(inputs=(x,), labels=torch.tensor([0, 1, 2]))
    teacher = torch.randn(3, 4)
    loss, same = DistilledWithoutDropout(0.0, distill=True, labels=share)(model, batch, teacher)
    scores = (x @ model.weight).log_softmax(-1)
    soft, hard = -(teacher.softmax(-1) * scores).sum(), -scores[range(3), batch.labels].sum()
    torch.testing.assert_close(loss, (1 - share) * soft + share * hard)
    assert same is teacher and model.training


def test_a_genotype_of_equal_layers_is_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        architecture = SPACE.from_genes(alike(SPACE, rng))
        assert all(len(set(v)) == 1 for v in architecture.values() if isinstance(v, tuple))


def test_coarse_search_takes_its_share_and_the_fine_one_comes_to_the_optimum() -> None:
    known: dict = {}
    scored: list = []
    lab = SimpleNamespace(
        space=SPACE,
        rng=np.random.default_rng(2),
        task=SimpleNamespace(settings={"mutation_probability": 0.3}),
        progress=lambda *a: None,
    )

    def score(architecture) -> float:
        scored.append(architecture)
        odd = sum(i * w for i, w in enumerate(architecture["decoder_ffn"]))
        return (
            abs(architecture["encoder_embed_dim"] - 16)
            + abs(sum(architecture["encoder_ffn"]) - 32)
            + odd / 100
        )

    def allowed(some) -> np.ndarray:
        return np.array([a["decoder_layers"] <= 2 for a in some], dtype=bool)

    best = coarse_to_fine(lab, score, allowed, 300, known, 0.2)  # type: ignore[arg-type]
    assert len(scored) == len(set(scored)) <= 300
    coarse = scored[:40]
    assert sum(all(len(set(v)) == 1 for v in a.values() if isinstance(v, tuple)) for a in coarse) >= 35
    assert all(a["decoder_layers"] <= 2 for a in scored)
    assert known[best] == min(known.values()) and best["encoder_embed_dim"] == 16
    assert sum(best["encoder_ffn"]) == 32


@pytest.mark.parametrize("find", [find_by_evolution, find_at_random, coarse_to_fine_by_half])
def test_every_search_finds_a_network_in_a_window_that_no_network_of_equal_layers_meets(find) -> None:
    space = get_space("supershaper-smoke")
    family = family_of(space, (700,))

    @cache
    def size(architecture) -> int:
        return parameters(family, architecture)

    alike_sizes = [size(space.architecture({"widths": [w] * 4})) for w in space.choice("widths").options]
    assert not any(110e3 <= s <= 140e3 for s in alike_sizes)  # the smoke tier's window
    sizes = dict(parents=2, mutants=4, crossovers=4, mutation_probability=0.3, generations=3)
    lab = SimpleNamespace(
        space=space, rng=np.random.default_rng(1), task=SimpleNamespace(settings=sizes), progress=print
    )
    found = find(lab, size, lambda them: np.array([110e3 <= size(a) <= 140e3 for a in them]), 12, {})
    assert 110e3 <= size(found) <= 140e3
