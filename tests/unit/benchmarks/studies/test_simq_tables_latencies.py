"""Latency models of tables: files are checked before a network is timed, and sampled tables are skipped."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.cli.main import main
from benchmarks.studies.simq_tables import latencies
from simq.genome import JointSpace
from simq.tabular.build import layer_space
from simq.tabular.sampled import KIND, SampledTable, draw_points, write_sampled
from simq.tabular.table import Table, describe_space, enumerate_points, write_table
from supernet import supernet_file
from supernet.elastic import SuperNet
from supernet.space import layered_space
from supernet.vit import ViTConfig, ViTFamily
from supernet.weights import SharedSlices

COMMAND = ("study", "simq-tables", "latencies")


def write_files(folder: Path, name: str, alphabet: tuple[str, ...] = ("fp32", "int8")) -> JointSpace:
    """Write a table with made-up losses and its untrained supernet; return the space."""
    space = layered_space("vit", layers=(1, 2), heads=(1, 2), ffn=(32, 64), hidden=32, head_dim=32, patch=2)
    family = ViTFamily(space, ViTConfig(4, 4, 1))
    net = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(0), "cpu"))
    supernet_file.save(folder / f"{name}.safetensors", net, {"table": name})
    joint = layer_space(family, alphabet)
    points = enumerate_points(joint)
    write_table(
        Table(describe_space(joint) | {"name": name}, {"loss": np.linspace(1, 2, len(points))}),
        folder / f"{name}.npz",
    )
    return joint


def fit(folder: Path, *words: str, tables: Path | None = None) -> int:
    """Run the command on a folder that has tables and supernets."""
    return main([*COMMAND, "--weights", str(folder), "--tables", str(tables or folder), *words])


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace the timing of networks; return the sizes of the spaces that are timed."""
    sizes: list[int] = []

    def record(net: SuperNet, space: JointSpace, *counts: int) -> tuple[None, dict[str, float]]:
        sizes.append(space.size())
        return None, dict.fromkeys(("median_error", "largest_error", "error_of_a_second_measurement"), 1.0)

    monkeypatch.setattr(latencies, "fit", record)
    return sizes


def test_sampled_tables_and_tables_without_a_supernet_are_skipped(
    tmp_path: Path, fitted: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    space = write_files(tmp_path, "b")
    write_files(tmp_path, "c")
    (tmp_path / "c.safetensors").unlink()
    write_files(tmp_path, "a")
    genomes = draw_points(space, 20, np.random.default_rng(0))
    sampled = SampledTable(describe_space(space) | {"kind": KIND}, genomes, {"loss": np.ones(20)})
    write_sampled(sampled, tmp_path / "a.npz")
    assert fit(tmp_path, "--fitted", "8", "--held-out", "4") == 1
    assert fitted == [space.size()]
    printed = capsys.readouterr().out
    assert "a: a sampled table, skipped" in printed
    assert f"c: no {tmp_path / 'c.safetensors'}, skipped" in printed and "b: above 8 %" in printed


@pytest.mark.parametrize("kept", [0, 200, -30])
@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_damaged_files_are_one_message_before_any_timing(
    ending: str, kept: int, tmp_path: Path, fitted: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write_files(tmp_path, name)
    file = tmp_path / f"b.{ending}"
    file.write_bytes(file.read_bytes()[:kept])
    assert fit(tmp_path, "--fitted", "8", "--held-out", "4") == 2
    assert f"error: {file}" in capsys.readouterr().err and not fitted


def test_no_table_with_a_supernet_is_refused(
    tmp_path: Path, fitted: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, "a")
    assert fit(tmp_path, tables=tmp_path / "nowhere") == 2
    assert f"no table of {tmp_path / 'nowhere'} has its supernet in {tmp_path}" in capsys.readouterr().err
    assert fit(tmp_path / "nowhere", tables=tmp_path) == 2
    assert "--weights that of NAME.safetensors" in capsys.readouterr().err and not fitted


def test_tables_with_too_few_points_or_no_fp32_are_refused(
    tmp_path: Path, fitted: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    size = write_files(tmp_path, "a").size()
    assert fit(tmp_path) == 2
    message = (
        f"a.npz has {size} points, too few for --fitted 96 and --held-out 32: together at most {size - 1}"
    )
    assert message in capsys.readouterr().err
    assert fit(tmp_path, "--fitted", str(size - 4), "--held-out", "4") == 2 and not fitted
    assert fit(tmp_path, "--fitted", str(size - 5), "--held-out", "4") == 1 and fitted == [size]
    write_files(tmp_path, "b", ("int8", "w4"))
    assert fit(tmp_path, "--fitted", "8", "--held-out", "4") == 2
    assert "b.npz has no fp32" in capsys.readouterr().err


def test_drawn_genomes_are_distinct_up_to_the_whole_space(tmp_path: Path) -> None:
    space = write_files(tmp_path, "a")
    drawn = latencies.draw_genomes(space, space.size() - 1)
    assert len(set(space.keys(drawn))) == space.size()
    architecture, policy = space.decode(drawn[0].tolist())
    assert architecture == space.space.largest() and set(policy.values()) == {"fp32"}
    with pytest.raises(ValueError, match=f"the space has {space.size()}"):
        latencies.draw_genomes(space, space.size())
