"""Fronts with real kernels: latencies of a table, and the whole study on a table of 156 networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.api import UsageError
from benchmarks.cli.main import main
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.process_time import RoundTimes, time_networks
from benchmarks.records import store
from benchmarks.records.study_files import to_files as study_files
from benchmarks.studies.simq_fronts import measure, rejudge, study
from benchmarks.studies.simq_fronts.accuracy import PLAN as ACCURACY_PLAN
from benchmarks.studies.simq_fronts.facts import paired_difference
from benchmarks.studies.simq_fronts.judge import judge, standard_error
from benchmarks.studies.simq_fronts.study import FrontsPlan, select_networks
from simq.tabular import latency
from simq.tabular.build import build_table, layer_space
from simq.tabular.latency import load_table
from simq.tabular.table import read_table, write_table
from supernet import supernet_file
from supernet.cost import policy_units
from supernet.data.images import ImageBatch
from supernet.elastic import SuperNet
from supernet.quantization.latency_model import OperatorTable
from supernet.space import layered_space
from supernet.vit import ViTConfig, ViTFamily
from supernet.weights import SharedSlices
from tests import ROOT

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 156 Vision Transformers with its supernet, held-out items and latencies."""
    place = tmp_path_factory.mktemp("fronts")
    generator = torch.Generator().manual_seed(0)
    space = layered_space("tiny", layers=(1, 2), heads=(1, 2), ffn=(32, 64), hidden=32, head_dim=32, patch=2)
    family = ViTFamily(space, ViTConfig(4, 4, 1))
    net = SuperNet(family, SharedSlices(family, generator, "cpu"))
    batches = [
        ImageBatch(
            torch.randn(24, 1, 4, 4, generator=generator), torch.randint(4, (24,), generator=generator), 5
        )
        for _ in range(2)
    ]
    table = build_table(
        net,
        layer_space(family),
        batches[:1],
        batches[1:],
        {"name": "tiny", "weights_sha256": supernet_file.digest(net.source)},
    )
    write_table(table, place / "tiny.npz")
    supernet_file.save(place / "tiny.safetensors", net, {"table": "tiny"})
    save_file(
        {"inputs0": batches[1].inputs[0], "labels": batches[1].labels}, place / "tiny.items.safetensors"
    )
    layers = [
        (policy_units(family, arch), policy)
        for arch, policy in (table.space.decode(g) for g in table.space.sample(12, np.random.default_rng(0)))
    ]
    operators = OperatorTable([(shapes, policy, 0.2 + 0.01 * len(shapes)) for shapes, policy in layers])
    about = {"table": "tiny", "median_error": 0.01, "held_out": 4, "signature": "lat:min|prof:none"}
    latency.write_latencies(place / "tiny.npz", operators, family, about)
    return place


def test_the_column_of_latencies_is_that_of_the_operators(folder: Path) -> None:
    table = read_table(folder / "tiny.npz")
    assert "latency" not in table.columns
    latency.attach(table, folder / "tiny.npz")
    about = table.latency_model
    assert about["median_error"] == 0.01 and "operators" not in about
    net, _ = supernet_file.load(folder / "tiny.safetensors")
    genomes = table.points[::17]
    operators = OperatorTable([(policy_units(net.family, a), p, 1.0 + i) for i, (a, p) in enumerate(
        table.space.decode(genome) for genome in genomes)])  # fmt: skip
    again = OperatorTable.from_state(operators.state())
    found = latency.predict(again, net.family, table.space, genomes)
    alone = [operators(policy_units(net.family, a), p) for a, p in map(table.space.decode, genomes)]
    assert np.allclose(found, alone) and np.ptp(found) > 0


def test_latencies_of_another_table_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.latency.json").write_bytes((folder / "tiny.latency.json").read_bytes())
    table = read_table(folder / "tiny.npz")
    table.head["name"] = "x"
    with pytest.raises(ValueError, match="latencies of table tiny, not of x"):
        latency.attach(table, tmp_path / "x.npz")


def test_the_study_reports_its_measurements(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = FrontsPlan(seeds=2, evaluations=40, population=10, inner=100, items=24, shown=2, rounds=4, jobs=1)
    outcome = study.study([folder / "tiny.npz"], folder, plan)
    one = outcome.facts["tables"][0]
    table, net = read_table(folder / "tiny.npz"), supernet_file.load(folder / "tiny.safetensors")[0]
    for point in one["points"]:
        architecture, policy = table.space.decode(table.points[point["place"]])
        assert point["policy"] == policy and point["apart"] < 0.5
        claimed = table.columns["held_loss"][point["place"]]
        assert point["loss"] == pytest.approx(claimed, abs=0.01)  # the real kernels agree with the table
        assert point["searched"] == pytest.approx(table.columns["loss"][point["place"]], rel=1e-5)
    sizes = {p["place"]: p["bytes"] for p in one["points"]}
    assert sizes[one["largest"]["w4"]] < sizes[one["largest"]["int8"]] < sizes[one["largest"]["fp32"]]
    pair = outcome.facts["paired"]["tiny: times smaller than INT8"]
    assert pair["bounds"][0] <= pair["values"][0] <= pair["bounds"][1] and pair["unit"] == "ratio"
    measured = {point["place"] for point in one["points"]}
    chosen = select_networks(load_table(folder / "tiny.npz"), plan)
    assert measured == set(chosen.places)
    assert one["largest_error_of_accuracy"] <= 2 / 24 + 1e-9
    assert outcome.pictures["png"][:4] == b"\x89PNG" and len(outcome.rows) >= 3 + 1
    assert "4.80" in outcome.markdown("x")
    assert net.space.largest().to_dict() in [p["architecture"] for p in one["points"]]
    path = folder / "results" / "simq-fronts.json"
    for ending, content in study_files("simq-fronts", outcome, "c" * 40, None).items():
        store.write_text(path.with_suffix(f".{ending}"), content)
    monkeypatch.setattr(rejudge, "shipped_tables", lambda: {"tiny": folder / "tiny.npz"})
    again = rejudge.rejudge(path)
    assert again.rows == outcome.rows and again.facts["tables"] == outcome.facts["tables"]


def test_every_point_of_a_front_that_searched_no_worse_is_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = FrontsPlan(quality="error", seeds=2, evaluations=40, population=10, inner=99, shown=0)
    chosen = select_networks(load_table(folder / "tiny.npz"), plan)
    table = read_table(folder / "tiny.npz")
    hits, size = table.columns["hits"], table.columns["bytes"]
    base = hits[chosen.largest["int8"]]
    uniform = table.uniform["int8"]
    good = uniform[hits[uniform] >= base]
    rows = [(-int(hits[p]), int(size[p])) for p in good]
    beaten = [any(a != b and a[0] <= b[0] and a[1] <= b[1] for a in rows) for b in rows]
    truth = {int(p) for p, by in zip(good, beaten, strict=True) if not by}
    assert set(chosen.fronts["int8", "smaller", 0]) == truth and truth
    assert ACCURACY_PLAN.quality == "error"


def facts(items: int = 5000, **points: tuple[float, float, float, float | None]) -> dict:
    """A measured table whose INT8 takes 4 ms and 4 MB at 80 %; points: times, accuracy, loss, error."""
    base = {"place": 0, "ratio": [4.0] * 3, "bytes": 4_000_000, "accuracy": 0.8, "loss": 1.0, "searched": 1.0}
    made = [base | {"policy": {"a": "int8"}, "accuracy_above_int8": [0.0, 0.0], "predicted": 4.0}]
    for at, (times, accuracy, searched, error) in enumerate(points.values(), 1):
        made.append(
            made[0] | {
                "place": at, "ratio": [4 / times] * 3, "bytes": 4_000_000 / times, "accuracy": accuracy,
                "searched": searched, "accuracy_above_int8": [accuracy - 0.8, error],
            }
        )  # fmt: skip
    head = {"table": {"name": "t"}, "items": items, "largest": {"int8": 0}, "searched_int8": 1.0}
    return head | {"points": made, "ceilings": {"faster": [5.0, 5.0], "smaller": [5.0, 5.0]}}


def test_all_candidates_are_judged_and_not_the_cheapest_two() -> None:
    one = facts(
        **{"a": (4.0, 0.7, 1.0, 0.001), "b": (3.0, 0.72, 0.9, 0.001)},
        **{"c": (2.0, 0.8, 0.9, 0.001), "d": (1.5, 0.8, 0.9, 0.001)},
        **{"searched worse": (3.5, 0.9, 1.1, 0.001), "slower": (0.5, 0.9, 0.5, 0.001)},
    )
    answer = judge(one, "faster")
    assert [c.times for c in answer.candidates] == [4.0, 3.0, 2.0, 1.5]
    assert [c.verdict for c in answer.candidates] == ["worse", "worse", "at no loss", "at no loss"]
    assert (answer.low, answer.high, answer.estimate) == (2.0, 5.0, 2.0)


def test_few_items_are_undecided_where_many_decide() -> None:
    # The rule before took "no significant difference" for no loss: fewer items, larger answers.
    error = {n: (0.12 / n) ** 0.5 for n in (1000, 100_000)}
    few, many = (judge(facts(n, a=(2.0, 0.79, 0.9, error[n])), "smaller") for n in error)
    assert few.candidates[0].verdict == "undecided" and few.low == 1.0
    assert many.candidates[0].verdict == "worse" and many.low == 1.0
    kept = judge(facts(a=(2.0, 0.8, 0.9, 0.0028)), "smaller").candidates[0]  # z = 1.79
    assert kept.verdict == "at no loss" and kept.resolved == pytest.approx(1.6449 * 0.0028, rel=1e-4)


def test_the_best_of_many_is_corrected_for() -> None:
    alone = judge(facts(a=(2.0, 0.8, 0.9, 0.0028)), "faster")
    more = {f"p{i}": (2.0 + i / 10, 0.8, 0.9, 0.0028) for i in range(8)}
    assert alone.low == 2.0 and judge(facts(**more), "faster").low == 1.0


def test_without_items_the_error_is_the_widest_that_accuracies_allow() -> None:
    answer = judge(facts(a=(2.0, 0.75, 0.9, None)), "faster")
    (found,) = answer.candidates
    assert found.bounded and found.error == pytest.approx(((0.45 - 0.0025) / 5000) ** 0.5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        base = (rng.random(5000) < 0.8).astype(float)
        mine = np.where(rng.random(5000) < rng.random(), base, rng.random(5000) < 0.75).astype(float)
        known = paired_difference(mine, base)
        one = facts(a=(2.0, float(mine.mean()), 0.9, None))
        one["points"][0]["accuracy"] = float(base.mean())
        assert known[1] <= standard_error(one, one["points"][1])[0] * 1.001


def test_w4_latencies_of_the_published_kernels_answer_nothing() -> None:
    one = facts(a=(2.0, 0.8, 0.9, 0.001))
    one["points"][1]["policy"] = {"a": "w4"}
    assert judge(one, "faster").candidates == [] and len(judge(one, "smaller").candidates) == 1


def test_a_published_file_judged_again_has_the_published_measurements() -> None:
    root = ROOT / "results" / "studies"
    for name in ("simq-fronts", "simq-fronts-accuracy"):
        sealed = json.loads((root / f"{name}.json").read_text("utf-8"))
        again = rejudge.rejudge(root / f"{name}.json")
        assert json.loads(json.dumps(again.facts["tables"])) == sealed["tables"]
        assert json.loads(json.dumps(again.facts["paired"])) == sealed["paired"]
        assert [list(row) for row in again.rows] == sealed["page"]["rows"]


def test_the_command_judges_a_copy_again_and_refuses_other_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "studies").mkdir()
    published = ROOT / "results" / "studies" / "simq-fronts-accuracy.json"
    path = tmp_path / "studies" / published.name
    path.write_bytes(published.read_bytes())
    assert main(["study", path.stem, "--rejudge", "--results", str(tmp_path)]) == 0
    again, before = json.loads(path.read_text()), json.loads(published.read_text())
    assert again["tables"] == before["tables"] and again["measured"]["commit"] == before["measured"]["commit"]
    capsys.readouterr()
    assert main(["study", "simq-fronts", "--rejudge", "--results", str(tmp_path)]) == 2
    assert "--results names the folder above studies/" in capsys.readouterr().err
    assert main(["study", "shape-latency", "--rejudge", "--results", str(tmp_path)]) == 2
    assert "simq-fronts simq-fronts-accuracy" in capsys.readouterr().err


def test_turns_are_ratios_to_the_anchor_and_refuse_a_changed_input() -> None:
    turns = RoundTimes(np.array([[2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]))
    assert turns.least().tolist() == [0.5] and turns.median(1)[0] == 0.5
    seen: list[float] = []
    found = time_networks([lambda x: seen.append(float(x))] * 2, lambda i: [torch.tensor(float(i))], 3)
    assert found.ms.shape == (2, 3) and seen == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    with pytest.raises(MeasurementRejectedError, match="changed its input"):
        time_networks([lambda x: x.add_(1)], lambda i: [torch.zeros(2)], 2)


def test_sentences_are_asked_without_padding() -> None:
    some = measure.Items((torch.tensor([[2, 9, 3, 0, 0], [2, 9, 9, 9, 3]]),), torch.tensor([0, 1]))
    assert some[0][0].tolist() == [[2, 9, 3]] and some[1][0].shape == (1, 5)


def test_the_supernet_of_another_table_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="is not the supernet of table tiny"):
        measure.check_supernet(folder, {"name": "tiny", "weights_sha256": "f" * 64})


def test_a_damaged_supernet_is_refused(folder: Path, tmp_path: Path) -> None:
    sound = (folder / "tiny.safetensors").read_bytes()
    for name, damaged in (("half", sound[: len(sound) // 2]), ("empty", b""), ("other", b"x" * 100)):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="build its table again"):
            measure.check_supernet(tmp_path, {"name": name, "weights_sha256": "f" * 64})
        with pytest.raises(UsageError, match="build its table again"):
            measure.load_supernet(path)


def test_missing_files_are_refused_with_the_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"NAME\.safetensors"):
        study.run(tmp_path)
    with pytest.raises(UsageError, match=r"simq-tables held-out"):
        measure.load_items(tmp_path, "tiny", 3)
    (tmp_path / "tiny.npz").write_bytes((folder / "tiny.npz").read_bytes())
    with pytest.raises(UsageError, match=r"simq-tables latencies"):
        study.study([tmp_path / "tiny.npz"], tmp_path, FrontsPlan())
