"""Rounding of weights to low precision, as whole numbers and steps; the same for every back-end.

Pure NumPy. int8: one step an output channel, symmetric. w4: one step for ``GROUP`` neighbouring inputs of an
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
FP32_BYTES = 4
"""Bytes of a float32 number."""


def w8_grid(weight: Array) -> tuple[Array, Array]:
    """Round a weight ``[out, ...]`` to int8 numbers of that shape and float32 steps ``[out]``."""
    flat = weight.reshape(len(weight), -1)
    step = _steps(np.abs(flat).max(1), LARGEST)
    return _rounded(flat, step[:, None], LARGEST).reshape(weight.shape), step


def w4_grid(weight: Array) -> tuple[Array, Array]:
    """Round a weight ``[out, in]`` to int8 numbers from -7 to 7 of that shape and float32 steps ``[out, in /
    GROUP]``."""
    groups = weight.reshape(len(weight), -1, GROUP)
    step = _steps(np.abs(groups).max(2), 7)
    return _rounded(groups, step[..., None], 7).reshape(weight.shape), step


def _steps(largest: Array, top: int) -> Array:
    step = largest.astype(np.float32) / np.float32(top)
    return np.where(step == 0, np.float32(1), step).astype(np.float32)


def _rounded(weight: Array, step: Array, top: int) -> Array:
    # Times the inverse, as torch's own quantiser has it.
    return np.clip(np.rint(weight * (np.float32(1) / step)), -top, top).astype(np.int8)


def stored_bytes(precision: str, shape: Sequence[int]) -> int:
    """Return the bytes of a weight ``[out, ...]`` with its steps, without the bias."""
    count, rows = math.prod(shape), shape[0]
    if precision == "int8":
        return count + FP32_BYTES * rows
    if precision == "w4":
        return count // 2 + FP32_BYTES * (count // GROUP)
    return count * (2 if precision == "bf16" else FP32_BYTES)
