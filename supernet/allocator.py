"""How this process handles the memory of its tensors."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of ``mallopt`` in the GNU C library."""


def keep_freed() -> bool:
    """Have the C library hand freed memory out again, in place of giving it back to the system.

    Large tensors otherwise get new pages each time, and every page is a fault at first touch: on a virtual
    machine more time than the arithmetic. ``tests.bench.memory`` measures it. Trainings hold up to a fifth
    more memory; what makes little but one large tensor again and again holds several times that tensor.

    Returns:
        Whether it did: False without the GNU C library.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
