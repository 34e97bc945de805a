"""The hand-designed control: BERT's proportions, within the target."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from baselines.hand_designed import HandDesigned, proportioned
from benchmarks.api import TaskInfo, Window
from supernet.bert import BertConfig, HomogeneousBert
from supernet.cost import parameters


def lab(ms=None):
    def size(architecture) -> int:
        family = HomogeneousBert(architecture.space, BertConfig(8192, max_positions=128))
        return parameters(family, architecture)

    def fits(architecture, limit) -> bool:
        if isinstance(limit, Window):
            return limit.low <= size(architecture) <= limit.high
        probed.append(architecture)
        return ms(architecture) <= limit

    probed: list = []
    settings = {"teacher": {"width": 256, "heads": 4, "head_dim": 64, "layers": 6}}
    return SimpleNamespace(size=size, fits=fits, task=SimpleNamespace(settings=settings), probed=probed)


@pytest.mark.parametrize(
    ("window", "shape"), [(Window(3_400_000, 4_000_000), (192, 4)), (Window(4_600_000, 5_400_000), (256, 4))]
)
def test_the_shape_nearest_to_bert_base_in_proportion(window: Window, shape: tuple[int, int]) -> None:
    found = proportioned(lab(), window)  # type: ignore[arg-type]
    assert found is not None
    assert (found["width"], found["layers"]) == shape
    assert found["heads"] * 64 == found["width"] and found["ffn_tenths"] == 40


def test_a_latency_is_probed_from_the_largest_shape_downwards() -> None:
    made = lab(lambda a: a["width"] * a["layers"] / 100)
    found = proportioned(made, 6.0)  # type: ignore[arg-type]
    assert found is not None and found["width"] * found["layers"] <= 600
    sizes = [made.size(a) for a in made.probed]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) < 8


def test_a_window_that_no_shape_meets_has_none() -> None:
    assert proportioned(lab(), Window(10, 20)) is None  # type: ignore[arg-type]


def test_hand_designed_needs_the_shape_of_a_teacher() -> None:
    info = TaskInfo("bert-x", "bert", "smoke", "mlm_accuracy")
    assert "names no teacher" in HandDesigned().supports(info).reason
