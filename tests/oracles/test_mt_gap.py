"""The statistics of the gap study on others' published scores: the figures of the paper's table."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.studies.mt_gap.analysis import SUPERNETS, PublishedNetworks, gap, predictors, published


@pytest.fixture(scope="module")
def file(data_dir: Path) -> Path:
    path = data_dir / "published" / "seed_architectures_wmt.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return path


def statistics(networks: PublishedNetworks) -> dict:
    return {name: gap(networks.alone, networks.inherited[name], networks.depth) for name in SUPERNETS}


def test_the_published_mean_absolute_errors_and_taus_of_15_architectures(file: Path) -> None:
    networks = published(file, "wmt14ende", reused=False)
    assert len(networks.alone) == 15
    gaps = statistics(networks)
    assert [round(g.mae, 2) for g in gaps.values()] == [1.84, 1.62, 1.61, 1.13]
    assert [round(g.tau, 2) for g in gaps.values()] == [0.81, 0.81, 0.54, 0.71]


@pytest.mark.parametrize(
    ("task", "split", "mae", "tau"),
    [
        ("wmt14ende", "test", (1.80, 1.69, 1.70, 1.21), (0.72, 0.81, 0.50, 0.60)),
        ("wmt14ende", "valid", (1.14, 1.04, 0.95, 0.87), (0.73, 0.83, 0.59, 0.79)),
        ("wmt19ende", "test", (1.88, 1.88, 1.52, 1.45), (0.83, 0.83, 0.83, 0.82)),
        ("wmt19ende", "valid", (0.92, 0.92, 0.99, 0.88), (0.75, 0.75, 0.76, 0.70)),
    ],
)
def test_all_30_architectures(
    file: Path, task: str, split: str, mae: tuple[float, ...], tau: tuple[float, ...]
) -> None:
    gaps = statistics(published(file, task, split)).values()
    assert [g.mae for g in gaps] == pytest.approx(mae, abs=0.0051)
    assert [g.tau for g in gaps] == pytest.approx(tau, abs=0.0051)


@pytest.mark.parametrize(
    ("task", "centred", "within", "params"),
    [
        ("wmt14ende", (0.22, 0.24, 0.51, 0.33), (0.40, 0.61, 0.18, 0.26), 0.44),
        ("wmt19ende", (0.39, 0.39, 0.34, 0.34), (0.53, 0.53, 0.50, 0.51), 0.46),
    ],
)
def test_error_is_an_offset_and_depth_ranks_as_well_as_a_supernet(
    file: Path, task: str, centred: tuple[float, ...], within: tuple[float, ...], params: float
) -> None:
    networks = published(file, task)
    gaps = statistics(networks)
    assert [g.mae_without_offset for g in gaps.values()] == pytest.approx(centred, abs=0.0151)
    assert [g.tau_within for g in gaps.values()] == pytest.approx(within, abs=0.0151)
    trivial = predictors(
        networks.alone, {"depth": networks.depth, "parameters": networks.params}, networks.depth
    )
    assert trivial["depth"]["tau"] == pytest.approx(0.78 if task == "wmt14ende" else 0.81, abs=0.0051)
    assert trivial["parameters"]["tau_within"] == pytest.approx(params, abs=0.0151)
