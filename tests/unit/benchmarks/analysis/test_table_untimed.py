"""Rows of networks that have a quality and no latency."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.analysis.table import build_table
from benchmarks.records import integrity
from benchmarks.report import texts
from benchmarks.report.markdown import markdown
from benchmarks.report.plots import gallery
from benchmarks.verification import compare
from tests.fake_records import fake


def untimed(seed: int = 1) -> dict[str, Any]:
    record = fake("int8-uniform", seed)
    for candidate in record["candidates"]:
        for name in ("latency", "memory", "energy"):
            del candidate[name]
        candidate |= {"policy": {"fc": "int8"}, "not_measured": "no kernels on this device"}
    return integrity.seal(record)


def test_a_record_without_latency_needs_a_policy_and_a_reason() -> None:
    integrity.validate(untimed())
    for name in ("policy", "not_measured"):
        bad = untimed()
        bad["candidates"][0].pop(name)
        assert integrity.contradiction(bad) == (
            "candidates[0].latency",
            "missing, but the run's status is done",
        )


def test_rows_name_the_precisions_of_their_policies() -> None:
    static, mixed = untimed(), untimed(2)
    for record, policy in ((static, {"fc": "int8s"}), (mixed, {"fc": "w4", "out": "int8"})):
        record["spec"]["method"] = "-".join(policy.values())
        for candidate in record["candidates"]:
            candidate["policy"] = policy
            for scores in candidate["test"].values():
                if record is mixed:  # a policy leaves out layers in fp32, and the signature names them
                    scores["bleu"]["signature"] += "|prec:fp32+int8+w4|int8:w8c-a8t"
    table = build_table([fake("hat"), integrity.seal(static), integrity.seal(mixed)])
    heading, cell = texts.columns(table)["precision"]
    cells = {row["method"]: cell(row) for row in table.each}
    assert heading == "precision"
    assert cells == {"hat": "fp32", "int8s": "int8 static", "w4-int8": "fp32 + int8 dynamic + w4"}
    assert "int8 static" in markdown(table, "title")
    assert "precision" not in texts.columns(build_table([fake("hat")])), "where all are in float32"


def test_tables_and_plots_bear_rows_without_latency() -> None:
    both = [fake("hat", 1), untimed()]
    table = build_table(both)
    row = next(r for r in table.rows.to_dict("records") if r["method"] == "int8-uniform")
    assert np.isnan(row["ratio"]) and row["quality"] > 0
    assert "Not timed: int8-uniform: no kernels on this device." in table.notes
    text = markdown(table, "t")
    assert "Not timed: int8-uniform" in text and "nan" not in text.lower()
    assert gallery.images(table)
    verdict = compare.compare(untimed(), untimed())
    assert (verdict.quality, verdict.latency) == (compare.YES, compare.UNKNOWN)
