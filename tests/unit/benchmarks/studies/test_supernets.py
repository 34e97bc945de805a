"""Scores of the studies: the tasks' own figures, without intervals that they do not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.studies.supernets import KINDS, Setting
from supernet.elastic import SuperNet
from supernet.weights import SharedSlices


def check_scores(setting: Setting, net: SuperNet) -> None:
    """Compare all figures with those of the task, to the last bit."""
    smallest = net.space.smallest()
    ours, module = setting.score(net, smallest), net.export(smallest)
    theirs = setting.task.score(module, setting.prepared, setting.tier, "cpu")
    pooled = next(iter(theirs["test"].values()))
    assert ours["bleu"] == pooled["bleu"]["value"] and ours["chrf"] == pooled["chrf"]["value"] > 0
    assert ours["test_loss"] == theirs["test_loss"]
    valid = setting.task.validation(setting.prepared)
    assert ours["valid_loss"] == setting.task.evaluate(module, valid, "cpu").loss


def test_scores_of_studies_are_the_tasks_own(tmp_path: Path) -> None:
    setting = Setting.prepared_for("mt-synthetic-en-de", "check", tmp_path, None, "cpu")
    net, _ = setting.fit(setting.network(SharedSlices, 1, setting.family()), KINDS["hat"][1], 30_000, 1)
    check_scores(setting, net)


@pytest.mark.slow
def test_scores_over_several_test_sets_are_pooled(tmp_path: Path, data_dir: Path) -> None:
    setting = Setting.prepared_for("mt-multi30k-en-de", "small", tmp_path, data_dir, "cpu")
    check_scores(setting, setting.network(SharedSlices, 1, setting.family()))


def test_scores_of_encoders_are_the_tasks_own(tmp_path: Path) -> None:
    setting = Setting.prepared_for("bert-synthetic-en", "check", tmp_path, None, "cpu", space="homogeneous")
    source, sampling = setting.kind("hat")
    net, _ = setting.fit(setting.network(source, 1, setting.family()), sampling, 9000, 1)
    smallest = net.space.smallest()
    ours, module = setting.score(net, smallest), net.export(smallest)
    theirs = setting.task.score(module, setting.prepared, setting.tier, "cpu")
    (only,) = theirs["test"].values()
    assert ours["accuracy"] == pytest.approx(only["mlm_accuracy"]["value"], abs=1e-5) and ours["accuracy"] > 0
    assert ours["test_loss"] == pytest.approx(theirs["test_loss"], abs=1e-5)
    valid = setting.task.validation(setting.prepared)
    assert ours["valid_loss"] == setting.task.evaluate(module, valid, "cpu").loss
