"""Results of recorded steps in places of their own, on operations that a processor has."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from supernet.gpu.static_outputs import StaticOutputs, memory


class Doubled(torch.autograd.Function):
    """Twice a tensor; both directions ask for memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.mul(x, 2, out=memory(x.shape, x))

    @staticmethod
    def backward(ctx: Any, *flows: Tensor) -> Tensor:
        return torch.mul(flows[0], 2, out=memory(flows[0].shape, flows[0]))


def double(x: Tensor) -> Tensor:
    out: Tensor = Doubled.apply(x)  # type: ignore[no-untyped-call]
    return out


STEPS: dict[str, tuple[Callable[[Tensor], Tensor], bool, bool]] = {
    "last of two": (lambda x: double(double(x)), True, True),
    "first of two, whose gradient autograd leaves alone": (lambda x: double(x) + 1, False, True),
    "in a sum of two branches": (lambda x: double(x) + double(x), False, False),
    "beside a residual": (lambda x: x + double(x), False, False),
    "its input": (lambda x: x, False, False),
}


@pytest.mark.parametrize("name", STEPS)
def test_results_land_where_an_operation_makes_them(name: str) -> None:
    """Results that land and results to be copied are those of a step without places."""
    step, forward_lands, backward_lands = STEPS[name]
    x = torch.arange(6.0).view(2, 3).requires_grad_()
    flow = torch.full((2, 3), 3.0)
    expected = step(x)
    (right,) = torch.autograd.grad(expected, x, flow)
    out, into = torch.zeros(2, 3), torch.zeros(2, 3)
    forwards, backwards = StaticOutputs(), StaticOutputs()
    with forwards.answering():
        tried = step(x)
    with backwards.answering():
        gradients = torch.autograd.grad(tried, x, flow)
    assert torch.equal(tried, expected)
    forwards.settle([tried], [out])
    backwards.settle(gradients, [into])
    for _ in range(2):
        with forwards.answering():
            result = step(x)
        with backwards.answering():
            (gradient,) = torch.autograd.grad(result, x, flow)
        assert torch.equal(result, expected)
        assert torch.equal(gradient, right)
        assert (result.data_ptr() == out.data_ptr()) == forward_lands
        assert (gradient.data_ptr() == into.data_ptr()) == backward_lands
        assert not out.requires_grad


def test_a_result_of_another_form_is_left_to_be_copied() -> None:
    outputs = StaticOutputs()
    with outputs.answering():
        result = memory((2, 3), torch.zeros(1))
    outputs.settle([result.to(torch.float64)], [torch.zeros(2, 3)])
    assert not outputs.places
    outputs = StaticOutputs()
    with outputs.answering():
        result = memory((2, 3), torch.zeros(1))
    outputs.settle([result.t()], [torch.zeros(3, 2)])
    assert not outputs.places


def test_requests_of_another_thread_are_answered() -> None:
    """Autograd runs the backward pass of a GPU in a thread of its own."""
    place = torch.zeros(4)
    outputs = StaticOutputs()
    with outputs.answering():
        result = memory((4,), place)
    outputs.settle([result], [place])
    answers: list[Tensor] = []
    with outputs.answering():
        thread = threading.Thread(target=lambda: answers.append(memory((4,), place)))
        thread.start()
        thread.join()
    assert answers[0].data_ptr() == place.data_ptr()
    assert memory((4,), place).data_ptr() != place.data_ptr()
