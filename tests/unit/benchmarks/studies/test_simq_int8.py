"""The INT8 baseline: both variants of a small residual network through the whole study, and the rule."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.records.study_files import to_files
from benchmarks.studies import simq_int8
from benchmarks.studies.simq_fronts.measure import MeasuredPoint
from benchmarks.studies.simq_int8 import Int8Variant, strongest
from supernet import supernet_file
from supernet.elastic import SuperNet
from supernet.weights import SharedSlices
from tests.processor import VNNI
from tests.unit.supernet.quantization.trained import digits, residual_family

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("int8")
    family = residual_family()
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0), "cpu"))
    pixels, labels = digits()
    net.statistics_batches = [((pixels[i : i + 32],), 32) for i in (0, 32)]
    supernet_file.save(place / "tiny.safetensors", net, {"table": "tiny"})
    save_file(
        {"inputs0": pixels[:24].clone(), "labels": labels[:24].clone()}, place / "tiny.items.safetensors"
    )
    return place


def test_both_variants_are_measured_on_everything_and_the_faster_is_named(folder: Path) -> None:
    outcome = simq_int8.study(folder, 24, 4, 2, lambda line: None)
    (table,) = outcome.facts["tables"]
    dynamic, static = table["variants"]
    assert static["bytes"] < 0.5 * table["fp32"]["bytes"] and len(static["ratios"]) == 2
    assert static["apart"] < 0.2 and "int8s:w8" in outcome.facts["signature"] or not VNNI
    if VNNI:
        assert dynamic["apart"] < 0.2 and dynamic["bytes"] < 0.5 * table["fp32"]["bytes"]
    else:
        assert "overflow" in dynamic["failed"] and table["baseline"] == "static"
    files = to_files("simq-int8", outcome, "a" * 40, None)
    assert {"md", "json", "png"} <= set(files)
    assert any("the baseline" in row for row in outcome.rows)


def variant(name: str, ratio: float, difference: float) -> Int8Variant:
    point = MeasuredPoint(np.zeros(4), np.zeros(4), 1, b"", 0.0)
    return Int8Variant(name, point, "", ((ratio, ratio, ratio),), difference, 0.001)


def test_the_fastest_that_passes_is_the_baseline() -> None:
    slow, fast = variant("dynamic", 0.9, 0.0), variant("static", 0.4, -0.001)
    assert strongest([slow, fast]) is fast
    wrong = variant("static", 0.1, -0.02)
    assert not wrong.passes and strongest([slow, wrong]) is slow
    assert strongest([wrong, Int8Variant("dynamic", None, "no VNNI")]) is None
    # What is only not shown to be worse passes: at one standard error below the margin.
    assert variant("static", 0.4, -simq_int8.MARGIN - 0.001).passes
    assert math.isclose(simq_int8.MARGIN, 0.005)


def test_a_folder_without_supernets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(simq_int8.UsageError, match="simq-tables build and held-out"):
        simq_int8.run(tmp_path)
