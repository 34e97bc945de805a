"""Whole-number products of this processor, which tests of int8 in ONNX Runtime and CTranslate2 need."""

import platform

import pytest

from benchmarks.hardware.probe import probe

VNNI = platform.machine() not in ("x86_64", "AMD64") or any(
    flag in probe()["isa"] for flag in ("avx512_vnni", "avx_vnni")
)
REFUSAL = "int8 products of ONNX Runtime overflow on this processor (no VNNI)"
"""Words of the product where it refuses."""
REASON = "ONNX Runtime's int8 products overflow on this processor (x86 without VNNI)"
needs_vnni = pytest.mark.skipif(not VNNI, reason=REASON)
