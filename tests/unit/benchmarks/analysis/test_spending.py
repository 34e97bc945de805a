"""Spending by phase adds up to the ledger."""

import pytest

from benchmarks.analysis.table import build_table
from tests.fake_records import fake, study


def test_bars_add_up_to_the_ledger():
    found = study(("hat", "scratch"), 2)
    spent = build_table(found).spending
    for method in ("hat", "scratch"):
        mine = [r for r in found if r["spec"]["method"] == method]
        part = spent[spent["method"] == method].groupby("kind")["amount"].sum()
        assert part["tokens"] == pytest.approx(100 * sum(r["ledger"]["share"]["tokens"] for r in mine) / 2)
        assert part["joules"] == pytest.approx(sum(r["energy"]["joules"] for r in mine) / 2000)
        seconds = [
            r["ledger"]["totals"]["seconds"] + sum(r["ledger"]["harness_seconds"].values()) for r in mine
        ]
        assert part["seconds"] == pytest.approx(sum(seconds) / 2)


def test_energy_without_phases_is_one_bar():
    record = fake()
    record["ledger"]["entries"] = [e for e in record["ledger"]["entries"] if e["kind"] != "joules"]
    spent = build_table([record]).spending
    part = spent[spent["kind"] == "joules"]
    assert list(part["phase"]) == ["all phases"]
    assert part["amount"].sum() == pytest.approx(record["energy"]["joules"] / 1000)
