"""Plan of the pilots: one training each, read from a TOML file that is committed before the first of them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.tasks import glue

REGISTERED = Path(__file__).with_name("pilots.toml")
"""The plan of the committed pilots."""
KINDS = ("parent", "single-path", "sandwich", "mos-layer", "mos-neuron")
"""Kinds of pilots: the parent, and supernets by rule of sampling and source of weights."""
NOTHING = "nothing"


@dataclass(frozen=True)
class Pilot:
    """One training.

    Attributes:
        name: of its file, without ending.
        task, tier: whose text, recipe and spaces are used.
        kind: one of ``KINDS``.
        space: ``task`` or ``homogeneous``.
        start: name of the pilot whose network it starts from, or ``nothing``.
        finetune: task of fine-tuning -> numbers of epochs that the trained parent is fine-tuned for on it.
        seed: of initial weights, batches and sampled architectures.
        length: tokens of a row.
        batch_tokens: tokens of an update.
        learning_rate: highest rate of the schedule.
        tokens: token passes of the training.
    """

    name: str
    task: str
    tier: str
    kind: str
    space: str
    seed: int
    length: int
    batch_tokens: int
    learning_rate: float
    tokens: float
    start: str = NOTHING
    finetune: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def to_dict(self) -> JsonObject:
        """Return the pilot as plain values, ``finetune`` if there is any."""
        values = asdict(self)
        return values if self.finetune else {k: v for k, v in values.items() if k != "finetune"}


def read_pilots(path: Path) -> list[Pilot]:
    """Return the pilots of a file, parents first.

    Raises:
        UsageError: the file is no plan of pilots, naming the table.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is no plan of pilots ({error})") from None
    shared = tables.pop("all", {})
    pilots = [pilot for name, table in tables.items() for pilot in _pilots(path, name, {**shared, **table})]
    parents = {pilot.name for pilot in pilots if pilot.kind == "parent"}
    for pilot in pilots:
        if pilot.start not in (NOTHING, *parents):
            raise UsageError(
                f"{path}: {pilot.name} starts from {pilot.start}; parents are {', '.join(sorted(parents))}"
            )
    return sorted(pilots, key=lambda pilot: pilot.kind != "parent")


def _pilots(path: Path, name: str, table: JsonView) -> Iterator[Pilot]:
    """Yield one pilot for each combination of the lists in a table, and with ``more`` a longer one beside."""
    own = dict(table)
    more = own.pop("more", None)
    known = {field.name for field in fields(Pilot)} - {"name"}
    if unknown := set(own) - known:
        raise UsageError(f"{path}: {name} has no setting {min(unknown)}; known: {', '.join(sorted(known))}")
    varied = {key: value for key, value in own.items() if isinstance(value, list)}
    for values in product(*varied.values()):
        chosen = own | dict(zip(varied, values, strict=True))
        label = "-".join([name, *map(_word, values)])
        try:
            pilot = Pilot(name=label, **chosen)
        except TypeError as error:
            raise UsageError(f"{path}: {name}: {error}") from None
        if pilot.kind not in KINDS or pilot.space not in ("task", "homogeneous"):
            raise UsageError(
                f"{path}: {name}: kind {pilot.kind}, space {pilot.space}: choose of {', '.join(KINDS)};"
                " task or homogeneous"
            )
        _check_finetune(path, pilot)
        yield pilot
        if more is not None:
            yield Pilot(**{**pilot.to_dict(), "name": f"{label}-x{more:g}", "tokens": more * pilot.tokens})


def _check_finetune(path: Path, pilot: Pilot) -> None:
    """Raise UsageError unless a pilot's ``finetune`` is empty, or a parent's tasks with numbers of epochs."""
    asked = pilot.finetune
    numbers = [n for each in asked.values() for n in (each if isinstance(each, list) else [None])]
    valid = all(isinstance(n, int) and n >= 1 for n in numbers)
    if asked and (pilot.kind != "parent" or not numbers or not valid):
        raise UsageError(
            f"{path}: {pilot.name}: finetune is a table of a parent, such as {{ sts-b = [3, 10] }}: epochs"
        )
    glue.check(list(asked))


def _word(value: object) -> str:
    """Return a value as part of a name: ``7e-4``, ``64``, ``sandwich``."""
    return f"{value:.0e}".replace("e-0", "e-") if isinstance(value, float) else str(value)
