"""The study of deployed sizes: published counts of parameters, gates, rule, and a run on tiny networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks.api import UsageError
from benchmarks.hardware import profiles
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.records.study_files import STUDIES, study_module, to_files
from benchmarks.studies.deployed_sizes import networks, runtimes, study
from benchmarks.studies.deployed_sizes.networks import SizedNetwork
from benchmarks.studies.deployed_sizes.runtimes import Built, Runtime
from benchmarks.studies.deployed_sizes.study import TimedPrecision
from supernet.families import family_of, image_family
from supernet.space import get_space
from tests.processor import VNNI

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")


def tiny_vit() -> SizedNetwork:
    family = image_family(get_space("vit-smoke"), 10, image=32)
    module = networks._seeded(lambda: family.build(family.space.largest()))
    return SizedNetwork("tiny ViT", module, lambda rows: torch.randn(rows, 3, 32, 32))


def tiny_bert() -> SizedNetwork:
    family = family_of(get_space("bert-smoke"), (300,))
    module = networks._seeded(lambda: networks.Encoder(family.build(family.space.largest())))
    return SizedNetwork("tiny BERT", module, lambda rows: torch.randint(5, 300, (rows, 16)))


@pytest.mark.parametrize(
    ("build", "millions", "shape"),
    [
        (networks.resnet50, 25.557, (1, 1000)),
        (networks.vit_base, 86.567656, (1, 1000)),
        (networks.bert_base, 109.514298, (1, 128, 768)),
    ],
)
def test_networks_have_the_published_sizes(
    build: Callable[[], SizedNetwork], millions: float, shape: tuple[int, ...]
) -> None:
    """Torchvision's counts; BERT-base's is transformers' with the head of masked words, which is not run."""
    state = torch.get_rng_state()
    network = build()
    assert torch.equal(torch.get_rng_state(), state)
    count = sum(p.numel() for p in network.module.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=5e-4 if network.name == "ResNet-50" else 1e-9)
    with torch.inference_mode():
        assert tuple(network.module(network.inputs(1)).shape) == shape


def test_tiny_networks_go_through_the_whole_study() -> None:
    outcome = study.study("cpu-test.v1", [tiny_vit, tiny_bert], 8, 20.0, lambda line: None)
    timed = {
        (t["network"], t["runtime"].partition("-")[0], t["precision"]): t for t in outcome.facts["timed"]
    }
    for name in ("tiny ViT", "tiny BERT"):
        assert timed[name, "torch", "fp32"]["ratio"] == 1 and timed[name, "torch", "bf16"]["ms"] > 0
        static = timed[name, "ort", "int8s"]
        assert not static["failed"] and 0 < static["size"] < 0.6 * timed[name, "ort", "fp32"]["size"]
        dynamic = timed[name, "ort", "int8"]
        assert ("overflow" in dynamic["failed"]) != VNNI
    assert sum("the fastest" in row[-1] for row in outcome.rows) == 2
    assert {"md", "json", "png", "svg"} == set(to_files("deployed-sizes", outcome, None, None))


def test_a_precision_that_fails_its_gate_is_named_and_not_timed() -> None:
    def broken(network: SizedNetwork, threads: int) -> Built:
        return runtimes._near(network, lambda x: torch.zeros(1, 10) + x.mean() * 100)

    def refused(network: SizedNetwork, threads: int) -> Built:
        raise MeasurementRejectedError("3 kernels ran where 4 are due")

    plain = {"fp32": lambda network, _: Built(network.module), "int8": broken, "w4": refused}
    timed = study.time_runtime(tiny_vit(), Runtime("none-1", plain), 8, 5.0)
    failed = {t.precision: t.failed for t in timed if t.failed}
    assert "of their length from those in fp32" in failed["int8"]
    assert failed["w4"] == "3 kernels ran where 4 are due"
    nothing = Runtime("none-1", {"fp32": refused, "int8": plain["fp32"]})
    assert all(t.failed and not t.ms for t in study.time_runtime(tiny_vit(), nothing, 8, 5.0))
    row = study._row(timed[-1], timed)
    assert row[3:6] == ("-", "-", "-") and row[-1] in failed.values()


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.4, 0.6, "faster"), (1.1, 1.3, "slower"), (0.9, 1.1, "undecided")]
)
def test_a_verdict_follows_from_the_interval(low: float, high: float, verdict: str) -> None:
    assert TimedPrecision("n", "r", "int8", 1.0, 0.5 * (low + high), low, high).verdict == verdict


def test_runtimes_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: None)
    installed, absent = runtimes.runtimes()
    assert [r.name.partition("-")[0] for r in installed] == ["torch", "ort"] and absent == [
        "openvino",
        "torchao",
    ]


def test_a_machine_without_a_declared_profile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert study_module("deployed-sizes") is study and "deployed-sizes" in STUDIES
    monkeypatch.setattr(profiles, "matching", lambda: None)
    with pytest.raises(UsageError, match="supernet-bench doctor"):
        study.run(None)


@pytest.mark.slow
def test_openvino_and_inductor_pass_their_gates() -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    pytest.importorskip("torchao", reason="needs the extra inductor")
    installed, absent = runtimes.runtimes()
    assert not absent
    for runtime in installed[2:]:
        timed = study.time_runtime(tiny_vit(), runtime, 8, 5.0)
        assert {t.precision for t in timed if not t.failed} >= {"fp32", "int8s"}
