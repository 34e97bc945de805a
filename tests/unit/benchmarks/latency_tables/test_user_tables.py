"""Latency tables of the user's: columns, errors with their line, and no table that stops another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.api import UsageError
from benchmarks.cli import main
from benchmarks.latency_tables import user_tables
from benchmarks.latency_tables.tables import FAMILIES


def write(path: Path, rows: int = 60, noise: float = 0.0) -> Path:
    rng = np.random.default_rng(1)
    x = rng.integers(1, 9, (rows, 2))
    ms = 3 + 2 * x[:, 0] + 0.1 * x[:, 1] + noise * rng.normal(size=rows)
    lines = ["depth,width,latency_ms", *(f"{a},{b},{c}" for (a, b), c in zip(x, ms, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_of_any_features(tmp_path: Path) -> None:
    table = user_tables.read(write(tmp_path / "Pi 5.csv"))
    assert table.features.shape == (60, 2)
    assert table.profile.name == "own-pi-5"
    assert table.profile.family.size == ("depth", 0)
    seconds = (tmp_path / "Pi 5.csv").read_text().replace("latency_ms", "latency_s")
    (tmp_path / "s.csv").write_text(seconds)
    assert user_tables.read(tmp_path / "s.csv").ms == pytest.approx(1000 * table.ms)


def test_columns_of_published_families_are_known(tmp_path: Path) -> None:
    header = FAMILIES["supershaper"].header
    (tmp_path / "x.csv").write_text("\n".join([header, *[",".join(["120"] * 12 + ["0.5"])] * 3]))
    table = user_tables.read(tmp_path / "x.csv")
    assert table.profile.family is FAMILIES["supershaper"]
    assert table.ms.tolist() == [500.0] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: its columns are ''"),
        ("a,b\n1,2\n", "one of latency_ms, ms, latency_s, seconds is needed"),
        ("a,a,ms\n1,2,3\n", "each of its own name"),
        ("a,ms\n1,2\n1,x\n", "line 3: '1,x' is not 2 finite numbers"),
        ("a,ms\n1,2\n1\n", "line 3: '1' is not 2 finite numbers"),
        ("a,ms\n1,nan\n", "line 2: '1,nan' is not"),
        ("a,ms\n1,2\n1,0\n", "line 3: a latency is above zero"),
        ("a,ms\n1,2\n" + "1" * 131_073 + ",2\n", r"t.csv', line 3: field larger than field limit \(131072\)"),
        ('a,ms\n"' + "1\n" * 140_000, r"t.csv', line \d+: field larger than field limit"),
    ],
)
def test_a_wrong_table_names_file_and_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        user_tables.read(tmp_path / "t.csv")


def test_a_short_table_never_stops_the_rest(tmp_path: Path, capsys: Any) -> None:
    good, short, broken = write(tmp_path / "good.csv"), write(tmp_path / "short.csv", 15), tmp_path / "no.csv"
    words = [word for path in (short, broken, good) for word in ("--latency-table", str(path))]
    assert main.main(["profiles", *words, "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert [row["profile"] for row in shown["tables"]] == ["own-good"]
    assert shown["tables"][0]["fitted"] == shown["tables"][0]["held_out"] == 30
    assert shown["tables"][0]["mape"] < shown["tables"][0]["single_mape"] * 1.5
    assert len(shown["left_out"]) == 2
    assert "short.csv is left out: it has 15 rows" in shown["left_out"][0]


def test_damaged_published_tables_are_left_out_one_by_one(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "hat_latency_wmt14ende_cpu_xeon.csv.gz").write_bytes(b"short")
    assert main.main(["profiles", "--data-dir", str(tmp_path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["left_out"]) == 8
