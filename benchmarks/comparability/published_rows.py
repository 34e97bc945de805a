"""Published rows beside a user's own: those that share a table, those that are missing, and their cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks import identity
from benchmarks.comparability import grouping
from benchmarks.records.matching import of_method
from benchmarks.records.record import Record
from benchmarks.registry import MethodRef

NAMES = {
    "settings_sha256": "settings",
    "task_sha256": "the task's code", "substrate_sha256": "the substrate's code",
    "profile_sha256": "the profile's content",
}  # fmt: skip
"""Fact -> its name in a message."""


@dataclass
class Rows:
    """Records of one table: the user's own and published ones.

    Attributes:
        conditions: facts that all of them share.
        records: in the order of the methods.
        published: number of published ones among them.
        missing: method -> seeds that others have and it lacks; all seeds if its rows are of earlier code.
        reasons: method -> what keeps its published rows apart.
        earlier: installed methods whose published rows are of an earlier version of their code.
    """

    conditions: Mapping[str, str]
    records: list[Record] = field(default_factory=list)
    published: int = 0
    missing: dict[str, list[int]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    earlier: list[str] = field(default_factory=list)


def choose_conditions(
    refs: Sequence[MethodRef], own: Sequence[Record], published: Sequence[Record], profile: str | None
) -> Mapping[str, str] | None:
    """Return the facts of the table: of the user's own records, else of most published ones.

    Args:
        refs: methods of the table.
        own: records of this machine.
        published: published records.
        profile: that comes first among published ones, such as this machine's.
    """
    mine = [record for ref in refs for record in of_method(ref, own)]
    if mine:
        return grouping.facts(max(mine, key=lambda record: record["provenance"]["ended"]))
    counts: Counter[tuple[tuple[str, str], ...]] = Counter(
        tuple(grouping.facts(record).items())
        for ref in refs
        for record in (_named(ref, published) if _is_installed(ref) else of_method(ref, published))
        if record["status"] != "failed"
    )
    if not counts:
        return None
    of_profile = [facts for facts in counts if ("profile", profile) in facts] or [*counts]
    most = max(of_profile, key=lambda facts: (counts[facts], facts))
    return dict(most)


def gather(
    refs: Sequence[MethodRef],
    conditions: Mapping[str, str],
    own: Sequence[Record],
    published: Sequence[Record],
) -> Rows:
    """Return the rows of a table under ``conditions``, and what it lacks.

    Where no row of an installed method's present code fits, the published rows of its last version are
    taken: the numbers of a published table stand, whatever has become of the code since.
    """
    rows = Rows(conditions)
    seeds: dict[str, set[int]] = {}
    for ref in refs:
        mine = [r for r in of_method(ref, own) if grouping.facts(r) == conditions]
        known = {_run(record) for record in mine}
        fitting = [r for r in _named(ref, published) if grouping.facts(r) == conditions]
        fitting = [r for r in fitting if r["status"] != "failed"]
        theirs = [r for r in of_method(ref, fitting) if _run(r) not in known]
        if fitting and not (mine or theirs) and _is_installed(ref):
            theirs = _last_version(fitting)
            rows.earlier.append(ref.name)
        rows.records += mine + theirs
        rows.published += len(theirs)
        seeds[ref.name] = {record["spec"]["seed"] for record in mine + theirs}
        if not seeds[ref.name]:
            rows.reasons[ref.name] = _reason(ref, conditions, [*own, *published])
    wanted = set().union(*seeds.values()) if seeds else set()
    for name, has in seeds.items():
        if lacks := wanted - has:
            # A row of today's code shares no table with rows of an earlier one: it takes all seeds.
            rows.missing[name] = sorted(wanted if name in rows.earlier else lacks)
    return rows


def _named(ref: MethodRef, records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record["spec"]["method"] == ref.name]


def _is_installed(ref: MethodRef) -> bool:
    """Return False for a method of a user's own file, whose name may be another's by chance."""
    return not ref.source.rpartition(":")[0].endswith(".py")


def _last_version(records: Sequence[Record]) -> list[Record]:
    """Return the records of the code that the record which ended last was made with."""
    codes = [identity.of_record(record).method for record in records]
    last = max(range(len(records)), key=lambda i: records[i]["provenance"]["ended"])
    return [record for record, code in zip(records, codes, strict=True) if code == codes[last]]


def _run(record: Record) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Return seed and options, by which a run of one method and table is known."""
    return record["spec"]["seed"], tuple(sorted((k, str(v)) for k, v in record["spec"]["options"].items()))


def _reason(ref: MethodRef, conditions: Mapping[str, str], records: Iterable[Record]) -> str:
    """Return the reason why a method's records are not in a table, of the nearest one."""
    named = _named(ref, records)
    if not named:
        return "it has no records"
    current = of_method(ref, named)
    if not current:
        return "its records are of another version of its code"
    differing = [
        [name for name in {**conditions, **facts} if conditions.get(name) != facts.get(name)]
        for facts in map(grouping.facts, current)
    ]
    nearest = min(differing, key=len)
    return "its records differ in " + ", ".join(NAMES.get(name, name) for name in nearest)


def seconds_of(name: str, conditions: Mapping[str, str], records: Iterable[Record]) -> float | None:
    """Return the mean seconds of a run with scoring: of the method, else of all; None if nothing is known.

    Args:
        name: of the method.
        conditions: of the table; task, tier and profile count.
        records: of any methods.
    """
    like = [
        record
        for record in records
        if record["status"] == "done"
        and all(record["spec"][part] == conditions[part] for part in ("task", "tier", "profile"))
    ]
    kept = [record for record in like if record["spec"]["method"] == name] or like
    if not kept:
        return None
    spent = [
        record["ledger"]["totals"].get("seconds", 0.0)
        + math.fsum(record["ledger"].get("harness_seconds", {}).values())
        for record in kept
    ]
    return math.fsum(spent) / len(spent)
