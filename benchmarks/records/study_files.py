"""Studies: their names, their outcome, and the file under ``results/studies`` that stores one. No torch.

A study is a module of ``benchmarks.studies`` with ``SUMMARY``, ``READS`` (``data``, ``records``, ``weights``,
or None) and ``run(folder, say) -> StudyOutcome``. ``supernet-bench study NAME`` prints its outcome and writes
it to ``results/studies``. Its rule of decision is written down in its module.

The JSON file holds the study's facts, the texts of its page, the hash of each picture, the commit that made
it and a seal over all of that: ``leaderboard --check`` detects an edited figure or sentence.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NotRequired, TypedDict

from benchmarks.api import InvalidRecordError
from benchmarks.records import integrity
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.records.text import printable

STUDIES = {
    "bert-retraining": "retraining.bert",
    "break-even": "break_even",
    "cpu-latency": "cpu_latency",
    "deployed-sizes": "deployed_sizes.study",
    "gpu-precision": "gpu_precision.study",
    "mt-front": "mt_front.study",
    "mt-gap": "mt_gap.study",
    "mt-retraining": "retraining.mt",
    "shape-latency": "shape_latency",
    "simq-fronts": "simq_fronts.study",
    "simq-fronts-accuracy": "simq_fronts.accuracy",
    "simq-int8": "simq_int8",
    "simq-search": "simq_search.study",
    "training-overhead": "training_overhead.study",
}
"""Name on the command line -> module."""
READ_DATA = frozenset(("shape-latency",))
"""Studies whose module states ``READS = "data"``: known without importing torch."""
RETRAINING = ("mt-retraining", "bert-retraining")
"""Studies of the training that inherited weights save."""
MEASURED = {name: f"{name}-measure" for name in ("mt-gap", *RETRAINING, "training-overhead", "gpu-precision")}
"""Study -> command that measures what it reads, further seeds included, into a folder of the study's name."""
TIMES_UPDATES = frozenset(("training-overhead",))
"""Studies whose measuring command times one task and tier a call."""
TIMES_TIER = {"mt-front": "front"}
"""Study -> tier of the runs whose winners it times."""
FOLDER = "studies"
"""Under the results folder."""
SHOWN = "png"
"""Ending of the picture that a study's page shows."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_PAGE = ("title", "question", "rule", "columns", "rows", "notes")
_RESERVED = frozenset(("page", "pictures", "written", "seal"))


def study_module(name: str) -> ModuleType:
    """Return the module of a study, by a name of ``STUDIES``."""
    return import_module(f"benchmarks.studies.{STUDIES[name]}")


@dataclass(frozen=True)
class StudyOutcome:
    """Result of a study.

    Attributes:
        title: of its page.
        question: in words.
        rule: how its verdicts follow from its figures.
        columns: headings of its table.
        rows: lines of its table, as texts.
        notes: remarks that a reader of the figures needs.
        facts: all of it as plain JSON types.
        pictures: file ending (``png``, ``svg``) -> bytes.
    """

    title: str
    question: str
    rule: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    facts: JsonView
    pictures: Mapping[str, bytes]

    def markdown(self, name: str) -> str:
        """Return the outcome as a page; ``name`` is that of its picture, without ending."""
        lines = [f"# {self.title}", "", self.question, "", f"Rule: {self.rule}", ""]
        lines += ["| " + " | ".join(self.columns) + " |", "|" + " :-- |" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes), ""]
        lines += [f"![{self.title}]({name}.png)", ""]
        return "\n".join(lines)


class ClaimFigure(TypedDict):
    """One figure for claims as a study's file stores it; see ``PairedFigure``."""

    values: Sequence[float]
    unit: str
    bounds: NotRequired[Sequence[float]]
    withdrawn: NotRequired[str]
    p: NotRequired[float]
    count: NotRequired[int]
    interim: NotRequired[str]


@dataclass(frozen=True)
class PairedFigure:
    """One figure of a study for claims, in ``unit``.

    Attributes:
        values: differences or ratios, one a replicate; with ``bounds`` the one estimate.
        bounds: lower and upper end if the study bounds the figure itself, else None.
        withdrawn: reason why the figure is not shown; ``values`` are then empty.
        p: of the study's own test against zero, after its correction; None if it made no test.
        count: with ``bounds``, measured networks that the figure was chosen from.
        interim: what the study's rule waits for; empty if the figure may decide a claim.
    """

    values: tuple[float, ...]
    unit: str
    bounds: tuple[float, float] | None = None
    withdrawn: str = ""
    p: float | None = None
    count: int = 0
    interim: str = ""


@dataclass(frozen=True)
class Study:
    """A study file that is in order.

    Attributes:
        commit: of the code that made it; None if it is not known.
        paired: figures for claims, by name.
        page: Markdown.
        pictures: file ending -> sha256.
    """

    name: str
    commit: str | None
    seal: str
    paired: Mapping[str, PairedFigure]
    page: str
    pictures: Mapping[str, str]


def commit_text(written: JsonView) -> str:
    """Return the commit that made a file, from its field ``written``, with a word on local changes."""
    changed = " with local changes" if written.get("dirty_sha256") else ""
    return f"{(written['commit'] or 'unknown')[:12]}{changed}"


def to_files(
    name: str, outcome: StudyOutcome, commit: str | None, dirty_sha256: str | None
) -> dict[str, str | bytes]:
    """Return file ending -> content of each file of a study.

    Raises:
        ValueError: its facts have a key that the file needs for itself, or a figure that ``load`` refuses.
    """
    if reserved := _RESERVED & set(outcome.facts):
        raise ValueError(f"study {name}: facts named {', '.join(sorted(reserved))} are the file's own")
    pictures = {ending: hashlib.sha256(data).hexdigest() for ending, data in outcome.pictures.items()}
    fields: JsonObject = {
        **json.loads(json.dumps(outcome.facts, allow_nan=False)),
        "page": {part: getattr(outcome, part) for part in _PAGE},
        "pictures": pictures,
        "written": {"commit": commit, "dirty_sha256": dirty_sha256},
    }
    for key, entry in fields.get("paired", {}).items():
        _paired_figure(str(key), entry)
    text = json.dumps(integrity.with_seal(fields), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return {"md": outcome.markdown(name), "json": text, **outcome.pictures}


def load(path: Path, figures: bool = True) -> Study:
    """Read and check one study file.

    Args:
        path: of the file.
        figures: whether to read the figures for claims; an older file may have some that are refused today.

    Raises:
        InvalidRecordError: it is no study, or was changed after it was written.
    """
    name = path.stem
    try:
        if not _NAME.fullmatch(name):
            raise InvalidRecordError("the name of a study has small letters, digits and hyphens")
        fields = json.loads(path.read_bytes())
        if not isinstance(fields, dict) or "seal" not in fields:
            raise InvalidRecordError("field seal: missing")
        if fields["seal"] != integrity.seal_of(fields):
            raise InvalidRecordError("field seal: does not match the rest: changed after writing")
        return _study(name, fields if figures else {**fields, "paired": {}})
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except InvalidRecordError as error:
        problem = str(error)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        problem = f"not a study file: {error!r}"
    again = f"supernet-bench study {name}" if _NAME.fullmatch(name) else "supernet-bench study"
    raise InvalidRecordError(f"{path}: {printable(problem)}\nmove the file away and make it again: {again}")


def _study(name: str, fields: JsonView) -> Study:
    outcome = StudyOutcome(**{part: fields["page"][part] for part in _PAGE}, facts={}, pictures={})
    paired = {str(key): _paired_figure(str(key), entry) for key, entry in fields.get("paired", {}).items()}
    commit = fields["written"]["commit"]
    return Study(
        name=name,
        commit=None if commit is None else str(commit),
        seal=str(fields["seal"]),
        paired=paired,
        page=outcome.markdown(name),
        pictures={str(ending): str(sha256) for ending, sha256 in fields["pictures"].items()},
    )


def _paired_figure(key: str, entry: JsonView) -> PairedFigure:
    """Return one figure of a study.

    Raises:
        ValueError: replicates that do not vary, so that their interval would have no width; ends in the wrong
            order or at the same place; or a withdrawn figure with values.
    """
    values = tuple(_number(key, value) for value in entry["values"])
    withdrawn = str(entry.get("withdrawn", ""))
    if len(values) > 1 and min(values) == max(values):
        raise ValueError(
            f"pair {key}: all {len(values)} replicates are {values[0]:g}, an interval of no width"
        )
    bounds = None
    if "bounds" in entry:
        low, high = (_number(key, value) for value in entry["bounds"])
        if not (len(values) == 1 and low <= values[0] <= high and low < high):
            raise ValueError(f"pair {key}: {values} with bounds {low:g} to {high:g}")
        bounds = low, high
    if bool(withdrawn) == bool(values):
        raise ValueError(f"pair {key}: either values, or the reason why they are withdrawn")
    p = _number(key, entry["p"]) if "p" in entry else None
    count = entry.get("count", 0)
    if type(count) is not int or count < 0:
        raise ValueError(f"pair {key}: a count of {count!r}")
    return PairedFigure(
        values, str(entry["unit"]), bounds, withdrawn, p, count, str(entry.get("interim", ""))
    )


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"pair {key}: {value!r} is not a finite figure")
    return float(value)


def load_all(results: Path, problems: list[str] | None = None) -> dict[str, Study]:
    """Return every study under a results folder by its name, in order; empty if there is no such folder.

    Raises:
        InvalidRecordError: for the first bad file, unless ``problems`` is given: then its message is appended
            there and the rest is read.
    """
    studies: dict[str, Study] = {}
    for path in sorted((results / FOLDER).glob("*.json")):
        try:
            studies[path.stem] = load(path)
        except InvalidRecordError as error:
            if problems is None:
                raise
            problems.append(str(error))
    return studies


def changed_pictures(results: Path, studies: Sequence[Study]) -> list[str]:
    """Return the pictures of studies that were changed under a results folder, or are missing there.

    Only the one that a study's page shows has to be there.
    """
    changed = []
    for study in studies:
        for ending, sha256 in study.pictures.items():
            path = results / FOLDER / f"{study.name}.{ending}"
            if not path.is_file() and ending != SHOWN:
                continue
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                changed.append(path.relative_to(results).as_posix())
    return changed
