"""The study of latency against shape: its verdicts on devices whose behaviour is known, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.api import UsageError
from benchmarks.claims import hypotheses
from benchmarks.claims.hypotheses import REFUTED, SUPPORTED, UNDECIDED, decide
from benchmarks.cli.main import main
from benchmarks.latency_tables.tables import PROFILES, LatencyTable
from benchmarks.records.study_files import STUDIES, study_module
from benchmarks.stats.intervals import Interval
from benchmarks.studies import shape_latency
from benchmarks.studies.shape_latency import Estimate, judge, nearby, verdict, window_of

PROFILE = PROFILES["table-k80-supershaper.v1"]
ROWS = 1200


def device(
    *, shape: float = 0.0, drift: float = 0.0, noise: float = 0.001, seed: int = 0
) -> tuple[LatencyTable, np.ndarray]:
    """A device on which latency is linear in size but for the stated relative effects."""
    rng = np.random.default_rng(seed)
    widths = rng.choice([120, 240, 360, 480, 540, 600, 768], (ROWS, 12)) / 768
    mean = widths.mean(axis=1)
    size = 33.2 + 82.8 * mean
    early = widths[:, :6].mean(axis=1) - mean  # narrow layers last
    early /= early.std()
    slow = np.repeat(rng.standard_normal(ROWS // 100), 100)
    ms = 4 * size * (1 + shape * early) * (1 + drift * slow) * (1 + noise * rng.standard_normal(ROWS))
    return LatencyTable(PROFILE, np.column_stack([mean, widths]), ms, np.zeros(ROWS)), size


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_latency, "DRAWS", 300)


def found(**effects: float) -> shape_latency.Device:
    return judge(*device(**effects), np.random.default_rng(1))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_device_sensitive_to_size_alone_is_insensitive_to_shape(seed: int) -> None:
    one = found(seed=seed)
    assert one.verdict == "insensitive" and one.r2.value > 0.999 and abs(one.shape.value) < 0.002
    assert one.cv.low <= one.cv.value <= one.cv.high and one.n >= shape_latency.FEWEST


@pytest.mark.parametrize("seed", [0, 1])
def test_a_device_that_minds_the_shape_is_sensitive(seed: int) -> None:
    one = found(shape=0.05, seed=seed)
    assert one.verdict == "sensitive" and 0.04 < one.shape.value < 0.06 and one.cv.value > 0.04
    assert one.drift.value < 0.02


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_drift_is_no_effect_of_shape(seed: int) -> None:
    one = found(drift=0.10, seed=seed)
    assert one.verdict != "sensitive" and one.cv.value > 0.05 and one.r2.value < 0.8
    assert 0.05 < one.drift.value < 0.15 and one.steady.value < 0.6 * one.cv.value
    both = found(drift=0.10, shape=0.06, seed=seed)
    assert 0.03 < both.shape.value < 0.09  # and drift does not hide it


def test_independent_noise_leaves_the_verdict_undecided() -> None:
    one = found(noise=0.05)
    assert one.verdict == "undecided" and one.drift.value < 0.02 and abs(one.shape.value) < 0.02


def test_drift_at_a_row_is_the_mean_around_it_without_it() -> None:
    residual = np.arange(20.0) ** 2
    around = nearby(residual)
    for i in (0, 3, 10, 19):
        near = [j for j in range(max(0, i - 5), min(20, i + 6)) if j != i]
        assert around[i] == pytest.approx(residual[near].mean())


def test_a_thin_window_gives_way_to_the_densest_as_wide() -> None:
    assert window_of(np.full(30, 60.0)) == (59.0, 61.0)
    size = np.concatenate([np.full(29, 60.0), np.linspace(70, 71.9, 40), np.linspace(80, 90, 50)])
    assert window_of(size) == pytest.approx((70.0, 72.0))


def test_verdicts_follow_the_rule() -> None:
    def figure(low: float, high: float) -> Estimate:
        return Estimate((low + high) / 2, low, high)

    calm = figure(0.01, 0.0199)
    assert verdict(calm, figure(0.0, 0.01)) == "insensitive"
    assert verdict(figure(0.01, 0.02), figure(0.0, 0.02)) == "undecided"
    assert verdict(figure(0.03, 0.05), figure(0.0201, 0.04)) == "sensitive"
    assert verdict(figure(0.03, 0.05), figure(0.02, 0.04)) == "undecided"
    assert "2%" in shape_latency.RULE


# the command


@pytest.mark.parametrize("effects", [{}, {"shape": 0.05}, {"drift": 0.1}, {"noise": 0.05}])
def test_the_claim_on_shape_is_judged_as_the_study_judges_it(effects: dict[str, float]) -> None:
    claim = next(claim for claim in hypotheses.claims() if claim.id == "supershaper-latency")
    one = found(**effects)
    figure = shape_latency.for_claims(one)
    study = {"insensitive": SUPPORTED, "sensitive": REFUTED, "undecided": UNDECIDED}[one.verdict]
    assert decide(claim, Interval(figure["values"][0], *figure["bounds"], claim.n))[0] == study
    assert claim.margin == 100 * shape_latency.TOLERANCE and claim.n == shape_latency.FEWEST <= one.n


def test_studies_are_listed_also_for_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in STUDIES)
    assert main(["study", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(STUDIES)
    assert all(study_module(name).SUMMARY for name in STUDIES)
    with pytest.raises(SystemExit, match="2"):
        main(["study", "shape-latncy"])
    assert "shape-latency" in capsys.readouterr().err
    assert main(["study", "shape-latency"]) == 2
    assert "--data-dir" in capsys.readouterr().err


def test_missing_or_damaged_tables_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "shape-latency", "--results", str(tmp_path), "--data-dir"]
    assert main([*words, str(tmp_path / "nowhere")]) == 2
    assert "no data folder" in capsys.readouterr().err
    assert main([*words, str(tmp_path)]) == 2
    assert "no table table-gtx1080ti-supershaper.v1" in capsys.readouterr().err
    (tmp_path / "published").mkdir()
    (tmp_path / PROFILES["table-gtx1080ti-supershaper.v1"].file).write_bytes(b"h0,h1\n1,2\n")
    assert main([*words, str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "damaged or cut short" in said and "Traceback" not in said
    assert not (tmp_path / "studies").exists()


def test_the_study_writes_table_figures_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, size = device()
    monkeypatch.setattr(shape_latency, "load", lambda profile, data_dir, say: table)
    monkeypatch.setattr(shape_latency, "parameters", lambda table: size)
    words = ["study", "shape-latency", "--data-dir", str(tmp_path), "--results", str(tmp_path)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "insensitive" in out and "Rule: " in out
    folder = tmp_path / "studies"
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(first) == {f"shape-latency.{kind}" for kind in ("md", "json", "png", "svg")}
    assert first["shape-latency.png"].startswith(b"\x89PNG") and b"<svg" in first["shape-latency.svg"]
    facts = json.loads(first["shape-latency.json"])
    assert facts["rule"] == shape_latency.RULE and facts["vocabulary"] == 28996
    assert [one["verdict"] for one in facts["devices"]] == ["insensitive"] * 3
    page = first["shape-latency.md"].decode()
    assert page.count("| insensitive |") == 3 and "shape-latency.png" in page
    assert main(words) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_a_table_that_is_none_names_its_columns() -> None:
    from benchmarks.latency_tables.tables import parse

    with pytest.raises(UsageError, match="its columns are h0,h1"):
        parse(PROFILE, b"h0,h1\n1,2\n")
