"""Memory of this process: allocator settings, and copies to a device."""

from __future__ import annotations

import ctypes
import sys

import torch
from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of ``mallopt`` in the GNU C library."""


def keep_freed() -> bool:
    """Make the C library reuse freed memory instead of returning it to the system.

    Otherwise large tensors get new pages each time, with a page fault at first touch of each: on a virtual
    machine that takes more time than the arithmetic. Trainings hold up to a fifth more memory; a program that
    repeatedly allocates one large tensor holds several times its size.

    Returns:
        True if the setting took effect; False without the GNU C library.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy to ``device`` without waiting for what it has yet to do."""
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
