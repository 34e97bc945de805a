"""The two rulesets, after AlgoPerf (Dahl et al. 2023, section 4): who sets a method's options, and who pays.

``self``: nobody outside the run; what a method tunes, it tunes on its own clock. ``external``: the method
ships a few sets of options, the same for every task (``Method.trials``). One run makes every trial with
a whole allowance of its own, all of it is charged, and validation chooses among what they propose. Runs of
different rulesets never share a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.api import UsageError
from benchmarks.options import checked
from benchmarks.registry import MethodRef

SELF, EXTERNAL = "self", "external"
TRIALS = 5
"""Of external tuning, at most; the allowance of a run is this many times the tier's, used or not."""


def of(spec: Mapping[str, Any]) -> str:
    """The ruleset of a run; specs of ``self`` do not name it, as none did before there were two."""
    return str(spec.get("ruleset", SELF))


def parts(spec: Mapping[str, Any]) -> int:
    """How many equal parts the allowance of a run has."""
    return TRIALS if of(spec) == EXTERNAL else 1


def trials(ref: MethodRef, options: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The trials of a method under external tuning.

    Raises:
        UsageError: it declares none, too many or two that are the same, a trial has an option that the
            method does not declare so, or it was given options as well.
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
    kinds = [
        checked(ref.name, ref.options, trial, f"{ref.name}, trial {n}: ")
        for n, trial in enumerate(ref.trials, 1)
    ]
    for n, kind in enumerate(kinds):
        if kind in kinds[:n]:
            raise UsageError(
                f"{ref.name}: trials {kinds.index(kind) + 1} and {n + 1} are the same run: leave one out"
            )
    return ref.trials
