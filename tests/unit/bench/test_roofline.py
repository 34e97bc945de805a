"""The counter behind the predictions of the speed bench."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.bench.roofline import Roofline
from tests.bench.timing import Rates


def test_a_product_is_counted_by_hand_and_views_are_free() -> None:
    x, w = torch.zeros(8, 3, 16), torch.zeros(32, 16)
    with Roofline(Rates(matrix=1e6, copy=1e6, launch=10.0)) as counted:
        F.linear(x, w).transpose(1, 2)[0].unflatten(0, (4, 8))
        torch.empty(1000)
    moved = 4 * (24 * 16 + 32 * 16 + 24 * 32)
    assert (counted.launches, counted.flops, counted.bytes) == (1, 2 * 24 * 16 * 32, moved)
    assert counted.seconds == pytest.approx(counted.flops / 1e6)
    assert counted.by_bytes == 0
    assert (counted.host, counted.larger) == (0.1, "arithmetic")


def test_an_operation_lasts_as_long_as_its_bytes_where_they_take_longer() -> None:
    x, one, table, tokens = torch.zeros(1000), torch.zeros(1), torch.zeros(100, 4), torch.arange(5)
    with Roofline(Rates(matrix=1e9, copy=1e3, launch=1e9)) as counted:
        x.add_(one.expand(1000))
        F.embedding(tokens, table)
    # In place: what is read, what is written, one broadcast number. A table is read where it is looked up.
    assert counted.bytes == 8 * 1000 + 4 + 5 * 8 + 2 * 5 * 16
    assert counted.seconds == counted.by_bytes == pytest.approx(counted.bytes / 1e3)
    assert counted.larger == "bytes"


def test_a_backward_pass_is_counted_too() -> None:
    w = torch.zeros(4, 4, requires_grad=True)
    x = torch.zeros(2, 4, requires_grad=True)
    with Roofline(Rates(1.0, 1.0, 1.0)) as counted:
        F.linear(x, w).sum().backward()
    assert counted.flops == 3 * 2 * 2 * 4 * 4
