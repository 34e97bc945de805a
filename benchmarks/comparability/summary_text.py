"""JSON form of a record's summary: what a table keeps of a record, for an index of records.

Two texts: facts that many runs share, and the run's own figures. Figures keep all bits.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from benchmarks.api import OptionValues
from benchmarks.comparability.flags import Conduct
from benchmarks.comparability.run_summary import FIGURES, SPENT, Headline, Measured, RunSummary
from benchmarks.records.selection import Limit
from benchmarks.stats.task_units import TaskUnits

if TYPE_CHECKING:
    import jsonschema_rs

_TEXT, _NUMBER, _COUNT, _FLAG = ({"type": kind} for kind in ("string", "number", "integer", "boolean"))


def _list(*items: object) -> dict[str, object]:
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}


def _many(item: object, number: int | None = None) -> dict[str, object]:
    bounds = {} if number is None else {"minItems": number, "maxItems": number}
    return {"type": "array", "items": item, **bounds}


def _or_null(item: dict[str, str]) -> dict[str, object]:
    return {"type": [item["type"], "null"]}


_HEADLINE = _list(
    _COUNT, _list({"enum": [0, 1, 2, 3]}, _NUMBER, _NUMBER), _TEXT, _TEXT,
    _many(_or_null(_NUMBER), len(FIGURES)), _many(_list(_TEXT, _TEXT)), _many(_or_null(_NUMBER)),
    _or_null(_TEXT), _COUNT, _or_null(_TEXT), _TEXT,
)  # fmt: skip
_MEASURED = _list(
    _TEXT, _or_null(_NUMBER), {"type": ["number", "null", "object"], "additionalProperties": _NUMBER}
)
_OWN = _list(
    _TEXT, _COUNT, _TEXT, _FLAG, _COUNT, _TEXT, _TEXT, _TEXT, _or_null(_NUMBER),
    _many(_or_null(_NUMBER), len(SPENT)), _or_null(_TEXT), _NUMBER, _NUMBER, _or_null(_TEXT),
    _many(_HEADLINE), _many(_HEADLINE), _list(_TEXT, _or_null(_NUMBER), _NUMBER, *(_or_null(_COUNT),) * 2),
    {"anyOf": [{"type": "null"}, _many(_MEASURED)]},
)  # fmt: skip
_SHARED = _list(
    _TEXT, _TEXT, _TEXT, {"type": "object"}, {"type": "object", "additionalProperties": _TEXT},
    _or_null(_TEXT), {"type": "object"},
)  # fmt: skip


class SummaryTexts(NamedTuple):
    """JSON form of a summary without its place and its record."""

    shared: bytes
    """Facts that many runs have in common."""
    own: bytes


def encode(run: RunSummary) -> SummaryTexts | None:
    """Return the JSON form of a summary; None if JSON cannot hold all of it."""
    units = run.units.kept
    if units is None:
        return None
    shared = [run.method, run.source, run.code, run.options, run.facts, run.fingerprint, units]
    measured = None
    if run.measured is not None:  # in an order that does not change from one process to the next
        measured = sorted(([*key, value] for key, value in run.measured.items()), key=repr)
    if run.measured is not None and not all(map(_is_finite, run.measured.values())):
        return None
    own = [
        run.id, run.seed, run.follows, run.inherits, run.jobs, run.status, run.message, run.ended, run.tokens,
        run.spent.tolist(), run.energy_source, run.harness_seconds, run.others_cpu, run.metric,
        [*map(_headline, run.headlines)], [*map(_headline, run.earlier)], [*run.conduct], measured,
    ]  # fmt: skip
    try:
        return SummaryTexts(orjson.dumps(shared), orjson.dumps(own))
    except TypeError:  # a number of more than 64 bits
        return None


def _is_finite(value: float | Mapping[str, float] | None) -> bool:
    values: Sequence[float] = [*value.values()] if isinstance(value, Mapping) else [value or 0.0]
    return all(map(math.isfinite, values))


def _headline(head: Headline) -> list[object]:
    limit = [head.limit.rank, head.limit.value, head.limit.low]
    return [
        head.number, limit, head.origin, head.precision, head.figures.tolist(), head.recipes,
        head.scores.tolist(), head.latency, head.timed, head.memory, head.untimed,
    ]  # fmt: skip


def decode(texts: SummaryTexts, place: int) -> RunSummary:
    """Return the summary of a JSON form, without its record.

    Args:
        texts: of ``encode``.
        place: number of the record among all of a leaderboard.

    Raises:
        ValueError: the texts are no form of a summary.
    """
    own = orjson.loads(texts.own)
    if not _form("own").is_valid(own):
        raise ValueError("no summary of a run")
    (
        id, seed, follows, inherits, jobs, status, message, ended, tokens, spent, energy_source,
        harness_seconds, others_cpu, metric, headlines, earlier, conduct, measured,
    ) = own  # fmt: skip
    method, source, code, options, facts, fingerprint, units = _shared(texts.shared)
    return RunSummary(
        id=id, method=method, source=source, code=code, options=options, seed=seed, follows=follows,
        inherits=inherits, jobs=jobs, status=sys.intern(status), message=message, ended=ended, facts=facts,
        tokens=tokens, fingerprint=fingerprint, spent=_figures(spent), energy_source=_interned(energy_source),
        harness_seconds=harness_seconds, others_cpu=others_cpu, units=units, metric=_interned(metric),
        headlines=tuple(map(_as_headline, headlines)), earlier=tuple(map(_as_headline, earlier)),
        conduct=Conduct(*conduct), place=place, measured=_as_measured(measured), record=None,
    )  # fmt: skip


def _as_headline(values: list[Any]) -> Headline:
    number, limit, origin, precision, figures, recipes, scores, latency, timed, memory, untimed = values
    if len(scores) != 3 * len(recipes):
        raise ValueError("scores without a recipe")
    return Headline(
        number=number, limit=_limit(*limit), origin=sys.intern(origin), precision=sys.intern(precision),
        figures=_figures(figures), recipes=_recipes(tuple(map(tuple, recipes))), scores=_figures(scores),
        latency=_interned(latency), timed=timed, memory=_interned(memory), untimed=untimed, candidate=None,
    )  # fmt: skip


def _as_measured(entries: list[Any] | None) -> Measured | None:
    return None if entries is None else {(name, limit): value for name, limit, value in entries}


def _figures(values: list[float | None]) -> array[float]:
    return array("d", [math.nan if value is None else value for value in values])


def _interned(text: str | None) -> str | None:
    return None if text is None else sys.intern(text)


@lru_cache(maxsize=4096)
def _limit(rank: int, value: float, low: float) -> Limit:
    return Limit(rank, value, low)


@lru_cache(maxsize=4096)
def _recipes(recipes: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return one object for equal recipes."""
    return recipes


_Shared = tuple[str, str, str, OptionValues, dict[str, str], str | None, TaskUnits]


@lru_cache(maxsize=4096)
def _shared(text: bytes) -> _Shared:
    """Return one object for equal texts; it is never changed."""
    values = orjson.loads(text)
    if not _form("shared").is_valid(values):
        raise ValueError("no shared facts of runs")
    method, source, code, options, facts, fingerprint, units = values
    try:
        read = TaskUnits.from_dict(units)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("no units of a task") from error
    return sys.intern(method), sys.intern(source), sys.intern(code), options, facts, fingerprint, read


@cache
def _form(name: str) -> jsonschema_rs.Draft202012Validator:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator({"own": _OWN, "shared": _SHARED}[name])
