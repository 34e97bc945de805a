"""Published winners, rebuilt from their records alone and timed on this machine's processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.hardware.profiles import Profile
from benchmarks.records.record import Candidate, Record
from benchmarks.records.store import load_all
from benchmarks.runs.repeat import has_former_settings
from benchmarks.tasks import Family, TierSettings

ALONE = ("scratch", "retrained")
"""Origins of networks that were trained alone, not extracted from a supernet."""


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


def load_present(folder: Path, is_wanted: Callable[[Record], bool], absent: str) -> tuple[list[Record], int]:
    """Return the wanted records of today's settings, whose networks can be rebuilt, and the number of others.

    Of a run that was made twice the later record counts.

    Args:
        folder: of records, such as ``results/records``.
        is_wanted: whether a study is about a record.
        absent: message where it is about none.

    Raises:
        UsageError: there are none, or all are of former settings.
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
    latest = {}
    for record in sorted(present, key=lambda record: record["provenance"]["ended"]):
        spec = record["spec"]
        latest[spec["task"], spec["profile"], method_name(record), spec["seed"]] = record
    return [latest[key] for key in sorted(latest)], len(records) - len(present)


def method_name(record: Record) -> str:
    """Return a run's method with its options, by which runs are averaged."""
    options = record["spec"]["options"].items()
    return " ".join([record["spec"]["method"], *(f"{name}={value}" for name, value in sorted(options))])


def left_out(former: int) -> list[str]:
    """Return a page's note on so many records of former settings; nothing for 0."""
    if not former:
        return []
    return [f"{former} records of former settings are left out: today's build other networks."]


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
