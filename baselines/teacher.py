"""The teacher of the methods that distil: a plain BERT, trained once a task, tier and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.api import Candidate, Lab, Method, Skip, TaskInfo
from supernet.pipeline import train
from supernet.space import SearchSpace, homogeneous_space
from supernet.train import SinglePath


class Teacher(Method):
    """A hand-designed encoder of the tier's ``teacher`` shape on the share ``teacher_share`` of the tokens.

    Whoever takes its weights is charged what it spent (``lab.inherit``), the same for every method.
    """

    name = "teacher"
    suite = "bert"
    summary = "the teacher: one plain BERT; who learns from it is charged what it cost"

    def supports(self, task: TaskInfo) -> Skip | None:
        return super().supports(task) or untaught(task)

    def search(self, lab: Lab) -> Iterable[Candidate]:
        settings = lab.task.settings
        architecture = teacher_space(settings["teacher"]).largest()
        with lab.phase("train"):
            fresh = lab.supernet(only=architecture)
            net = train(lab, fresh, SinglePath(), settings["teacher_share"], "teacher")
            yield lab.candidate(net, architecture, origin="scratch")


class Taught(Method):
    """A method for encoders that takes the teacher's weights, and so pays for them."""

    suite = "bert"
    follows = "teacher"
    inherits = True

    def supports(self, task: TaskInfo) -> Skip | None:
        return super().supports(task) or untaught(task)


def teacher_space(shape: Mapping[str, Any]) -> SearchSpace:
    """The space of one architecture: ``width``, ``heads`` of ``head_dim``, ``layers``, feed-forward 4 times
    as wide."""
    return homogeneous_space(
        "teacher",
        width=(shape["width"],),
        heads=(shape["heads"],),
        ffn_tenths=(40,),
        layers=(shape["layers"],),
        head_dim=shape["head_dim"],
    )


def untaught(task: TaskInfo) -> Skip | None:
    """The reason where a task's tier has no teacher."""
    if "teacher" in task.settings:
        return None
    return Skip(f"{task.name} {task.tier} names no teacher")
