"""Precision in which a task's networks compute."""

from __future__ import annotations

from typing import Any


def autocast(device: str, precision: str) -> Any:
    """Return a context in which a network computes in ``precision``; ``fp32`` changes nothing."""
    import torch

    types = {"bf16": torch.bfloat16, "fp16": torch.float16}
    if precision not in types:
        return torch.autocast(torch.device(device).type, enabled=False)
    return torch.autocast(torch.device(device).type, dtype=types[precision])
