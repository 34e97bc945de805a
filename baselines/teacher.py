"""The teacher of the methods that distil: a plain BERT, trained once a task, tier and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.api import Candidate, Lab, Method, Skip, TaskInfo
from supernet.pipeline import train
from supernet.space import SearchSpace, homogeneous_space
from supernet.train import SinglePath


class Teacher(Method):
    """Hand-designed encoder of the tier's ``teacher`` shape on the share ``teacher_share`` of the tokens.

    Every method that takes its weights (``lab.inherit``) is charged its full cost.
    """

    name = "teacher"
    suite = "bert"
    summary = "the teacher: one plain BERT; who learns from it is charged what it cost"

    def supports(self, task: TaskInfo) -> Skip | None:
        return super().supports(task) or missing_teacher(task)

    def search(self, lab: Lab) -> Iterable[Candidate]:
        settings = lab.task.settings
        architecture = teacher_space(settings["teacher"]).largest()
        with lab.phase("train"):
            fresh = lab.supernet(only=architecture)
            net = train(lab, fresh, SinglePath(), settings["teacher_share"], "teacher")
            yield lab.candidate(net, architecture, origin="scratch")


class TaughtMethod(Method):
    """Base class of methods for encoders that take the teacher's weights and are charged for them."""

    suite = "bert"
    follows = "teacher"
    inherits = True

    def supports(self, task: TaskInfo) -> Skip | None:
        return super().supports(task) or missing_teacher(task)


def teacher_space(shape: Mapping[str, Any]) -> SearchSpace:
    """Return the space of one architecture with a feed-forward 4 times as wide as the network.

    Args:
        shape: ``width``, ``heads``, ``head_dim`` and ``layers``.
    """
    return homogeneous_space(
        "teacher",
        width=(shape["width"],),
        heads=(shape["heads"],),
        ffn_tenths=(40,),
        layers=(shape["layers"],),
        head_dim=shape["head_dim"],
    )


def missing_teacher(task: TaskInfo) -> Skip | None:
    """Return the reason if a task's tier has no teacher, else None."""
    if "teacher" in task.settings:
        return None
    return Skip(f"{task.name} {task.tier} names no teacher")
