"""Standard Transformers: the largest within each limit, one shape in all layers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from baselines.standard_transformer import StandardTransformer, largest_within, standard_transformers
from supernet.search import InfeasibleError
from supernet.space import get_space

SPACE = get_space("multi30k-xs")


class Lab:
    """Lab whose sizes and latencies are counted from an architecture's shape."""

    def __init__(self, limits: tuple[float, ...], probes: float = 100) -> None:
        self.space, self.limits, self.probes = SPACE, limits, probes
        self.budget = SimpleNamespace(left=lambda kind: self.probes)
        self.said: list[str] = []
        self.say = self.said.append

    def size(self, architecture: Any) -> int:
        a = architecture
        return int(sum(a["encoder_ffn"]) + sum(a["decoder_ffn"])) * int(a["encoder_embed_dim"])

    def ms(self, architecture: Any) -> float:
        return float(architecture["decoder_layers"]) + self.size(architecture) / 1e9

    def fits(self, architecture: Any, limit: float) -> bool:
        self.probes -= 1
        return self.ms(architecture) <= limit


def test_each_limit_gets_the_largest_that_meets_it() -> None:
    lab: Any = Lab((1.5, 2.5, 9.0))
    chosen = dict(largest_within(lab))
    every = standard_transformers(lab)
    for limit in lab.limits:
        assert lab.size(chosen[limit]) == max(lab.size(a) for a in every if lab.ms(a) <= limit)
    assert [chosen[limit]["decoder_layers"] for limit in lab.limits] == [1, 2, 3]


def test_standard_transformers_have_one_shape_in_all_layers() -> None:
    every = standard_transformers(Lab(()))  # type: ignore[arg-type]
    options = {choice.name: choice.options for choice in SPACE.choices}
    count = len(options["encoder_embed_dim"]) * len(options["encoder_ffn"]) * len(options["decoder_layers"])
    assert len(set(every)) == len(every) == count
    for a in every:
        assert a["encoder_embed_dim"] == a["decoder_embed_dim"]
        assert len({*a["encoder_ffn"], *a["decoder_ffn"]}) == 1


def test_limits_that_none_meets_are_named_and_refused_if_they_are_all() -> None:
    lab: Any = Lab((0.5, 9.0))
    assert [limit for limit, _ in largest_within(lab)] == [9.0]
    assert "found within 0.5 ms" in lab.said[0]
    lab = Lab((0.5,))
    lab.phase = lambda name: pytest.MonkeyPatch.context()
    with pytest.raises(InfeasibleError, match="meets a limit"):
        list(StandardTransformer().search(lab))
