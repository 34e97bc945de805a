"""Plan of the retraining study: its networks, starts and amounts of training, registered in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject, JsonView

REGISTERED = Path(__file__).with_name("registered.json")
"""The plan that the published study follows, committed before its first measurement."""
NOTHING = "nothing"
"""Start of networks that no supernet initialises."""


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
        starts: supernets, by name in ``supernets.KINDS``.
        shares: of the updates, rising from 0 to 1.
        margin: BLEU that a start may lack of training from nothing and still match it.
        architectures: plain values of the fields of each network.
    """

    task: str
    tier: str
    tokens: float
    seeds: int
    starts: tuple[str, ...]
    shares: tuple[float, ...]
    margin: float
    architectures: tuple[JsonView, ...]

    def __post_init__(self) -> None:
        """Check the shares.

        Raises:
            ValueError: they do not rise from 0 to 1.
        """
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


def read_plan(path: Path = REGISTERED) -> RetrainingPlan:
    """Read the file of a plan.

    Raises:
        UsageError: no such file, a field is missing or unknown, or shares do not rise from 0 to 1.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        lists = ("starts", "shares", "architectures")
        return RetrainingPlan(**{**fields, **{name: tuple(fields[name]) for name in lists}})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"--plan {path}: not a plan of the retraining study ({error}); its fields: {', '.join(FIELDS)}"
        ) from None


def missing(plan: RetrainingPlan, folder: Path) -> list[Curve]:
    """Return the curves whose files are absent."""
    return [curve for curve in plan.curves() if not (folder / f"{curve.name}.json").is_file()]
