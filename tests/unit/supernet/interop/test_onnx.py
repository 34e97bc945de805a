"""Exported sub-networks in ONNX Runtime, which is the oracle."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from supernet import seq2seq
from supernet.export import CorruptExportError
from supernet.quantization.calibration import calibrate, store_ranges
from supernet.quantization.precisions import STATIC, units
from tests.processor import needs_vnni
from tests.unit.supernet.interop.networks import (
    CASES,
    exported,
    image_family,
    of,
    pair_family,
    pairs,
)
from tests.unit.supernet.quantization.trained import digits, residual_network, vision_transformer

pytest.importorskip("transformers", reason="needs the extra huggingface")

from supernet.interop.huggingface import export


@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=needs_vnni)])
@pytest.mark.parametrize(
    "name", ["homogeneous", "bottleneck", "cells", "mixed images", "questions", "trained pairs"]
)
def test_onnx_runtime_computes_the_same(name, precision, translator, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet.interop import onnx
    from supernet.quantization import precisions

    module, given = translator, pairs(64, torch.Generator().manual_seed(5))
    if name in CASES:
        make, seed, edits, _ = CASES[name]
        family = make()
        module, _ = exported(family, of(family, seed, **edits))
    policy = precisions.uniform_int8(module) if precision == "int8" else None
    given = () if name in CASES else (given[0], F.pad(given[1][:, :-1], (1, 0), value=seq2seq.EOS))
    found = onnx.write(module, tmp_path, policy, given)
    assert found["agreeing"] >= 0.995 and (policy or found["apart"] <= 1e-4)
    sizes = sum(path.stat().st_size for path in tmp_path.glob("*.onnx"))
    onnx.write(module, tmp_path / "fp32")
    whole = sum(path.stat().st_size for path in tmp_path.glob("fp32/*.onnx"))
    assert sizes < 0.8 * whole if policy else sizes == whole  # int8 is really int8


@pytest.mark.parametrize("network", [residual_network, vision_transformer])
def test_static_int8_is_written_with_the_ranges_of_the_export(network, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet.interop import onnx

    module, pixels = copy.deepcopy(network()), digits()[0]
    policy = dict.fromkeys(units(module), STATIC)
    with pytest.raises(ValueError, match="needs its activation range"):
        onnx.write(module, tmp_path, policy, [pixels[:64]])
    store_ranges(module, calibrate(module, [[pixels[:256]]]))
    found = onnx.write(module, tmp_path, policy, [pixels[1200:1264]])
    assert found["agreeing"] >= 0.995 and found["apart"] > 0
    session = onnx.load(tmp_path / "model.onnx")
    logits = onnx.run(session, [pixels[1200:1264]])[0]
    assert (logits - module(pixels[1200:1264])).norm() < 0.2 * module(pixels[1200:1264]).norm()
    onnx.write(module, tmp_path / "fp32", None, [pixels[:64]])
    sizes = [(folder / "model.onnx").stat().st_size for folder in (tmp_path, tmp_path / "fp32")]
    assert sizes[0] < 0.7 * sizes[1]


def test_onnx_translators_that_read_two_layers(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet.interop import onnx

    family = pair_family("none")
    module, _ = exported(family, of(family, 0, decoder_cross_source=[1, -1], encoder_embed_dim=32))
    assert onnx.write(module, tmp_path)["apart"] <= 1e-4


@pytest.mark.parametrize(("own", "cross"), [([4, 2], [2, 4]), ([2, 2], [4, 4]), ([4, 4], [2, 2])])
def test_onnx_translators_whose_attentions_differ_in_heads(own, cross, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet.interop import onnx

    family = pair_family("none")
    module, _ = exported(family, of(family, 0, decoder_self_heads=own, decoder_cross_heads=cross))
    assert onnx.write(module, tmp_path)["apart"] <= 1e-4


def test_the_latency_workload_is_the_same_one_in_onnx_runtime(translator, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet import decode
    from supernet.interop import onnx

    onnx.write(translator, tmp_path)
    source = torch.tensor([[4, 4, 4, 2]])
    with torch.no_grad():
        due = decode.forced_steps(translator, source, 5, 3)
    served = onnx.forced_steps(tmp_path, source, 5, 3)
    for _ in range(2):  # it begins anew each time
        torch.testing.assert_close(served(), due, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("gap", "flipped", "agreeing"), [(0.001, True, 1.0), (0.1, True, 0.75), (0.1, False, 1.0)]
)
def test_another_largest_logit_agrees_only_where_it_ties(gap, flipped, agreeing):
    from supernet.interop import onnx

    ours = torch.randn(2, 4, 50, generator=torch.Generator().manual_seed(0))
    ours[..., 7] = 5.0
    ours[..., 9] = 5.0 - gap * ours.std(-1)
    theirs = ours.clone()
    if flipped:
        theirs[:, 0, 9] += 1.0
    assert onnx._agreeing(ours, theirs) == agreeing
    assert onnx._agreeing(ours, torch.zeros_like(ours)) == 0 == onnx._agreeing(ours, ours * torch.nan)


def test_a_low_precision_file_that_differs_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet.interop import onnx
    from supernet.quantization import precisions

    family = image_family()
    module, _ = exported(family, of(family, 0))
    policy = precisions.uniform_int8(module)
    wrong = onnx._single_graph(module, [export.sample(module, 2)["pixel_values"]], policy)
    for weight in list(module.parameters())[-2:]:
        weight.data = weight.data.flip(0)
    monkeypatch.setattr(onnx, "_single_graph", lambda *_: wrong)
    with pytest.raises(export.OutputMismatchError, match="the largest is the same one at"):
        onnx.write(module, tmp_path, policy)


def test_low_precision_logits_that_are_far_are_refused_though_they_order_alike(tmp_path, monkeypatch):
    """Until there was a bound on their distance, a file whose logits were all doubled passed."""
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet.interop import onnx
    from supernet.quantization import precisions

    family = image_family()
    module, _ = exported(family, of(family, 0))
    right = onnx.run
    monkeypatch.setattr(onnx, "run", lambda *given: [2 * x for x in right(*given)])
    with pytest.raises(export.OutputMismatchError, match="differ by"):
        onnx.write(module, tmp_path, precisions.uniform_int8(module))


def test_an_onnx_file_that_differs_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from supernet.interop import onnx

    family = image_family()
    module, _ = exported(family, of(family, 0))
    right = onnx._single_graph(module, [export.sample(module, 2)["pixel_values"]], None)
    next(module.parameters()).data.mul_(1.5)
    monkeypatch.setattr(onnx, "_single_graph", lambda *_: right)
    with pytest.raises(export.OutputMismatchError, match="differ by"):
        onnx.write(module, tmp_path)
    (tmp_path / "model.onnx").write_bytes(right[:500])
    with pytest.raises(CorruptExportError, match="not a model of ONNX Runtime"):
        onnx.load(tmp_path / "model.onnx")
