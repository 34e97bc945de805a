"""MatFormer: nesting, sampling and mix'n'match against enumeration."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from baselines.matformer import SameGranularity, depths, fitting, mix_and_match, nested
from supernet.cost import parameters
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space

SPACES = ("hat-space1", "multi30k-xs", "mt-smoke")


@pytest.mark.parametrize("name", SPACES)
def test_feed_forwards_alone_vary(name: str) -> None:
    space = get_space(name)
    for depth in depths(space):
        shell = nested(space, depth)
        free = 1
        for side, layers in (("encoder", shell.largest()["encoder_layers"]), ("decoder", depth)):
            free *= len(space.choice(f"{side}_ffn").options) ** layers
        assert shell.size() == free
        for a in (shell.largest(), shell.smallest()):
            assert a["decoder_layers"] == depth
            assert a["encoder_embed_dim"] == max(space.choice("encoder_embed_dim").options)


def test_granularities_are_drawn_uniformly_and_alike() -> None:
    shell, rng = nested(get_space("hat-space1"), 3), np.random.default_rng(0)
    counts = Counter(SameGranularity().draw(shell, rng)[0] for _ in range(600))
    assert len(counts) == 3 and min(counts.values()) > 150
    for architecture in counts:
        assert len({*architecture["encoder_ffn"], *architecture["decoder_ffn"]}) == 1


@pytest.mark.parametrize("name", SPACES)
def test_mixtures_are_neighbours_that_grow_along_the_layers(name: str) -> None:
    space = get_space(name)
    shell = nested(space, max(depths(space)))
    family = Seq2SeqFamily(shell, Seq2SeqConfig(40, 40, max_positions=16))
    mixtures = mix_and_match(shell)
    assert (mixtures[0], mixtures[-1]) == (shell.smallest(), shell.largest())
    sizes = [parameters(family, a) for a in mixtures]
    assert all(a < b for a, b in pairwise(sizes))
    for a in mixtures:
        for side in ("encoder", "decoder"):
            widths, options = a[f"{side}_ffn"], sorted(space.choice(f"{side}_ffn").options)
            ranks = [options.index(w) for w in widths]
            assert ranks == sorted(ranks) and max(ranks) - min(ranks) <= 1


@pytest.mark.parametrize("most", range(8))
def test_bisection_counts_fitting_networks(most: int) -> None:
    asked: list[int] = []

    def fits(item: int) -> bool:
        asked.append(item)
        return item < most

    assert fitting(list(range(7)), fits) == min(most, 7)
    assert len(asked) <= 3
