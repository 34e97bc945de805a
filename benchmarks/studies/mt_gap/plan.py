"""Plan of the gap study: its task, networks, supernets and amounts of training, registered in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject, JsonView
from supernet.space import Architecture, SearchSpace

REGISTERED = Path(__file__).with_name("registered.json")
"""The plan that the published study follows, committed before its first measurement."""
ALONE = "alone"
"""Kind of the networks that are trained alone."""
SPACE_SEED = 18
"""Seed of the registered draw."""


@dataclass(frozen=True)
class Job:
    """One training: of a supernet, or of network ``network`` alone (None for a supernet)."""

    kind: str
    seed: int
    network: int | None = None

    @property
    def name(self) -> str:
        """Name of its file of scores, without ending."""
        middle = "" if self.network is None else f"-{self.network:02d}"
        return f"{self.kind}{middle}-seed{self.seed}"


@dataclass(frozen=True)
class GapPlan:
    """Networks, supernets and amounts of training of one study.

    Attributes:
        task, tier: whose data, recipe and search space are used.
        tokens: target tokens of each training, counted once a batch: equal tokens are equal updates.
        alone_seeds, supernet_seeds: numbers of seeds, from 1.
        kinds: supernets, by name in ``measure.KINDS``.
        architectures: plain values of the fields of each network.
    """

    task: str
    tier: str
    tokens: float
    alone_seeds: int
    supernet_seeds: int
    kinds: tuple[str, ...]
    architectures: tuple[JsonView, ...]

    def jobs(self) -> Iterator[Job]:
        """Yield all trainings: first seeds first, so that an unfinished study is balanced."""
        for seed in range(1, max(self.alone_seeds, self.supernet_seeds) + 1):
            if seed <= self.supernet_seeds:
                yield from (Job(kind, seed) for kind in self.kinds)
            if seed <= self.alone_seeds:
                yield from (Job(ALONE, seed, i) for i in range(len(self.architectures)))

    def grows_into(self, other: GapPlan) -> bool:
        """Return whether ``other`` is this plan with as many seeds or more."""
        same = replace(self, alone_seeds=other.alone_seeds, supernet_seeds=other.supernet_seeds) == other
        return same and self.alone_seeds <= other.alone_seeds and self.supernet_seeds <= other.supernet_seeds

    def to_dict(self) -> JsonObject:
        """Return plain JSON types, as the file of a plan has them."""
        return {**vars(self), "kinds": list(self.kinds), "architectures": list(self.architectures)}


def read_plan(path: Path = REGISTERED) -> GapPlan:
    """Read the file of a plan.

    Raises:
        UsageError: no such file, or a field is missing or unknown.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return GapPlan(
            **{**fields, "kinds": tuple(fields["kinds"]), "architectures": tuple(fields["architectures"])}
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"--plan {path}: not a plan of the gap study ({error}); its fields: {', '.join(FIELDS)}"
        ) from None


FIELDS = tuple(GapPlan.__dataclass_fields__)
"""Fields of a plan's file."""


def stratified(space: SearchSpace, each: int, seed: int = SPACE_SEED) -> list[JsonObject]:
    """Draw ``each`` distinct architectures of every decoder depth, uniformly within the depth."""
    rng, drawn = np.random.default_rng(seed), []
    for depth in sorted(space.choice("decoder_layers").options):
        stratum: dict[Architecture, None] = {}
        while len(stratum) < each:
            architecture = space.sample(rng)
            if architecture["decoder_layers"] == depth:
                stratum[architecture] = None
        drawn += [architecture.to_dict() for architecture in stratum]
    return drawn


def missing(plan: GapPlan, done: Sequence[str]) -> list[Job]:
    """Return the trainings whose scores are absent."""
    known = set(done)
    return [job for job in plan.jobs() if job.name not in known]
