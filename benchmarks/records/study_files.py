"""A study as it lies under ``results/studies``: one JSON file, from which its page follows. Imports no torch.

The file holds the study's facts, the texts of its page, the hash of each picture, the commit that made it
and a seal over all of that, as records have one: who edits a figure or a sentence is found out by
``leaderboard --check``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.api import InvalidRecord
from benchmarks.records.canonical import canonical
from benchmarks.records.studies import Outcome
from benchmarks.records.text import printable

FOLDER = "studies"
"""Under the results folder."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_PAGE = ("title", "question", "rule", "columns", "rows", "notes")
_OURS = frozenset(("page", "pictures", "written", "seal"))


@dataclass(frozen=True)
class Pair:
    """One figure of a study for claims, in ``unit``.

    Attributes:
        values: differences or ratios, one a replicate; with ``bounds`` the one estimate.
        bounds: lower and upper end, where the study bounds the figure itself.
        p: of the study's own test against zero, after its correction; None where it made none.
        withdrawn: reason why the figure is not shown; ``values`` are then none.
    """

    values: tuple[float, ...]
    unit: str
    bounds: tuple[float, float] | None = None
    withdrawn: str = ""
    p: float | None = None


@dataclass(frozen=True)
class Study:
    """A study file that is in order."""

    name: str
    commit: str | None
    """Of the code that made it; None where that is not known."""
    seal: str
    paired: Mapping[str, Pair]
    page: str
    """Markdown."""
    pictures: Mapping[str, str]
    """Ending -> sha256."""


def files(
    name: str, outcome: Outcome, commit: str | None, dirty_sha256: str | None
) -> dict[str, str | bytes]:
    """Ending -> content of each file of a study.

    Raises:
        ValueError: its facts have a key that the file needs for itself, or a figure that ``load`` refuses.
    """
    if taken := _OURS & set(outcome.facts):
        raise ValueError(f"study {name}: facts named {', '.join(sorted(taken))} are the file's own")
    pictures = {ending: hashlib.sha256(data).hexdigest() for ending, data in outcome.pictures.items()}
    whole = {
        **json.loads(json.dumps(outcome.facts, allow_nan=False)),
        "page": {part: getattr(outcome, part) for part in _PAGE},
        "pictures": pictures,
        "written": {"commit": commit, "dirty_sha256": dirty_sha256},
    }
    for key, entry in whole.get("paired", {}).items():
        _pair(str(key), entry)
    whole["seal"] = _seal(whole)
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return {"md": outcome.markdown(name), "json": text, **outcome.pictures}


def _seal(whole: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in whole.items() if key != "seal"}
    return hashlib.sha256(canonical(rest)).hexdigest()


def load(path: Path, figures: bool = True) -> Study:
    """Read and check one study file.

    Args:
        figures: whether the figures for claims are read; a file that is judged again may have some that are
            refused today.

    Raises:
        InvalidRecord: it is no study, or was changed after it was written.
    """
    name = path.stem
    try:
        if not _NAME.fullmatch(name):
            raise InvalidRecord("the name of a study has small letters, digits and hyphens")
        whole = json.loads(path.read_bytes())
        if not isinstance(whole, dict) or "seal" not in whole:
            raise InvalidRecord("field seal: missing")
        if whole["seal"] != _seal(whole):
            raise InvalidRecord("field seal: does not match the rest: changed after writing")
        return _study(name, whole if figures else {**whole, "paired": {}})
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except InvalidRecord as error:
        problem = str(error)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        problem = f"not a study file: {error!r}"
    again = f"supernet-bench study {name}" if _NAME.fullmatch(name) else "supernet-bench study"
    raise InvalidRecord(f"{path}: {printable(problem)}\nmove the file away and make it again: {again}")


def _study(name: str, whole: Mapping[str, Any]) -> Study:
    outcome = Outcome(**{part: whole["page"][part] for part in _PAGE}, facts={}, pictures={})
    paired = {str(key): _pair(str(key), entry) for key, entry in whole.get("paired", {}).items()}
    commit = whole["written"]["commit"]
    return Study(
        name=name,
        commit=None if commit is None else str(commit),
        seal=str(whole["seal"]),
        paired=paired,
        page=outcome.markdown(name),
        pictures={str(ending): str(sha256) for ending, sha256 in whole["pictures"].items()},
    )


def _pair(key: str, entry: Mapping[str, Any]) -> Pair:
    """Return one figure of a study.

    Raises:
        ValueError: replicates that do not vary, so that their interval would have no width; ends in the wrong
            order or at the same place; or a withdrawn figure with values.
    """
    values = tuple(_figure(key, value) for value in entry["values"])
    withdrawn = str(entry.get("withdrawn", ""))
    if len(values) > 1 and min(values) == max(values):
        raise ValueError(
            f"pair {key}: all {len(values)} replicates are {values[0]:g}, an interval of no width"
        )
    bounds = None
    if "bounds" in entry:
        low, high = (_figure(key, value) for value in entry["bounds"])
        if not (len(values) == 1 and low <= values[0] <= high and low < high):
            raise ValueError(f"pair {key}: {values} with bounds {low:g} to {high:g}")
        bounds = low, high
    if bool(withdrawn) == bool(values):
        raise ValueError(f"pair {key}: either values, or the reason why they are withdrawn")
    p = _figure(key, entry["p"]) if "p" in entry else None
    return Pair(values, str(entry["unit"]), bounds, withdrawn, p)


def _figure(key: object, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"pair {key}: {value!r} is not a finite figure")
    return float(value)


def load_all(results: Path, problems: list[str] | None = None) -> dict[str, Study]:
    """Every study under a results folder by its name, in order; none where there is no such folder.

    Raises:
        InvalidRecord: for the first bad file, unless ``problems`` is given: then its message is appended
            there and the rest is read.
    """
    found: dict[str, Study] = {}
    for path in sorted((results / FOLDER).glob("*.json")):
        try:
            found[path.stem] = load(path)
        except InvalidRecord as error:
            if problems is None:
                raise
            problems.append(str(error))
    return found


def differing_pictures(results: Path, studies: Sequence[Study]) -> list[str]:
    """The pictures under a results folder that are missing or not those that came with their study."""
    found = []
    for study in studies:
        for ending, sha256 in study.pictures.items():
            path = results / FOLDER / f"{study.name}.{ending}"
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                found.append(path.relative_to(results).as_posix())
    return found
