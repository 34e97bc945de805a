"""OpenVINO on the same files as ONNX Runtime: outputs, kernels and refusals."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from benchmarks.measurement import serving
from benchmarks.measurement.interleaved import MeasurementRejectedError
from supernet.quantization.calibration import calibrate
from supernet.quantization.precisions import STATIC, units
from tests import ROOT
from tests.unit.supernet.quantization.trained import digits, residual_network, vision_transformer

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("openvino", reason="needs the extra openvino")

from supernet.quantization import onnx_runtime, onnx_trace, openvino_runtime
from supernet.quantization.openvino_runtime import OpenVino


@pytest.mark.parametrize("subject", [residual_network, vision_transformer])
def test_the_same_file_runs_in_both_runtimes(subject: object) -> None:
    net, pixels = subject(), digits()[0]  # type: ignore[operator]
    static = onnx_runtime.on_this_machine(calibrate(net, [[pixels[:256]]]))
    traced = onnx_trace.trace(net, [pixels[:2]], fold=True)
    samples = [[pixels[i : i + 1]] for i in range(1200, 1216)]
    assert serving.check_served(OpenVino(traced), net, samples) < 1e-4
    policy = dict.fromkeys(units(net), STATIC)
    ours, theirs = OpenVino(traced, policy, static=static), onnx_runtime.Ort(traced, policy, static=static)
    apart = serving.check_served(ours, net, samples)
    assert 1e-3 < apart < 0.2
    outputs, expected = (torch.cat([served(*sample) for sample in samples]) for served in (ours, theirs))
    exact = torch.cat([net(*sample) for sample in samples])
    assert (outputs - expected).norm() < (expected - exact).norm()
    assert ours.recipe()["rt"].startswith("openvino-2") and ours.recipe()["prec"] == STATIC
    assert ours.due() == {STATIC: len(units(net))}


def test_kernels_that_did_not_run_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net, pixels = residual_network(), digits()[0]
    static = onnx_runtime.on_this_machine(calibrate(net, [[pixels[:64]]]))
    traced = onnx_trace.trace(net, [pixels[:2]], fold=True)
    served = OpenVino(traced, dict.fromkeys(units(net), STATIC), static=static)
    monkeypatch.setattr(served, "executed", OpenVino(traced).executed)
    with pytest.raises(MeasurementRejectedError, match="in OpenVINO, 0 int8s kernels ran"):
        serving.check_served(served, net, [[pixels[:1]]])


def test_precisions_without_a_kernel_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = vision_transformer()
    traced = onnx_trace.trace(net, [digits()[0][:2]], fold=True)
    first = next(iter(units(net)))
    with pytest.raises(
        ValueError, match="no kernel for int8 in these files: choose one of fp32, bf16, int8s"
    ):
        OpenVino(traced, {first: "int8"})
    with pytest.raises(ValueError, match="bf16 in OpenVINO is one of all layers"):
        OpenVino(traced, {first: "bf16"})
    everything = dict.fromkeys(units(net), "bf16")
    if openvino_runtime.has_bf16():
        assert OpenVino(traced, everything).recipe()["bf16"] == "w16-a16"
    else:
        with pytest.raises(ValueError, match="processors that have it"):
            OpenVino(traced, everything)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ValueError, match=r"pip install 'supernet-bench\[openvino\]'"):
        OpenVino(traced)


SIGNALLED = """
import os, signal, sys
import torch
from torch import nn
from supernet.quantization.onnx_trace import trace
from supernet.quantization.openvino_runtime import OpenVino
order = [int(word) for word in sys.argv[1:]]
x = torch.zeros(2, 8)
networks = {n: OpenVino(trace(nn.Linear(8, 8), [x])) for n in sorted(order)}
for network in networks.values():
    network(x)
for number in order:
    del networks[number]
    network = None
    try:
        os.kill(os.getpid(), signal.SIGINT)
        raise SystemExit("no signal")
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("order", ["0 1 2", "2 1 0", "1 2 0"])
def test_signals_are_handled_after_networks_have_gone_in_any_order(order: str) -> None:
    """OpenVINO leaves a thread a stack for signals that it has freed."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, *order.split()], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n" * 3), done.stderr[-500:]
