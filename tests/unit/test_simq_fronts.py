"""Fronts with real kernels: latencies of a table, and the whole study on a table of 156 networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks import stats
from benchmarks.api import UsageError
from benchmarks.measure import Refused
from benchmarks.studies import fronts_measure, simq_fronts, simq_fronts_accuracy
from benchmarks.studies.simq_fronts import Plan, answered
from benchmarks.turns import Turns, in_turns
from simq import latency
from simq.arena import Arena
from simq.table import read, write
from simq.tabulate import fill, layer_space
from supernet import stored
from supernet.cost import policy_units
from supernet.elastic import SuperNet
from supernet.images import ImageBatch
from supernet.operator_table import OperatorTable
from supernet.space import layered_space
from supernet.vit import ViTConfig, ViTFamily
from supernet.weights import SharedSlices

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
    table = fill(
        net,
        layer_space(family),
        batches[:1],
        batches[1:],
        {"name": "tiny", "weights_sha256": stored.digest(net.source)},
    )
    write(table, place / "tiny.npz")
    stored.save(place / "tiny.safetensors", net, {"table": "tiny"})
    save_file(
        {"inputs0": batches[1].inputs[0], "labels": batches[1].labels}, place / "tiny.items.safetensors"
    )
    layers = [
        (policy_units(family, arch), policy)
        for arch, policy in (table.space.decode(g) for g in table.space.sample(12, np.random.default_rng(0)))
    ]
    operators = OperatorTable([(shapes, policy, 0.2 + 0.01 * len(shapes)) for shapes, policy in layers])
    about = {"table": "tiny", "median_error": 0.01, "held_out": 4, "signature": "lat:min|prof:none"}
    latency.write(place / "tiny.npz", operators, family, about)
    return place


def test_the_column_of_latencies_is_what_the_operators_say(folder: Path) -> None:
    table = read(folder / "tiny.npz")
    assert "latency" not in table.columns
    about = latency.attach(table, folder / "tiny.npz")
    assert about["median_error"] == 0.01 and "operators" not in about
    net, _ = stored.load(folder / "tiny.safetensors")
    genomes = table.points[::17]
    operators = OperatorTable([(policy_units(net.family, a), p, 1.0 + i) for i, (a, p) in enumerate(
        table.space.decode(genome) for genome in genomes)])  # fmt: skip
    again = OperatorTable.from_state(operators.state())
    found = latency.predicted(again, net.family, table.space, genomes)
    alone = [operators(policy_units(net.family, a), p) for a, p in map(table.space.decode, genomes)]
    assert np.allclose(found, alone) and np.ptp(found) > 0


def test_latencies_of_another_table_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.latency.json").write_bytes((folder / "tiny.latency.json").read_bytes())
    table = read(folder / "tiny.npz")
    table.head["name"] = "x"
    with pytest.raises(ValueError, match="latencies of table tiny, not of x"):
        latency.attach(table, tmp_path / "x.npz")


def test_the_study_measures_what_it_reports(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simq_fronts, "arena", Arena)
    plan = Plan(
        seeds=2, evaluations=40, population=10, inner=100, items=24, shown=2, candidates=2, rounds=4, jobs=1
    )
    outcome = simq_fronts.study([folder / "tiny.npz"], folder, plan)
    one = outcome.facts["tables"][0]
    table, net = read(folder / "tiny.npz"), stored.load(folder / "tiny.safetensors")[0]
    for point in one["points"]:
        architecture, policy = table.space.decode(table.points[point["place"]])
        assert point["policy"] == policy and point["apart"] < 0.5
        claimed = table.columns["held_loss"][point["place"]]
        assert point["loss"] == pytest.approx(claimed, abs=0.01)  # the real kernels agree with the table
    sizes = {p["place"]: p["bytes"] for p in one["points"]}
    assert sizes[one["largest"]["w4"]] < sizes[one["largest"]["int8"]] < sizes[one["largest"]["fp32"]]
    times = outcome.facts["paired"]["tiny: times smaller than INT8"]
    assert len(times["values"]) == 2 and min(times["values"]) >= 1 and times["unit"] == "ratio"
    assert one["largest_error_of_accuracy"] <= 1 / 24 + 1e-9
    assert outcome.pictures["png"][:4] == b"\x89PNG" and len(outcome.rows) == 3 + 1 + 6
    assert "4.80" in outcome.markdown("x")
    assert net.space.largest().to_dict() in [p["architecture"] for p in one["points"]]


def test_searched_for_accuracy_candidates_are_no_more_often_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simq_fronts, "arena", Arena)
    plan = Plan(
        quality="error", seeds=2, evaluations=40, population=10, inner=99, items=24, shown=2, rounds=4, jobs=1
    )
    found = simq_fronts.chosen(folder / "tiny.npz", plan)
    hits = read(folder / "tiny.npz").columns["hits"]
    assert any(found.candidates.values())
    for candidates in found.candidates.values():
        assert all(hits[place] >= hits[found.largest["int8"]] for place in candidates)
    outcome = simq_fronts.study([folder / "tiny.npz"], folder, plan)
    assert outcome.facts["study"] == "simq-fronts-accuracy" and "whose error on the search" in outcome.rule
    assert simq_fronts_accuracy.PLAN.quality == "error"


def test_the_answer_is_the_fastest_at_no_loss_and_else_the_network_itself() -> None:
    def judged(low: float, high: float) -> tuple[stats.Interval, stats.Interval]:
        interval = stats.Interval((low + high) / 2, low, high, 10)
        return interval, interval

    facts = {0: judged(0, 0), 1: judged(-0.05, -0.01), 2: judged(-0.03, 0.01), 3: judged(-0.004, 0.01)}
    values = {0: 4.0, 1: 1.0, 2: 2.0, 3: 3.0}
    found = answered([1, 2, 3], values, facts, 0)
    assert (found.place, found.times, found.strict) == (2, 2.0, 4 / 3)
    none = answered([1], values, facts, 0)
    assert (none.place, none.times, none.strict) == (0, 1.0, 1.0)
    slower = answered([3], values | {3: 5.0}, facts, 0)
    assert slower.place == 0


def test_turns_are_ratios_to_the_anchor_and_refuse_a_changed_input() -> None:
    turns = Turns(np.array([[2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]))
    assert turns.least().tolist() == [0.5] and turns.median(1)[0] == 0.5
    seen: list[float] = []
    found = in_turns([lambda x: seen.append(float(x))] * 2, lambda i: [torch.tensor(float(i))], 3)
    assert found.ms.shape == (2, 3) and seen == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    with pytest.raises(Refused, match="changed its input"):
        in_turns([lambda x: x.add_(1)], lambda i: [torch.zeros(2)], 2)


def test_sentences_are_asked_without_padding() -> None:
    some = fronts_measure.Items((torch.tensor([[2, 9, 3, 0, 0], [2, 9, 9, 9, 3]]),), torch.tensor([0, 1]))
    assert some[0][0].tolist() == [[2, 9, 3]] and some[1][0].shape == (1, 5)


def test_the_supernet_of_another_table_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="is not the supernet of table tiny"):
        fronts_measure.check(folder, {"name": "tiny", "weights_sha256": "f" * 64})


def test_what_is_missing_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simq_fronts, "arena", Arena)
    with pytest.raises(UsageError, match=r"NAME\.safetensors"):
        simq_fronts.run(tmp_path)
    with pytest.raises(UsageError, match=r"tests\.bench\.items"):
        fronts_measure.items(tmp_path, "tiny", 3)
    (tmp_path / "tiny.npz").write_bytes((folder / "tiny.npz").read_bytes())
    with pytest.raises(UsageError, match=r"tests\.bench\.latencies"):
        simq_fronts.study([tmp_path / "tiny.npz"], tmp_path, Plan())
