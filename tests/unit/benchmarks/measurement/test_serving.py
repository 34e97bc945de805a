"""Policies in the harness: evaluated, probed, exported, scored and timed in the runtime of the tier."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.api import TaskInfo
from benchmarks.hardware.profiles import Profile
from benchmarks.lab.candidates import ContractViolationError
from benchmarks.lab.journal import Journal
from benchmarks.lab.lab import BenchLab
from benchmarks.lab.ledger import Clock, Ledger
from benchmarks.measurement import latency, parity, serving
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.workload import RUNTIMES, Workload
from benchmarks.tasks.vision import digits
from supernet.bert import BertConfig, family_of
from supernet.families import image_family
from supernet.quantization.calibration import calibrate, store_ranges
from supernet.quantization.onnx_runtime import Ort
from supernet.quantization.precisions import choices, units
from supernet.space import get_space
from tests.unit.supernet.quantization.trained import digits as digits_of_trained
from tests.unit.supernet.quantization.trained import residual_network

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
ALLOWANCE = {"tokens": 2000.0, "evaluations": 9.0, "probes": 4.0, "seconds": 600.0}
ENCODER = Workload(9, 0, 1, runtime="ort")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else times anything: tests do not wait for this machine's lock."""
    monkeypatch.setattr(latency, "exclusive", lambda: contextlib.nullcontext(0.0))


@pytest.fixture(params=["torch", "ort"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    tier = digits.tier("check", "cpu")
    tier = dataclasses.replace(tier, workload=dict(tier.workload) | {"runtime": request.param})
    prepared = digits.prepare(tier, tmp_path / "cache", None, lambda line: None)
    made = BenchLab(
        tmp_path,
        TaskInfo(digits.name, digits.suite, "check", digits.metric, {}),
        digits,
        tier,
        prepared,
        ledger=Ledger(ALLOWANCE, Clock()),
        journal=Journal(tmp_path / "journal.jsonl"),
        seed=1,
        method="m",
        device="cpu",
        limits=[(1.0, 2.5)],
        reference_ms=2.5,
        options={},
        checkpoint_seconds=0.0,
        say=print,
    )
    yield made
    made.journal.close()


def lowest(lab: BenchLab, architecture: Any) -> dict[str, str]:
    """The first layers in four bits where that can be, the others in eight."""
    layers = lab.units(architecture)
    return {name: "w4" if "w4" in choices(shape) else "int8" for name, shape in layers.items()}


def test_a_policy_is_evaluated_probed_and_charged(lab: BenchLab) -> None:
    net, architecture = lab.supernet(), lab.space.smallest()
    policy = lowest(lab, architecture)
    plain, low = lab.evaluate(net, architecture), lab.evaluate(net, architecture, policy=policy)
    assert low.loss != plain.loss and low.loss == pytest.approx(plain.loss, rel=0.1)
    assert lab.evaluate(net, architecture, policy=dict.fromkeys(policy, "fp32")) == plain
    assert lab.budget.spent("evaluations") == 3
    assert lab.probe(architecture, policy) > 0 and lab.probe(architecture, policy=None) > 0
    assert lab.budget.spent("probes") == 2
    layers = lab.units(architecture)
    saved = lab.bytes(architecture) - lab.bytes(architecture, {"head": "int8"})
    rows, columns = layers["head"]
    assert lab.bytes(architecture) == 4 * lab.size(architecture) and saved == 3 * rows * columns - 4 * rows


def test_the_exported_network_is_the_evaluated_one(lab: BenchLab) -> None:
    net, architecture = lab.supernet(), lab.space.smallest()
    policy = lowest(lab, architecture)
    made = lab.candidate(net, architecture, policy, target=lab.limits[0])
    assert made.policy == policy
    if lab.precisions == RUNTIMES["ort"]:  # asked one by one, as it is deployed
        found = lab.evaluate(net, architecture, policy=policy)
        assert made.valid.loss == pytest.approx(found.loss, rel=1e-3)


def test_static_ranges_are_of_kept_training_batches(lab: BenchLab) -> None:
    """Networks without batch norms keep batches for this alone, and only what calibrates pays for them."""
    net, architecture = lab.supernet(), lab.space.smallest()
    policy = dict.fromkeys(lab.units(architecture), "int8s")
    if "int8s" not in lab.precisions:
        with pytest.raises(ContractViolationError, match="no precision 'int8s' in runtime torch"):
            lab.evaluate(net, architecture, policy=policy)
        return
    with pytest.raises(ContractViolationError, match="keeps none: call net.keep_batches"):
        lab.evaluate(net, architecture, policy=policy)
    net.keep_batches(lab.train_batches(0.5), most=2)  # one is all that half of the tokens are
    assert len(net.statistics_batches) == 1
    net.model.eval()
    before, each = lab.budget.spent("tokens"), net.calibration_cost
    plain = lab.evaluate(net, architecture).loss
    assert lab.budget.spent("tokens") == before and each > 0
    low = lab.evaluate(net, architecture, policy=policy).loss
    assert low != plain and low == pytest.approx(plain, rel=0.1)
    made = lab.candidate(net, architecture, policy, target=lab.limits[0])
    assert lab.budget.spent("tokens") == pytest.approx(before + 2 * each)
    assert made.valid.loss == pytest.approx(low, rel=1e-3)
    assert lab.probe(architecture, policy) > 0


def test_wrong_policies_are_faults_that_cost_nothing(lab: BenchLab) -> None:
    net, architecture = lab.supernet(), lab.space.smallest()
    for wrong, said in (
        ({"heat": "int8"}, "nearest name is 'head'"),
        ({"head": "int3"}, "no precision 'int3'"),
        (["head"], "not a policy"),
        ({"head": ["int8"]}, "not a policy"),
    ):
        for call in (
            lambda policy: lab.evaluate(net, architecture, policy=policy),
            lambda policy: lab.probe(architecture, policy=policy),
            lambda policy: lab.candidate(net, architecture, policy),
        ):
            with pytest.raises(ContractViolationError, match=said):
                call(wrong)
    if "bf16" not in lab.precisions:
        with pytest.raises(
            ContractViolationError,
            match="no precision 'bf16' in runtime ort, choose one of fp32, int8, int8s, w4",
        ):
            lab.probe(architecture, {"head": "bf16"})
    assert not lab.budget.spent("evaluations") and not lab.budget.spent("probes")


def bert() -> nn.Module:
    space = get_space("bert-smoke")
    torch.manual_seed(1)
    module: nn.Module = family_of(space)(space, BertConfig(60)).build(space.smallest())
    return module.requires_grad_(False).eval()


def test_a_latency_in_onnx_runtime_is_named_so_and_timed_beside_fp32() -> None:
    module = bert()
    policy = dict.fromkeys(units(module), "int8")
    made, plain = (serving.serve_checked(module, one, ENCODER) for one in (policy, None))
    found = latency.measure_latency(
        made, plain, ENCODER, "cpu", Profile("here", "cpu", 1), plain=plain, min_n=8
    )
    assert all(told in found["signature"] for told in ("rt:ort-", "prec:int8|", "int8:w8c-a8t"))
    assert "mode:graph" in found["signature"] and found["fp32_ratio"] > 0


def test_a_trained_static_network_passes_the_gates_on_noise() -> None:
    """Noise lies outside the ranges of data: there such a network is far from float32, and right."""
    module, pixels = copy.deepcopy(residual_network()), digits_of_trained()[0]
    workload = Workload(17, 0, 1, image=8, channels=1, runtime="ort")
    policy = dict.fromkeys(units(module), "int8s")
    store_ranges(module, calibrate(module, [[pixels[:256]]]))
    made = serving.serve_checked(module, policy, workload)
    assert isinstance(made, Ort)
    source = workload.source("cpu")
    with torch.inference_mode():
        with pytest.raises(MeasurementRejectedError, match="from those in fp32"):
            parity.check_distance(made(source), module(source))
        assert parity.check_distance(made(pixels[1200:]), module(pixels[1200:])) < 0.1
    assert serving.check_graph(made, module, workload) < 0.1
    other = copy.deepcopy(module)
    for p in other.parameters():
        p.copy_(torch.randn_like(p))
    with pytest.raises(MeasurementRejectedError, match="from those in fp32"):
        serving.check_graph(made, other, workload)


def test_heads_in_static_int8_run_beside_the_runtime() -> None:
    module = bert()
    x = torch.randint(5, 60, (4, 9))
    policy = dict.fromkeys(units(module), "int8s")
    store_ranges(module, calibrate(module, [[x]]))
    served = serving.scoring_module(module, policy, ENCODER)
    with torch.no_grad():
        assert 0 < parity.check_distance(served(x), module(x)) < 0.3


def test_the_gates_refuse_mislabelled_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    module = bert()
    policy = dict.fromkeys(units(module), "int8")
    made = serving.serve_checked(module, policy, ENCODER)
    assert isinstance(made, Ort)
    assert 0 < serving.check_graph(made, module, ENCODER) < 0.2
    other = bert()
    for p in other.parameters():
        p.copy_(torch.randn_like(p))
    with pytest.raises(MeasurementRejectedError, match="from those in fp32"):
        serving.check_graph(made, other, ENCODER)
    ran = made.executed(ENCODER.source("cpu"))
    fewer = {kind: n - (kind == "DynamicQuantizeMatMul") for kind, n in ran.items()}
    monkeypatch.setattr(Ort, "executed", lambda *_: fewer)
    with pytest.raises(MeasurementRejectedError, match=r"int8 kernels ran where its policy makes it"):
        serving.check_graph(made, module, ENCODER)
    monkeypatch.setattr(Ort, "executed", lambda *_: {"MatMul": 1})
    with pytest.raises(MeasurementRejectedError, match="products ran where the graph has"):
        serving.check_graph(serving.serve(module, None, ENCODER), module, ENCODER)
    monkeypatch.undo()
    forward = Ort.forward

    def meddling(self: Ort, x: torch.Tensor) -> torch.Tensor:
        y = forward(self, x)
        x[0, 0] += 1
        return y

    monkeypatch.setattr(Ort, "forward", meddling)
    with pytest.raises(MeasurementRejectedError, match="changed its input"):
        serving.check_graph(made, module, ENCODER)


def test_a_scored_encoder_runs_in_the_runtime_sample_by_sample() -> None:
    module = bert()
    policy = dict.fromkeys(units(module), "int8")
    asked = serving.scoring_module(module, policy, ENCODER)
    x = torch.randint(5, 60, (4, 9))
    with torch.no_grad():
        whole = asked(x)
        assert parity.check_distance(whole, module(x)) < 0.3
        alone = torch.cat([asked.encode(x[i : i + 1]) for i in range(4)])
        assert torch.equal(asked.encode(x), alone)


def test_networks_that_the_runtime_cannot_serve_are_refused() -> None:
    module = bert()
    with pytest.raises(ValueError, match="on the processor, and this profile is cuda"):
        serving.serve(module, None, ENCODER, "cuda")
    with pytest.raises(ValueError, match="step by step"):
        serving.serve(module, None, dataclasses.replace(ENCODER, steps=3))
    with pytest.raises(ValueError, match="runtime 'onnx': choose one of torch, ort, openvino"):
        Workload.of({"source_len": 4, "steps": 0, "beam": 1, "runtime": "onnx"})


def test_overflow_of_products_follows_from_the_processors_flags() -> None:
    """Tests that need whole int8 products are skipped by the flags: neither more nor less than the check."""
    from supernet.quantization import onnx_runtime
    from tests.processor import VNNI

    onnx_runtime.check_machine.cache_clear()
    try:
        onnx_runtime.check_machine()
        refused = False
    except ValueError:
        refused = True
    onnx_runtime.check_machine.cache_clear()
    assert refused != VNNI


def test_a_machine_whose_products_overflow_gets_no_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    from supernet.quantization import onnx_runtime

    onnx_runtime.check_machine.cache_clear()
    forward = Ort.forward
    monkeypatch.setattr(Ort, "forward", lambda self, *x: forward(self, *x).clamp(max=2**15))
    with pytest.raises(ValueError, match="no VNNI"):
        Ort(onnx_runtime.traced_encoder(bert()), {"ops.0_attention.q": "int8"})
    monkeypatch.undo()
    onnx_runtime.check_machine.cache_clear()
    onnx_runtime.check_machine()


def test_images_with_a_text_are_served_too() -> None:
    torch.manual_seed(0)
    space = get_space("vl-smoke")
    module = image_family(space, 13, image=64, channels=3, text=12, vocab=50).build(space.smallest())
    module = module.requires_grad_(False).eval()
    workload = Workload(29, 0, 1, image=64, channels=3, text=12, runtime="ort")
    x = workload.source("cpu")
    made = serving.serve_checked(module, None, workload)
    torch.testing.assert_close(workload.run(made, x), workload.run(module, x), rtol=1e-4, atol=1e-4)
    low = serving.serve_checked(module, dict.fromkeys(units(module), "int8"), workload)
    assert 0 < parity.check_distance(workload.run(low, x), workload.run(module, x)) < 0.1


def test_openvino_serves_images_static_and_in_float32() -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    module, pixels = copy.deepcopy(residual_network()), digits_of_trained()[0]
    workload = Workload(17, 0, 1, image=8, channels=1, runtime="openvino")
    store_ranges(module, calibrate(module, [[pixels[:256]]]))
    policy = dict.fromkeys(units(module), "int8s")
    made, plain = (serving.serve_checked(module, one, workload) for one in (policy, None))
    found = latency.measure_latency(
        made, plain, workload, "cpu", Profile("here", "cpu", 1), plain=plain, min_n=8
    )
    assert all(told in found["signature"] for told in ("rt:openvino-", "prec:int8s|", "mode:graph"))
    asked = serving.scoring_module(module, policy, workload)
    with torch.inference_mode():
        assert parity.check_distance(asked(pixels[1200:]), module(pixels[1200:])) < 0.1
        alone = torch.cat([made(pixels[i : i + 1]) for i in range(1200, 1208)])
        torch.testing.assert_close(asked(pixels[1200:1208]), alone)
    with pytest.raises(ValueError, match="OpenVINO has no kernel for int8"):
        serving.serve(module, dict.fromkeys(units(module), "int8"), workload)


def test_openvino_serves_encoders_with_heads_beside_it() -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    module, workload = bert(), dataclasses.replace(ENCODER, runtime="openvino")
    x = torch.randint(5, 60, (4, 9))
    policy = dict.fromkeys(units(module), "int8s")
    store_ranges(module, calibrate(module, [[x]]))
    serving.serve_checked(module, policy, workload)
    served = serving.scoring_module(module, policy, workload)
    with torch.no_grad():
        assert 0 < parity.check_distance(served(x), module(x)) < 0.3
        exact = serving.scoring_module(module, None, workload)
        torch.testing.assert_close(exact(x), module(x), rtol=1e-3, atol=1e-4)
