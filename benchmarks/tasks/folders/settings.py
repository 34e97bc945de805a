"""Settings of a task of the user's: its ``task.toml``, and its tiers over ours. Each key is checked."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonObject
from benchmarks.suggestions import suggest, unknown
from benchmarks.tasks import DEVICES
from benchmarks.tasks.folders import splits
from benchmarks.tasks.tiers import Table, Tier, merged, tier_of, tier_table

TEXT, MLM, IMAGES = KINDS = ("text", "mlm", "images")
FILE = "task.toml"
"""File with the settings in the folder itself."""
OPTIONS: Mapping[str, Mapping[str, type]] = {
    TEXT: {
        "name": str, "source": str, "target": str, "tokenizer": str, "pretokenized": str,
        "columns": list, "splits": dict, "seed": int,
    },
    MLM: {"name": str, "documents": str, "splits": dict, "seed": int},
    IMAGES: {"name": str, "seed": int},
}  # fmt: skip
"""Kind of folder -> option -> its type."""
TYPE_WORDS = {
    str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list",
    tuple: "a list", dict: "a table",
}  # fmt: skip
"""Type of a setting -> words for messages."""
VOCABULARIES = range(6, 2**31)
"""Allowed sizes of a vocabulary: more than the five special tokens, and what sentencepiece can count."""
CHOICES = {"pretokenized": ("none", "moses"), "documents": ("blank-lines", "lines", "files")}
"""Option -> its values."""
OURS = Path(__file__).parents[1]
TABLES = {TEXT: OURS / "mt.toml", MLM: OURS / "bert.toml", IMAGES: OURS / "vision.toml"}
"""Kind -> file with the tiers that its tiers take over."""
DROPPED = ("seed", "train", "train_characters", "valid_characters", "test_characters")
"""Entries of ``data`` of our tiers that concern our data alone."""
FREE = ("recipe", "data", "model", "workload", "decode", "finetune")
"""Tables of a tier in which a key may be given that the tier taken over lacks."""
UNSET = ("counted", "finetune")
"""Tables that are not taken over: prices that were fitted to our data, tasks to fine-tune on."""


@cache
def _bases() -> dict[str, JsonObject]:
    return tomllib.loads(Path(__file__).with_name("tiers.toml").read_text(encoding="utf-8"))


def tiers_of(kind: str) -> tuple[str, ...]:
    """Return the names of a kind's tiers, smallest first."""
    return tuple(_bases()[kind])


def read(file: Path, kind: str) -> tuple[JsonObject, JsonObject]:
    """Return the options and the tiers of a ``task.toml``.

    Raises:
        UsageError: the file cannot be read, or a key or a value of it is none; names both.
    """
    try:
        table = tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read '{file}': {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"'{file}' is not TOML: {error}") from None
    check(kind, table, f"'{file}'")
    tiers = {name for name in table if name in (*tiers_of(kind), "all")}
    options = {name: value for name, value in table.items() if name not in tiers}
    return options, {name: table[name] for name in tiers}


def check(kind: str, table: Table, where: str) -> None:
    """Check the keys and the types of values of a ``task.toml``.

    Raises:
        UsageError: a key or a value is none; names both.
    """
    _check_plain(table, where)
    known = OPTIONS[kind]
    tiers = {name: value for name, value in table.items() if name in (*tiers_of(kind), "all")}
    options = {name: value for name, value in table.items() if name not in tiers}
    for name, value in options.items():
        if name not in known:
            allowed = [*known, "all", *tiers_of(kind)]
            raise unknown(f"setting of {kind} in {where}", name, allowed, "see docs/own.md")
        if type(value) is not known[name]:
            raise UsageError(f"{where}: {name} = {value!r}: {TYPE_WORDS[known[name]]} is needed")
        if name == "name" and not re.search("[A-Za-z0-9]", str(value)):
            raise UsageError(f"{where}: name = {value!r}: a Latin letter or a digit is needed in it")
        if name == "seed" and isinstance(value, int) and value < 0:
            raise UsageError(f"{where}: seed = {value}: 0 or more is needed")
        if isinstance(value, list) and not (value and all(isinstance(column, str) for column in value)):
            raise UsageError(f'{where}: {name} = {value!r}: names are needed, such as ["en", "fr"]')
        if isinstance(value, dict):
            splits.check_table(value, where)
        if name in CHOICES and value not in CHOICES[name]:
            raise UsageError(f"{where}: {name} = {value!r}: choose {' or '.join(CHOICES[name])}")
    for tier, own in tiers.items():
        if not isinstance(own, Mapping):
            raise UsageError(f"{where}: {tier} = {own!r}: a table is needed, [{tier}]")
        for name in (tier,) if tier != "all" else tiers_of(kind):
            _check(own, _base(kind, name), f"{where}: {tier}")


def _check_plain(value: object, where: str) -> None:
    """Refuse dates, and numbers that are not finite, wherever they stand: no setting is one.

    Raises:
        UsageError: naming the place.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_plain(inner, f"{where}: {name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_plain(inner, where)
    elif not isinstance(value, str | int) and not (isinstance(value, float) and math.isfinite(value)):
        raise UsageError(f"{where} = {value}: a text, a finite number, true or false is needed")


def _base(kind: str, tier: str) -> JsonObject:
    """Return a tier's settings before the user's own."""
    own = dict(_bases()[kind][tier])
    task, ours = own.pop("from")
    table = {k: v for k, v in tier_table(TABLES[kind], task, ours).items() if k not in UNSET}
    table["data"] = {key: value for key, value in table.get("data", {}).items() if key not in DROPPED}
    return merged(table, own)


def tier(kind: str, task: str, name: str, device: str, tiers: Mapping[str, Table], data: Table) -> Tier:
    """Return the settings of a tier of a user's task.

    Args:
        kind: of folder.
        task: name of the task.
        name: of the tier.
        device: ``cpu`` or ``cuda``.
        tiers: the user's tables; ``all`` lies below each tier's own.
        data: what else determines the data, such as languages.

    Raises:
        UsageError: there is no such tier.
    """
    if name not in tiers_of(kind):
        raise unknown(f"tier of {task}", name, tiers_of(kind), f"choose one: --tier {tiers_of(kind)[0]}")
    table = merged(_base(kind, name), tiers.get("all", {}), tiers.get(name, {}))
    return tier_of(task, name, device, merged(table, {"data": data}))


def items_of_batch(task: str, tier: Tier, tokens: int, item: str) -> int:
    """Return the number of items in one training batch.

    Args:
        task: name of the task.
        tokens: tokens of one item.
        item: word for an item.

    Raises:
        UsageError: a batch is smaller than one item.
    """
    batch = int(tier.recipe["batch_tokens"])
    if batch < tokens:
        raise UsageError(
            f"{task} {tier.name}: recipe.batch_tokens is {batch:,}, and one {item} takes {tokens:,} tokens\n"
            f"set it to {tokens:,} or more in task.toml"
        )
    return batch // tokens


def names_vocabulary(tiers: Mapping[str, Table], name: str) -> bool:
    """Return whether the user's own tables set the vocabulary of a tier."""
    return any("vocab" in tiers.get(table, {}) for table in ("all", name))


def _check(own: Table, base: Table, where: str) -> None:
    """Check the keys and types of a user's tier against the one that it lies over.

    Raises:
        UsageError: a key that no tier has, or a value of another type.
    """
    fields = [f.name for f in dataclasses.fields(Tier) if f.name not in ("name", "sha256")]
    _check_keys(own, [*base, *fields], where)
    for key, value in own.items():
        if isinstance(base.get(key), Mapping) and not set(base[key]) <= {*DEVICES}:
            if not isinstance(value, Mapping):
                raise UsageError(f"{where}.{key} = {value!r}: a table is needed, such as {{ ... }}")
            known = _recipe_fields() if key == "recipe" else base[key]
            if key not in FREE or key == "recipe":
                _check_keys(value, known, f"{where}.{key}")
            for name, inner in value.items():
                _check_type(inner, base[key].get(name), f"{where}.{key}.{name}")
        else:
            _check_type(value, base.get(key), f"{where}.{key}")
            if key == "vocab":
                for size in _by_device(value):
                    if not isinstance(size, int) or size not in VOCABULARIES:
                        raise UsageError(
                            f"{where}.vocab = {size}: a whole number of {VOCABULARIES[0]} or more is needed"
                        )


def _recipe_fields() -> list[str]:
    """Return the fields of a training recipe, as all our recipes together have them."""
    return [
        "learning_rate", "warmup", "schedule", "betas", "weight_decay", "label_smoothing", "batch_tokens",
        "accumulate", "clip_norm", "precision", "average_checkpoints", "average_span",
    ]  # fmt: skip


def _check_keys(table: Table, known: Iterable[str], where: str) -> None:
    known = list(dict.fromkeys([*known, *DEVICES]))
    for key in table:
        if key not in known:
            raise UsageError(
                f"{where}: no setting '{key}'. {suggest(key, known)}\nknown: {' '.join(sorted(known))}"
            )


def _check_type(value: object, like: object, where: str) -> None:
    """Check that a value has the type of the one that it replaces, for each kind of device."""
    values = _by_device(value)
    patterns = _by_device(like)
    for one_value in values:
        for pattern in patterns:
            if pattern is None or isinstance(pattern, Mapping) or isinstance(one_value, Mapping):
                continue
            number = isinstance(pattern, int | float) and not isinstance(pattern, bool)
            fits = (
                isinstance(one_value, int | float) and not isinstance(one_value, bool)
                if number
                else isinstance(one_value, type(pattern))
            )
            if not fits:
                kind = TYPE_WORDS[float if number else type(pattern)]
                raise UsageError(f"{where} = {json.dumps(one_value)}: {kind} is needed, such as {pattern!r}")


def _by_device(value: object) -> list[object]:
    if isinstance(value, Mapping) and value and set(value) <= {*DEVICES}:
        return list(value.values())
    return [value]


def slug(text: str) -> str:
    """Return a text as part of a task's name: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "data"
