"""Specification of a run, and the two rulesets after AlgoPerf (Dahl et al. 2023, section 4).

``self``: a method sets its options within its own run and allowance. ``external``: the method ships a few
sets of options, the same for every task (``Method.trials``). One run makes every trial with a whole allowance
of its own, all of it is charged, and validation chooses among their candidates. Runs of different rulesets
never share a table.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TypedDict, cast

from benchmarks.api import BUDGETED_KINDS, OptionValues, UsageError
from benchmarks.options import checked
from benchmarks.records.canonical import JsonObject, JsonView, canonical
from benchmarks.records.text import ascii_excerpt
from benchmarks.registry import MethodRef

SELF, EXTERNAL = "self", "external"
TRIALS = 5
"""Greatest number of trials of external tuning; the run's allowance is this many times the tier's."""


class _RequiredSpec(TypedDict):
    suite: str
    task: str
    tier: str
    method: str
    method_version: str
    method_sha256: str
    profile: str
    seed: int
    budget: Mapping[str, float]
    options: OptionValues
    space: str
    settings_sha256: str
    follows: str | None


class Spec(_RequiredSpec, total=False):
    """The specification of a run as its record stores it; see ``RunSpec``."""

    ruleset: str
    trials: Sequence[OptionValues]
    task_sha256: str
    data_sha256: str
    substrate_sha256: str


ID_DIGITS = 16
"""Hex digits of a run's id."""


def spec_id(spec: Mapping[str, object]) -> str:
    """Return the id of a run: the first digits of the sha256 of its specification."""
    return hashlib.sha256(canonical(spec)).hexdigest()[:ID_DIGITS]


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides a run's result; equal specs are the same run.

    Attributes:
        budget: allowance by kind.
        follows: id of the run whose architectures this one is given; None if it follows none.
        trials: under external tuning the options of every trial.
        task_sha256: digest of the task's code; like the next two None in specs from before they were kept.
        data_sha256: digest of the checksums of the task's data.
        substrate_sha256: digest of the remaining code that numbers depend on (``benchmarks.identity``).
    """

    suite: str
    task: str
    tier: str
    method: str
    method_version: str
    method_sha256: str
    profile: str
    seed: int
    budget: Mapping[str, float]
    options: OptionValues
    space: str
    settings_sha256: str
    follows: str | None = None
    ruleset: str = SELF
    trials: Sequence[OptionValues] = ()
    task_sha256: str | None = None
    data_sha256: str | None = None
    substrate_sha256: str | None = None

    @classmethod
    def of(cls, spec: JsonView) -> RunSpec:
        """Return the specification that a record stores, which may be a stranger's.

        Raises:
            UsageError: a field is unknown to this version, or no run could have had it.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(map(ascii_excerpt, set(spec) - known)):
            raise UsageError(f"its specification has fields unknown to this version: {unknown[0]}")
        for kind in BUDGETED_KINDS:
            amount = spec["budget"].get(kind)
            if not (isinstance(amount, int | float) and math.isfinite(amount) and amount > 0):
                raise UsageError(f"its specification allows {ascii_excerpt(amount)} {kind}")
        if len(spec.get("trials", ())) > TRIALS:
            raise UsageError(f"its specification has {len(spec['trials'])} trials; at most {TRIALS}")
        return cls(**spec)

    def to_dict(self) -> Spec:
        """Return the specification as a record stores it: without fields of no effect."""
        stored: JsonObject = {name: getattr(self, name) for name in _FIELDS}
        stored["budget"], stored["options"] = dict(self.budget), dict(self.options)
        if self.ruleset == SELF:
            del stored["ruleset"], stored["trials"]
        else:
            stored["trials"] = tuple(dict(trial) for trial in self.trials)
        for name in _DIGESTS:
            if stored[name] is None:
                del stored[name]
        return cast(Spec, stored)

    @cached_property
    def id(self) -> str:
        """16 hex digits of the content hash."""
        return spec_id(self.to_dict())


_FIELDS = tuple(field.name for field in fields(RunSpec))
_DIGESTS = ("task_sha256", "data_sha256", "substrate_sha256")
"""Fields that older specs lack."""


def ruleset_of(spec: Spec) -> str:
    """Return the ruleset of a run; specs under ``self`` do not state it."""
    return spec.get("ruleset", SELF)


def allowances(spec: Spec) -> int:
    """Return the number of equal allowances in a run's budget: one for each trial, used or not."""
    return TRIALS if ruleset_of(spec) == EXTERNAL else 1


def tuning_trials(ref: MethodRef, options: OptionValues) -> tuple[OptionValues, ...]:
    """Return the trials of a method under external tuning.

    Raises:
        UsageError: the method declares no trials, too many or two equal ones; a trial has an undeclared or
            wrong option; or options were given as well.
    """
    if not ref.trials:
        raise UsageError(
            f"{ref.name} declares no trials, so it cannot be tuned from outside\n"
            'declare them in its class body, such as trials = ({"after": "scratch"}, {"after": "continue"}),'
            " or run it as it is: --ruleset self"
        )
    if len(ref.trials) > TRIALS:
        raise UsageError(f"{ref.name} declares {len(ref.trials)} trials; external tuning has {TRIALS}")
    if options:
        named = " ".join(f"--option {ref.name}.{key}" for key in options)
        raise UsageError(f"{named}: under external tuning options come from the method's trials alone")
    checked_trials = [
        checked(ref.name, ref.options, trial, f"{ref.name}, trial {n}: ")
        for n, trial in enumerate(ref.trials, 1)
    ]
    for n, trial in enumerate(checked_trials):
        if trial in checked_trials[:n]:
            first = checked_trials.index(trial) + 1
            raise UsageError(f"{ref.name}: trials {first} and {n + 1} are the same run: leave one out")
    return ref.trials
