"""Units of a task: defaults, JSON form, refusals, and those of older records."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats import task_units
from benchmarks.stats.quantities import Quantity
from benchmarks.stats.task_units import TaskUnits

ENDS = st.floats(0, 1e6)


@given(
    names=st.lists(st.text("abc_", min_size=1), min_size=1, max_size=4, unique=True),
    low=st.none() | ENDS,
    high=st.none() | ENDS,
    item=st.text(min_size=1),
)
def test_units_come_back_from_json_in_their_order(names, low, high, item):
    low, high = -math.inf if low is None else -low, math.inf if high is None else high
    metrics = {name: Quantity(name.upper(), "%", low, high, higher_is_better=True) for name in names}
    units = TaskUnits(metrics, item, "nats/frame")
    back = TaskUnits.from_dict(json.loads(json.dumps(units.to_dict(), allow_nan=False)))
    assert back == units and list(back.metrics) == names and back.metric == names[0]


def test_a_metric_alone_may_take_any_value_and_is_of_sentences():
    units = TaskUnits.default("their-score")
    assert (units.metric, units.item, units.loss_unit) == ("their-score", "sentence", "nats/token")
    assert units.metrics["their-score"].holds(-1e9) and units.metrics["their-score"].holds(1e9)
    assert not TaskUnits.default("bleu").metrics["bleu"].holds(101)


def test_units_that_no_comparison_could_use_are_refused():
    with pytest.raises(ValueError, match="at least one metric"):
        TaskUnits({})
    with pytest.raises(ValueError, match="wer: comparisons take more as better"):
        TaskUnits({"wer": Quantity("WER", "%", 0, 100)})
    TaskUnits({"acc": Quantity("acc", higher_is_better=True), "wer": Quantity("WER")})  # it decides nothing


def test_the_units_of_a_record_are_those_it_states_then_those_of_its_task_then_defaults():
    stated = TaskUnits.default("bleu").to_dict() | {"item": "clip"}
    assert task_units.of_record(stated, "vision-digits", "accuracy").item == "clip"
    assert task_units.of_record(None, "vl-easy-vqa", "accuracy") == task_units.IMAGES
    assert task_units.of_record(None, "vision-of-a-stranger", "top5").item == "sentence"
    assert task_units.of_record(None, "vision-of-a-stranger", "top5").metric == "top5"
