"""The one-pass update against torch's AdamW."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs a GPU, or Triton with TRITON_INTERPRET=1", allow_module_level=True)
adamw = pytest.importorskip("supernet.adamw", reason="needs Triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("low_size", [0, 3000])
def test_updates_are_those_of_torch(low_size: int) -> None:
    size = 5000
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(size, generator=generator)
    flats = [torch.nn.Parameter(start.clone().to(DEVICE)) for _ in range(2)]
    mine, theirs = (torch.optim.AdamW([f], lr=1e-2, betas=(0.9, 0.98), weight_decay=0.1) for f in flats)
    low = flats[0].detach()[:low_size].bfloat16() if low_size else None
    low_grad = torch.zeros_like(low) if low is not None else None
    for step in range(5):
        gradient = torch.randn(size, generator=generator).to(DEVICE)
        extra = torch.randn(low_size, generator=generator).to(DEVICE).bfloat16()
        flats[0].grad, flats[1].grad = gradient.clone(), gradient.clone()
        if low_grad is not None:
            low_grad.copy_(extra)
            flats[1].grad[:low_size] += extra.float()
        for optimizer in (mine, theirs):
            optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step)
        adamw.update(mine, flats[0], low, low_grad)
        theirs.step()
        torch.testing.assert_close(flats[0], flats[1], rtol=1e-5, atol=1e-6)
        assert not flats[0].grad.any()
        if low is not None and low_grad is not None:
            torch.testing.assert_close(low.float(), flats[0].detach()[:low_size], rtol=2**-7, atol=0)
            assert not low_grad.any()
    for name in ("exp_avg", "exp_avg_sq", "step"):
        torch.testing.assert_close(
            mine.state[flats[0]][name], theirs.state[flats[1]][name], rtol=1e-5, atol=1e-6
        )
