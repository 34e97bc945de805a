"""Published winners, rebuilt from their records alone and timed on this machine's processor."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.api import InvalidRecordError, UsageError
from benchmarks.hardware.profiles import Profile
from benchmarks.records import study_files
from benchmarks.records.canonical import JsonObject
from benchmarks.records.record import Candidate, Record
from benchmarks.records.spec import SELF, ruleset_of
from benchmarks.records.store import load_all
from benchmarks.records.study_files import StudyOutcome
from benchmarks.runs.plan import scale_budget
from benchmarks.runs.repeat import has_former_settings
from benchmarks.runs.user_declarations import restored
from benchmarks.tasks import Family, TierSettings
from benchmarks.tasks.datasets import Say

Network = tuple[Record, Candidate]
Timing = TypeVar("Timing")
ALONE = ("scratch", "retrained")
"""Origins of networks that were trained alone, not extracted from a supernet."""


@dataclass(frozen=True)
class OmittedRecords:
    """Numbers of records that a study leaves out.

    Attributes:
        former: of former settings.
        unequal: of another ruleset than ``self``, or of another allowance than their tier's own.
    """

    former: int = 0
    unequal: int = 0

    @property
    def notes(self) -> list[str]:
        """Sentences for a page; none for zeros."""
        former = f"{self.former} records of former settings are left out: today's build other networks."
        unequal = f"{self.unequal} records of another allowance than the tier's own, or tuned, are left out."
        return [former] * bool(self.former) + [unequal] * bool(self.unequal)


NONE_OMITTED = OmittedRecords()


def time_in_rounds(
    networks: Mapping[str, Network],
    rounds: int,
    time_network: Callable[[Network], Timing],
    random: np.random.Generator,
    say: Say,
) -> dict[str, list[Timing]]:
    """Time each network once a round, each round in another order: drifts of the machine meet all alike.

    In the order of the records a method's networks follow each other. Even a latency over the reference's
    drifts with the caches that neighbours on the host leave, so that a method would be taken for its hour.

    Args:
        networks: by key.
        rounds: timings of each.
        time_network: builds a network and times it.
        random: draws the orders.
        say: receives lines of progress.
    """
    timings: dict[str, list[Timing]] = {key: [] for key in networks}
    began, total = time.monotonic(), rounds * len(networks)
    keys = [*networks]
    order = [keys[i] for _ in range(rounds) for i in random.permutation(len(keys))]
    for number, key in enumerate(order):
        timings[key].append(time_network(networks[key]))
        remaining_s = (time.monotonic() - began) / (number + 1) * (total - number - 1)
        say(f"{number + 1} of {total} timings: about {remaining_s / 60:.0f} min left")
    return timings


def judge_again(path: Path, study: str, judge: Callable[[JsonObject], StudyOutcome]) -> StudyOutcome:
    """Return the outcome of a study's file by the rule of today; its timings and their source stay.

    Args:
        path: of the file.
        study: its name.
        judge: gives the outcome of the file's content.

    Raises:
        InvalidRecordError: the file is of another study, or was changed after it was written.
    """
    seal = study_files.load(path, figures=False).seal
    old: JsonObject = json.loads(path.read_text("utf-8"))
    if (name := old.get("study", path.stem)) != study:
        raise InvalidRecordError(f"{path}: of study {name}, not {study}")
    measured = old.get("measured") or {**old["written"], "seal": seal}
    note = f"Timed at commit {study_files.commit_text(measured)}; judged again from that file."
    again = judge(old)
    return replace(again, notes=[*again.notes, note], facts={**again.facts, "measured": measured})


def processor_profile(study: str) -> Profile:
    """Return the declared CPU profile that this machine matches.

    Raises:
        UsageError: it matches none.
    """
    from benchmarks.hardware import profiles

    name = profiles.matching()
    profile = profiles.get(name) if name else None
    if profile is None or profile.device != "cpu":
        raise UsageError(
            f"study {study} times on a declared CPU profile, and this machine is none:"
            " supernet-bench doctor lists the differences"
        )
    return profile


def load_present(
    folder: Path, is_wanted: Callable[[Record], bool], absent: str
) -> tuple[list[Record], OmittedRecords]:
    """Return the wanted records that can be compared, and the numbers of others.

    Their settings are today's, so that their networks can be rebuilt; their allowance is their tier's own.
    Of a run that was made twice the later record counts.

    Args:
        folder: of records, such as ``results/records``.
        is_wanted: whether a study is about a record.
        absent: message where it is about none.

    Raises:
        UsageError: there are none, all are of former settings or of other allowances, or those of one task
            were searched on several profiles.
    """
    records = [record for record in load_all(folder) if is_wanted(record)]
    if not records:
        raise UsageError(f"{absent}; --results names the folder above records/, such as --results results")
    present = [record for record in records if not has_former_settings(record["spec"])]
    if not present:
        commit = records[0]["provenance"]["commit"]
        raise UsageError(
            f"all {len(records)} records are of former settings, and today's build other networks:"
            f" git switch --detach {commit}, or a later commit with its settings, and time them there"
        )
    equal = [record for record in present if has_own_allowance(record)]
    if not equal:
        raise UsageError(
            f"all {len(present)} records of today's settings are of another allowance than their tier's own,"
            " or tuned: make their runs without --budget-scale and --ruleset"
        )
    _require_same_profile(equal)
    latest = {}
    for record in sorted(equal, key=lambda record: record["provenance"]["ended"]):
        spec = record["spec"]
        latest[spec["task"], method_name(record), spec["seed"]] = record
    omitted = OmittedRecords(len(records) - len(present), len(present) - len(equal))
    return [latest[key] for key in sorted(latest)], omitted


def has_own_allowance(record: Record) -> bool:
    """Return whether a run had its tier's own allowance, in one trial."""
    from benchmarks.hardware import profiles
    from benchmarks.tasks import get_task

    spec = record["spec"]
    with restored(record):
        tier = get_task(spec["task"]).tier(spec["tier"], profiles.get(spec["profile"]).device)
    return ruleset_of(spec) == SELF and spec["budget"] == scale_budget(tier.budget, 1.0)


def _require_same_profile(records: Sequence[Record]) -> None:
    """Refuse records of one task that were searched on several profiles.

    Raises:
        UsageError: there are such records; their seeds would count as those of one method.
    """
    profiles: dict[str, set[str]] = {}
    for record in records:
        profiles.setdefault(record["spec"]["task"], set()).add(record["spec"]["profile"])
    for task, names in profiles.items():
        if len(names) > 1:
            searched = " and ".join(sorted(names))
            raise UsageError(
                f"records of {task} were searched on {searched}: a method's seeds are of one profile"
                f"\ncopy records/{task}/PROFILE elsewhere: --results names the folder above records/"
            )


def require_networks(count: int, folder: Path) -> None:
    """Refuse a study without a network to time.

    Raises:
        UsageError: the count is 0.
    """
    if not count:
        raise UsageError(
            f"no record in {folder} has a network to time: none of their candidates is a scored winner of a"
            " limit\nsupernet-bench report --results FOLDER shows what they have"
        )


def method_name(record: Record) -> str:
    """Return a run's method with its options, by which runs are averaged."""
    options = record["spec"]["options"].items()
    return " ".join([record["spec"]["method"], *(f"{name}={value}" for name, value in sorted(options))])


def rebuild(record: Record, candidate: Candidate) -> tuple[Family, Family, TierSettings]:
    """Return the candidate's family, the family of the reference network, and the tier."""
    from benchmarks.tasks import Prepared, get_task
    from supernet.space import SearchSpace

    task = get_task(record["spec"]["task"])
    tier = task.tier(record["spec"]["tier"], "cpu")
    prepared = Prepared(Path(), None, {}, tier.vocab, tier.vocab)
    own = task.family(tier, prepared)
    space = SearchSpace.from_dict(candidate["space"]) if "space" in candidate else None
    family = task.family(tier, prepared, space) if space else own
    if candidate["origin"] in ALONE:
        family = family.restrict_to(family.space.architecture(candidate["architecture"]))
    return family, own, tier
