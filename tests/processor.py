"""Whole-number products of this processor, which tests of int8 in ONNX Runtime and CTranslate2 need."""

import platform

import pytest

from benchmarks.hardware.probe import probe

VNNI = platform.machine() not in ("x86_64", "AMD64") or not {"avx512_vnni", "avx_vnni"}.isdisjoint(
    probe()["isa"]
)
needs_vnni = pytest.mark.skipif(
    not VNNI, reason="ONNX Runtime's int8 products overflow on this processor (x86 without VNNI)"
)
