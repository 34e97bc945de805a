"""Words in int8: the file is smaller and gives the outputs of torch with rounded tables."""

import copy

import pytest
import torch
from torch import nn

from supernet.bert import BertConfig, family_of
from supernet.quantization.precisions import uniform_int8
from supernet.quantization.rounding import w8_grid
from supernet.space import get_space
from tests.processor import VNNI

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from supernet.quantization import onnx_runtime

WORDS = 2000


def round_words(module: nn.Module) -> nn.Module:
    """Return a copy whose tables of words are as ``supernet.quantization.words`` deploys them.

    Tables of words are the embeddings with a padding index.
    """
    rounded = copy.deepcopy(module)
    with torch.no_grad():
        for table in rounded.modules():
            if isinstance(table, nn.Embedding) and table.padding_idx is not None:
                numbers, step = w8_grid(table.weight.detach().cpu().numpy())
                table.weight.copy_(torch.from_numpy(numbers * step[:, None]))
    return rounded


@pytest.mark.parametrize("low", [False, True])
def test_words_are_stored_in_int8_and_read_as_torch_rounds_them(low: bool) -> None:
    torch.manual_seed(0)
    space = get_space("bert-smoke")
    module = family_of(space)(space, BertConfig(WORDS)).build(space.smallest()).eval().requires_grad_(False)
    traced = onnx_runtime.traced_encoder(module)
    policy = {name: "int8" for name in uniform_int8(module) if name in traced.layers} if low else {}
    plain, small = (
        onnx_runtime.Ort(traced, policy, int8_words=words, checked=True) for words in (False, True)
    )
    onnx.checker.check_model(onnx.load_from_string(small.graph))
    width = module.embedding.word.weight.shape[1]
    assert len(plain.graph) - len(small.graph) > 2.8 * WORDS * width
    tokens = torch.randint(5, WORDS, (1, 9), generator=torch.Generator().manual_seed(1))
    expected = round_words(module).encode(tokens)
    if not low:
        torch.testing.assert_close(small.encode(tokens), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(module.encode(tokens), expected, atol=1e-4)
    elif VNNI:
        assert (small.encode(tokens) - expected).norm() < 0.1 * expected.norm()


def test_a_table_that_is_the_output_layer_too_stays() -> None:
    torch.manual_seed(0)
    space = get_space("bert-smoke")
    module = family_of(space)(space, BertConfig(WORDS)).build(space.smallest()).eval()
    from supernet.quantization.onnx_trace import trace

    tokens = torch.full((2, 8), 5)
    traced = trace(module, [tokens])
    assert len(trace(module, [tokens]).under()) - len(traced.under({}, int8_words=True)) < 4 * WORDS
