"""Contract between tasks and harness: declared units, and defaults for tasks that declare none."""

from types import SimpleNamespace

import pytest

from benchmarks.api import UsageError
from benchmarks.stats import task_units
from benchmarks.stats.quantities import Quantity
from benchmarks.stats.task_units import TaskUnits
from benchmarks.tasks import get_task, task_names, units_of

OURS = [name for name in task_names() if type(get_task(name)).__module__.startswith("benchmarks.tasks.")]


@pytest.mark.parametrize("name", sorted(task_units.BEFORE))
def test_older_records_of_a_task_have_the_units_that_it_declares(name):
    """Their records state none, so that ``task_units.BEFORE`` has to."""
    task = get_task(name)
    assert units_of(task) == task_units.BEFORE[name] and units_of(task).metric == task.metric


def test_every_task_with_older_records_is_still_there():
    assert set(task_units.BEFORE) <= set(OURS)


def test_a_task_that_declares_a_metric_alone_gets_the_defaults():
    assert units_of(SimpleNamespace(name="mine", metric="bleu")) == TaskUnits.default("bleu")


def test_units_and_metric_must_agree():
    units = TaskUnits({"top5": Quantity("top-5 %", "", 0, 100, higher_is_better=True)}, "image")
    assert units_of(SimpleNamespace(name="mine", metric="top5", units=units)) is units
    with pytest.raises(UsageError, match="task 'mine': its metric is 'top1'.*\n.*first in units"):
        units_of(SimpleNamespace(name="mine", metric="top1", units=units))
