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
from typing import TypeGuard

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
ANY = "*"
"""Key of an example that stands for every key."""
EXAMPLES: Table = {
    "limits": [0.8], "windows": [[110e3, 140e3]], "seeds_default": 1, "throughput": 12000,
    "recipe": {
        "learning_rate": 1e-3, "warmup": 0.08, "schedule": "cosine", "betas": [0.9, 0.98],
        "weight_decay": 0.01, "label_smoothing": 0.1, "batch_tokens": 4096, "accumulate": 1, "clip_norm": 1.0,
        "precision": "fp32", "average_checkpoints": 0, "average_span": 0.25,
    },
    "workload": {
        "source_len": 12, "steps": 13, "beam": 4, "image": 32, "channels": 3, "text": 16, "runtime": "torch",
        "energy_seconds": 0.5,
    },
    "decode": {
        "beam": 5, "lenpen": 1.0, "max_len_a": 1.2, "max_len_b": 10, "min_len": 1, "batch_tokens": 4096,
    },
    "counted": {"operator_us": 7.4, "macs_per_us": 1500, "operators_us": {ANY: 42.0}},
    "finetune": {
        "tasks": ["cola"], "learning_rates": [5e-5], "epochs": None, "batch": 16, "seeds": 3,
        "train_most": 4000, "held_out": 0.1, "warmup": 0.1, "precision": "fp32", "lengths": [32],
    },
}  # fmt: skip
"""Settings that a tier may be given, whether or not the tier taken over has them; None: of any type."""
MODELS: Mapping[str, Table] = {
    TEXT: {
        "share": "all", "dropout": 0.1, "attention_dropout": 0.0, "activation_dropout": 0.0,
        "max_positions": 256,
    },
    MLM: {"dropout": 0.1, "attention_dropout": 0.1, "max_positions": 128, "segments": 2},
    IMAGES: {"image": 32, "channels": 3, "dropout": 0.0},
}  # fmt: skip
"""Kind -> settings of ``model`` that its tiers may be given."""
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
        _check_option(name, value, known[name], where)
    for tier, own in tiers.items():
        if not isinstance(own, Mapping):
            raise UsageError(f"{where}: {tier} = {own!r}: a table is needed, [{tier}]")
        data = own.get("data")
        if isinstance(data, Mapping):  # options of the task may stand there as well
            for name in {*data} & {*known}:
                _check_option(name, data[name], known[name], f"{where}: {tier}.data")
            own = {**own, "data": {k: v for k, v in data.items() if k not in known}}
        for name in (tier,) if tier != "all" else tiers_of(kind):
            _check(own, _pattern(kind, name), f"{where}: {tier}")


def _check_option(name: str, value: object, kind: type, where: str) -> None:
    """Check the type and the values of an option of the task.

    Raises:
        UsageError: the value is none.
    """
    if type(value) is not kind:
        raise UsageError(f"{where}: {name} = {value!r}: {TYPE_WORDS[kind]} is needed")
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


def _check(own: Table, pattern: Table, where: str) -> None:
    """Check the keys and types of a user's tier against a pattern of all that a tier may have.

    Raises:
        UsageError: a key that no tier has, or a value of another type.
    """
    _check_table(own, pattern, where)
    for size in _by_device(own.get("vocab", VOCABULARIES[0])):
        if not isinstance(size, int) or size not in VOCABULARIES:
            raise UsageError(f"{where}.vocab = {size}: a whole number of {VOCABULARIES[0]} or more is needed")


def _pattern(kind: str, tier: str) -> JsonObject:
    """Return a tier before the user's own settings, and examples of what it lacks and may be given."""
    fields = [f.name for f in dataclasses.fields(Tier) if f.name not in ("name", "sha256")]
    return merged(dict.fromkeys(fields), EXAMPLES, {"model": MODELS[kind]}, _base(kind, tier))


def _check_table(own: Table, pattern: Table, where: str) -> None:
    """Check the keys of a table, and its values and those of all tables in it.

    Raises:
        UsageError: a key that the pattern lacks, or a value of another type.
    """
    for key, value in own.items():
        if key not in pattern and ANY not in pattern:
            raise _no_setting(key, pattern, where)
        _check_value(value, pattern.get(key, pattern.get(ANY)), f"{where}.{key}")


def _check_value(value: object, pattern: object, where: str) -> None:
    """Check that a value has the form of the one that it replaces; either may be given by kind of device.

    Raises:
        UsageError: a key that the pattern lacks, or a value of another type.
    """
    if _is_by_device(value):
        for device, inner in value.items():
            own = pattern.get(device) if _is_by_device(pattern) else pattern
            _check_value(inner, own, f"{where}.{device}")
    elif _is_by_device(pattern):
        if isinstance(value, Mapping):  # only the values of devices would count
            known = [f"{d}.{k}" for d, own in pattern.items() if isinstance(own, Mapping) for k in own]
            for key in value:
                if key not in DEVICES:
                    raise _no_setting(key, known or DEVICES, where)
            return
        for own in pattern.values():
            _check_value(value, own, where)
    elif isinstance(pattern, Mapping):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where} = {value!r}: a table is needed, such as {{ ... }}")
        _check_table(value, pattern, where)
    else:
        _check_type(value, pattern, where)


def _no_setting(key: str, known: Iterable[str], where: str) -> UsageError:
    names = sorted(known)
    return UsageError(f"{where}: no setting '{key}'. {suggest(key, names)}\nknown: {' '.join(names)}")


def _check_type(value: object, pattern: object, where: str) -> None:
    """Check that a value has the type of its pattern, and its items those of a list; None has any.

    Raises:
        UsageError: the value has another type.
    """
    if pattern is None:
        return
    number = isinstance(pattern, int | float) and not isinstance(pattern, bool)
    fits = (
        isinstance(value, int | float) and not isinstance(value, bool)
        if number
        else isinstance(value, type(pattern))
    )
    if not fits:
        kind = TYPE_WORDS[float if number else type(pattern)]
        raise UsageError(f"{where} = {json.dumps(value)}: {kind} is needed, such as {pattern!r}")
    if isinstance(value, list) and isinstance(pattern, list) and pattern:
        for item in value:
            _check_type(item, pattern[0], where)


def _is_by_device(value: object) -> TypeGuard[Table]:
    return isinstance(value, Mapping) and bool(value) and set(value) <= {*DEVICES}


def _by_device(value: object) -> list[object]:
    return list(value.values()) if _is_by_device(value) else [value]


def slug(text: str) -> str:
    """Return a text as part of a task's name: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "data"
