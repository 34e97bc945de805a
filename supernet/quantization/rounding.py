"""Rounding of weights to low precision, as whole numbers and steps; the same for every back-end.

Pure NumPy. int8 and int8s: one step an output channel, symmetric. Activations of int8s have a fixed range of
``LEVELS`` steps. w4: one step for ``GROUP`` neighbouring inputs of an
output channel, symmetric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
LARGEST = 127
"""Largest magnitude of an int8 weight: -128 is not used, so that the scale is symmetric."""
GROUP = 32
"""Inputs that share a step in w4."""
REDUCED = 64
"""Largest magnitude of an int8s weight on processors that add pairs of products in 16 bits (x86 without
VNNI): 2 * 255 * 64 is below 2**15."""
LEVELS = 255
"""Steps between the ends of the range of unsigned 8-bit activations."""
FP32_BYTES = 4
"""Bytes of a float32 number."""


def w8_grid(weight: Array, largest: int = LARGEST) -> tuple[Array, Array]:
    """Round a weight ``[out, ...]`` to int8 numbers of that shape and float32 steps ``[out]``.

    Args:
        largest: largest magnitude of a number; ``REDUCED`` fits into 7 bits.
    """
    flat = weight.reshape(len(weight), -1)
    step = _steps(np.abs(flat).max(1), largest)
    return _rounded(flat, step[:, None], largest).reshape(weight.shape), step


def activation_grid(low: float, high: float) -> tuple[float, int]:
    """Return step and zero point of unsigned 8-bit activations between two ends.

    The range is widened to include zero, so that zero is exact. The step is a float32 number.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    step = np.float32(np.float32(high) - np.float32(low)) / np.float32(LEVELS)
    if not step > 0:
        return 1.0, 0
    return float(step), int(np.clip(np.rint(-np.float32(low) / step), 0, LEVELS))


def w4_grid(weight: Array) -> tuple[Array, Array]:
    """Round a weight ``[out, in]`` to int8 numbers from -7 to 7 of that shape and float32 steps ``[out, in /
    GROUP]``."""
    groups = weight.reshape(len(weight), -1, GROUP)
    step = _steps(np.abs(groups).max(2), 7)
    return _rounded(groups, step[..., None], 7).reshape(weight.shape), step


def round_bias(bias: Array, unit: Array) -> Array:
    """Round a bias to int32 numbers of units ``[out]``: steps of the input times those of the weights."""
    rounded: Array = np.clip(np.rint(bias.astype(np.float64) / unit), -(2**31), 2**31 - 1).astype(np.int32)
    return rounded


def _steps(largest: Array, top: int) -> Array:
    step = largest.astype(np.float32) / np.float32(top)
    return np.where(step == 0, np.float32(1), step).astype(np.float32)


def _rounded(weight: Array, step: Array, top: int) -> Array:
    # Times the inverse, as torch's own quantiser has it.
    return np.clip(np.rint(weight * (np.float32(1) / step)), -top, top).astype(np.int8)


def stored_bytes(precision: str, shape: Sequence[int]) -> int:
    """Return the bytes of a weight ``[out, ...]`` with its steps, without the bias."""
    count, rows = math.prod(shape), shape[0]
    if precision in ("int8", "int8s"):
        return count + FP32_BYTES * rows
    if precision == "w4":
        return count // 2 + FP32_BYTES * (count // GROUP)
    return count * (2 if precision == "bf16" else FP32_BYTES)
