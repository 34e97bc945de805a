"""Plans of the retraining studies: networks, starts and amounts of training, registered in a file each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject, JsonView

REGISTERED = {f"{suite}-retraining": Path(__file__).with_name(f"{suite}.json") for suite in ("mt", "bert")}
"""Study -> the plan that it follows, committed before its first measurement."""
NOTHING = "nothing"
"""Start of networks that are drawn at random."""
PARENT = "parent"
"""Start of encoders that are cut from the parent, which no supernet has trained."""


UNITS = {"bleu": "BLEU", "accuracy": "% of masked words"}
"""Metric of a plan -> its unit."""
Curves = Mapping[tuple[str, int], list[list[float]]]
"""(Start, number of a network) -> score of each seed at each share."""


@dataclass(frozen=True)
class Curve:
    """Trainings of one network from one start, one for each share of the updates."""

    start: str
    network: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its file, without ending."""
        return f"{self.start}-{self.network}-seed{self.seed}"


@dataclass(frozen=True)
class RetrainingPlan:
    """Networks, starts and amounts of training of one study.

    Attributes:
        task, tier: whose data, recipe and search space are used.
        tokens: target tokens of each supernet, and of a training on all updates; equal tokens are equal
            updates.
        seeds: number of supernets of each kind, and of trainings from nothing; from 1.
        starts: supernets, by name in ``supernets.KINDS``, and ``PARENT``.
        shares: of the updates, rising from 0 to 1.
        margin: points of ``metric`` that a start may lack of a reference and still match it.
        architectures: plain values of the fields of each network.
        metric: key of the score that is judged: ``bleu``, or ``accuracy`` in per cent of masked words.
        references: starts that, trained on all updates, are to be matched.
        space: ``task``, or ``homogeneous`` for encoders of plain shapes.
        parent: token passes of the plain network that all starts but ``NOTHING`` begin from; 0: none.
    """

    task: str
    tier: str
    tokens: float
    seeds: int
    starts: tuple[str, ...]
    shares: tuple[float, ...]
    margin: float
    architectures: tuple[JsonView, ...]
    metric: str = "bleu"
    references: tuple[str, ...] = (NOTHING,)
    space: str = "task"
    parent: float = 0.0

    def __post_init__(self) -> None:
        """Check shares, references and parent.

        Raises:
            ValueError: shares do not rise from 0 to 1, a reference is no start, or a start has no parent.
        """
        if unknown := set(self.references) - {NOTHING, *self.starts}:
            raise ValueError(f"references {', '.join(sorted(unknown))}: none of the starts")
        if self.metric not in UNITS:
            raise ValueError(f"metric {self.metric!r}: one of {', '.join(UNITS)}")
        if PARENT in self.starts and not self.parent:
            raise ValueError(f"start {PARENT}: it needs the parent's token passes, field parent")
        rising = all(a < b for a, b in zip(self.shares, self.shares[1:], strict=False))
        if not (rising and self.shares and self.shares[0] == 0 and self.shares[-1] == 1):
            raise ValueError(f"shares {self.shares}: they rise from 0 to 1")

    def curves(self) -> Iterator[Curve]:
        """Yield all curves: first seeds first, so that an unfinished study is balanced."""
        for seed in range(1, self.seeds + 1):
            for network in range(len(self.architectures)):
                yield from (Curve(start, network, seed) for start in (NOTHING, *self.starts))

    def grows_into(self, other: RetrainingPlan) -> bool:
        """Return whether ``other`` is this plan with as many seeds or more."""
        return replace(self, seeds=other.seeds) == other and self.seeds <= other.seeds

    def to_dict(self) -> JsonObject:
        """Return plain JSON types, as the file of a plan has them."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in vars(self).items()}


FIELDS = tuple(RetrainingPlan.__dataclass_fields__)
"""Fields of a plan's file."""


def read_plan(path: Path) -> RetrainingPlan:
    """Read the file of a plan.

    Raises:
        UsageError: no such file, a field is missing or unknown, or shares do not rise from 0 to 1.
    """
    try:
        fields: JsonObject = json.loads(path.read_text(encoding="utf-8"))
        values: JsonObject = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return RetrainingPlan(**values)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"--plan {path}: not a plan of a retraining study ({error}); its fields: {', '.join(FIELDS)}"
        ) from None


def missing(plan: RetrainingPlan, folder: Path) -> list[Curve]:
    """Return the curves whose files are absent."""
    return [curve for curve in plan.curves() if not (folder / f"{curve.name}.json").is_file()]


def network_label(plan: RetrainingPlan, number: int) -> str:
    """Return a short name of one of a plan's networks."""
    values = plan.architectures[number]
    layers = values.get("decoder_layers", values.get("layers"))
    kind = "decoder layer" if "decoder_layers" in values else f"layer of width {values['width']}"
    return f"{layers} {kind}" if layers == 1 else f"{layers} {kind.replace('layer', 'layers', 1)}"


def share_label(share: float) -> str:
    """Return a share in per cent."""
    return f"{100 * share:g} %"
