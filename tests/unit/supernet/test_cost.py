"""Counts against torch's own counter and against the modules that are built."""

import numpy as np
import pytest

from supernet.cost import cost
from supernet.space import SPACES, get_space

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode

from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily

SEQ2SEQ = sorted(name for name in SPACES if "qkv_dim" in get_space(name).constants)


@pytest.mark.parametrize("name", SEQ2SEQ)
@pytest.mark.parametrize("share", ["all", "decoder", "none"])
def test_macs_equal_those_torch_counts_on_the_built_module(name: str, share: str) -> None:
    space = get_space(name)
    family = Seq2SeqFamily(space, Seq2SeqConfig(97, 97, share=share))
    rng = np.random.default_rng(7)
    for arch in (space.largest(), space.smallest(), space.sample(rng)):
        with torch.device("meta"):
            model = family.build(arch)
            source, target = torch.zeros(1, 11, dtype=torch.long), torch.zeros(1, 7, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            model(source, target)
        counted = cost(family, arch, source_len=11, target_len=7)
        assert 2 * counted.macs == counter.get_total_flops()
        assert counted.macs - counted.macs_body == 7 * arch["decoder_embed_dim"] * 97


@pytest.mark.parametrize("share", ["all", "decoder", "none"])
def test_parameters_and_bytes_are_those_of_the_built_module(share: str) -> None:
    space = get_space("mt-smoke")
    family = Seq2SeqFamily(space, Seq2SeqConfig(50, 50, share=share))
    rng = np.random.default_rng(0)
    for arch in [space.sample(rng) for _ in range(5)]:
        model = family.build(arch)
        tensors = dict(model.named_parameters())
        counted = cost(family, arch, source_len=5, target_len=5)
        assert counted.params == sum(p.numel() for p in tensors.values())
        assert counted.bytes == sum(p.numel() * p.element_size() for p in tensors.values())
        assert counted.params_body == sum(
            p.numel() for n, p in tensors.items() if not n.startswith(family.outside)
        )
        assert set(counted.to_dict()) == {"params", "params_body", "macs", "macs_body", "bytes"}


def test_heads_change_nothing_and_every_other_choice_does() -> None:
    space = get_space("hat-space0")
    family = Seq2SeqFamily(space, Seq2SeqConfig(1000, 1000))
    base = space.largest().to_dict()

    def counted(**change: object) -> tuple[int, int]:
        result = cost(family, space.architecture({**base, **change}), source_len=30, target_len=30)
        return result.params_body, result.macs_body

    full = counted()
    for heads in ("encoder_heads", "decoder_self_heads", "decoder_cross_heads"):
        assert counted(**{heads: [4] * 6}) == full
    assert counted(decoder_cross_source=[-1] * 6)[0] == full[0]
    assert counted(decoder_cross_source=[-1] * 6)[1] < full[1]
    for change in ({"encoder_embed_dim": 512}, {"decoder_embed_dim": 512}, {"decoder_ffn": [2048] * 6}):
        assert all(less < whole for less, whole in zip(counted(**change), full, strict=True))


@pytest.mark.parametrize("lengths", [(0, 5), (5, 0)])
def test_empty_sentences_are_refused(lengths: tuple[int, int]) -> None:
    space = get_space("mt-smoke")
    family = Seq2SeqFamily(space, Seq2SeqConfig(50, 50))
    with pytest.raises(ValueError, match="at least 1"):
        cost(family, space.largest(), source_len=lengths[0], target_len=lengths[1])
