"""Facts of the study's JSON file: typed layout, and the parts that follow from a table alone.

A *place* is a row of the table.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from benchmarks.records.canonical import JsonObject
from benchmarks.stats.rounding import six_digits
from simq.tabular.latency import embedding_bytes, load_table

Array = NDArray[np.float64]
AXES = {"faster": "latency", "smaller": "bytes"}
"""Axis of the question -> second objective of its searches."""


class PointFacts(TypedDict):
    """Measurements of one network.

    ``ratio`` is the median latency over the anchor's with its 95 % interval; ``*_above_int8`` are mean paired
    differences with their standard errors, None in old files for most networks; ``apart`` is the distance of
    its outputs from those in fp32; ``searched`` and ``predicted`` are the table's quality and latency.
    """

    place: int
    architecture: JsonObject
    policy: dict[str, str]
    ratio: list[float]
    bytes: float
    accuracy: float
    loss: float
    accuracy_above_int8: list[float | None]
    loss_above_int8: list[float | None]
    apart: float
    searched: NotRequired[float]
    predicted: NotRequired[float]


class FrontFacts(TypedDict):
    """Measured places of the front of one search."""

    search: str
    axis: str
    seed: int
    places: list[int]


class TorchFacts(TypedDict):
    """The largest network in bfloat16, run in torch."""

    accuracy: float
    times_fp32: float
    bytes: float


class TableFacts(TypedDict):
    """One table: what was measured, and from ``searched_int8`` on what follows from the table alone.

    ``largest`` is precision -> place of the largest network; ``ceilings`` is axis -> ratios of its INT8 to
    the cheapest network in fp32 and int8, and to the cheapest of all, latencies as the table predicts them;
    ``cheapest`` is axis -> places of these two; ``words`` are bytes of word embeddings.
    """

    table: JsonObject
    items: int
    anchor_ms: float
    latency: JsonObject
    largest_error_of_accuracy: float | None
    bf16_in_torch: TorchFacts
    largest: dict[str, int]
    fronts: list[FrontFacts]
    points: list[PointFacts]
    searched_int8: NotRequired[float]
    ceilings: NotRequired[dict[str, list[float]]]
    cheapest: NotRequired[dict[str, list[int]]]
    words: NotRequired[dict[str, int]]


def add_table_facts(path: Path, facts: TableFacts, quality: str) -> TableFacts:
    """Return facts with those that follow from the table ``path`` alone.

    These are each point's quality on the search's own data and its predicted latency, the ceilings of the
    space, and the bytes of word embeddings.
    """
    table = load_table(path)
    values = table.values((quality, "latency", "bytes"))
    base = values[facts["largest"]["int8"]]
    spaces = [table.within(("fp32", "int8")), np.arange(len(values))]
    columns = {"faster": 1, "smaller": 2}
    cheapest = {
        axis: [int(rows[values[rows, column].argmin()]) for rows in spaces]
        for axis, column in columns.items()
    }
    ceilings = {
        axis: [six_digits(base[columns[axis]] / values[place, columns[axis]]) for place in places]
        for axis, places in cheapest.items()
    }
    points: list[PointFacts] = []
    for point in facts["points"]:
        searched, predicted, _ = values[point["place"]]
        points.append({**point, "searched": six_digits(searched), "predicted": six_digits(predicted)})
    return {
        **facts,
        "points": points,
        "searched_int8": six_digits(base[0]),
        "ceilings": ceilings,
        "cheapest": cheapest,
        "words": embedding_bytes(path),
    }


def points_by_place(facts: TableFacts) -> dict[int, PointFacts]:
    """Return place -> measured point."""
    return {point["place"]: point for point in facts["points"]}


def paired_difference(ours: Array, base: Array) -> list[float | None]:
    """Return the mean of the paired difference over items and its standard error."""
    difference = ours - base
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return [six_digits(float(difference.mean())), six_digits(error)]
