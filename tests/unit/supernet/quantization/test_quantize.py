"""Real int8 layers: their arithmetic, what a policy may say, what the harness makes of quantised networks."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.analysis.table import build_table
from benchmarks.api import TaskInfo
from benchmarks.hardware import energy
from benchmarks.hardware.profiles import Profile
from benchmarks.lab.candidates import ContractViolationError
from benchmarks.lab.journal import Journal, ReplayDivergedError
from benchmarks.lab.lab import BenchLab
from benchmarks.lab.ledger import Clock, Ledger
from benchmarks.measurement import interleaved, latency, memory, parity, serving
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.workload import Workload
from benchmarks.records import integrity
from benchmarks.report.markdown import markdown
from benchmarks.report.plots import gallery
from benchmarks.scoring import score
from benchmarks.verification import compare
from supernet import export
from supernet.bert import BertConfig, family_of
from supernet.cost import cost
from supernet.quantization import precisions
from supernet.quantization.precisions import Int8Linear, uniform_int8
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space
from tests import ROOT
from tests.fake_records import fake
from tests.processor import needs_vnni

ENCODER, TRANSLATOR = Workload(12, 0, 1), Workload(6, 4, 3)


def bert(seed: int = 0, space: str = "bert-smoke") -> tuple[Any, nn.Module]:
    found = get_space(space)
    family = family_of(found)(found, BertConfig(60, 0.0, 0.0, 32))
    torch.manual_seed(seed)
    return family, family.build(found.sample(np.random.default_rng(seed))).requires_grad_(False)


def translator(share: str = "none") -> tuple[Seq2SeqFamily, nn.Module]:
    family = Seq2SeqFamily(get_space("mt-smoke"), Seq2SeqConfig(40, 40, share=share))
    torch.manual_seed(1)
    return family, family.build(family.space.largest()).requires_grad_(False)


# the arithmetic


def by_hand(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, bits: int) -> tuple[np.ndarray, float]:
    """The layer in plain numpy and exact integers, and how far one step of the activations can move it."""
    scale = np.abs(weight).max(1) / 127
    scale[scale == 0] = 1
    whole = np.rint(weight / scale[:, None]).astype(np.int64)
    low, high = min(x.min(), 0.0), max(x.max(), 0.0)
    step = (high - low) / (2**bits - 1) or 1.0
    zero = round(-low / step)
    given = np.clip(np.rint(x / step) + zero, 0, 2**bits - 1).astype(np.int64)
    out = ((given - zero) @ whole.T) * step * scale + bias
    return out, step * float(np.abs(weight).max())


@pytest.mark.parametrize("shift", [0.0, 3.0, -3.0])
@pytest.mark.parametrize("size", [(1, 7, 5), (4, 64, 96), (33, 200, 17)])
def test_the_layer_is_its_arithmetic(size: tuple[int, int, int], shift: float) -> None:
    rows, inside, out = size
    rng = np.random.default_rng(rows)
    weight, bias = rng.standard_normal((out, inside)), rng.standard_normal(out)
    weight *= 10.0 ** rng.uniform(-2, 1, (out, 1))  # one scale for all channels would not do
    weight[out // 2] = 0
    x = rng.standard_normal((rows, inside)) + shift
    linear = nn.Linear(inside, out)
    linear.weight.data, linear.bias.data = (torch.tensor(v, dtype=torch.float32) for v in (weight, bias))
    found = Int8Linear(linear)(torch.tensor(x, dtype=torch.float32)).numpy()
    due, step = by_hand(x, weight, bias, precisions.activation_bits())
    apart = np.abs(found - due)
    # A tie may be rounded the other way in float32: that moves one product by one step, and few products.
    assert apart.max() <= 2.5 * step and np.median(apart) < 0.02 * step


def test_channels_have_scales_of_their_own() -> None:
    linear = nn.Linear(64, 2, bias=False)
    torch.manual_seed(0)
    linear.weight.data[0] *= 1000
    x = torch.rand(8, 64)
    with torch.no_grad():
        small, found = linear(x)[:, 1], Int8Linear(linear)(x)[:, 1]
    assert float((found - small).norm() / small.norm()) < 0.05


def test_full_range_products_do_not_overflow() -> None:
    """Without VNNI, x86 kernels add pairs of products in 16 bits."""
    linear = nn.Linear(128, 16, bias=False)
    linear.weight.data.fill_(1.0)
    found = Int8Linear(linear)(torch.full((4, 128), 2.0))
    assert found.numpy() == pytest.approx(256.0, rel=1e-4)


def test_a_constant_zero_input_gives_the_bias_and_shapes_stay() -> None:
    linear = nn.Linear(8, 3)
    found = Int8Linear(linear)(torch.zeros(2, 5, 8))
    assert found.shape == (2, 5, 3) and torch.equal(found, linear.bias.detach().expand(2, 5, 3))
    assert Int8Linear(nn.Linear(8, 3, bias=False))(torch.zeros(1, 8)).abs().max() == 0


# policies


@pytest.mark.parametrize("make", [bert, lambda: bert(1, "nas-bert-s"), translator])
def test_every_linear_layer_is_exchanged_and_the_given_module_stays(make: Any) -> None:
    _, module = make()
    before = copy.deepcopy(module)
    policy = uniform_int8(module)
    made = precisions.quantize(module, policy)
    assert set(precisions.precisions(made).values()) == {"int8"} and set(policy) == set(
        precisions.precisions(module)
    )
    assert not any(isinstance(layer, nn.Linear) for layer in made.modules()) and not made.training
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), before.parameters(), strict=True))
    assert all(type(a) is type(b) for a, b in zip(module.modules(), before.modules(), strict=True))
    work = TRANSLATOR if make is translator else ENCODER
    with torch.inference_mode():
        assert torch.equal(work.run(module, work.source("cpu")), work.run(before, work.source("cpu")))
    assert 0 < parity.check_quantized(made, module, policy, work) < 0.1


def test_tied_output_layers_stay_fp32_and_others_do_not() -> None:
    assert "head.dense" in uniform_int8(bert()[1]) and not any("word" in n for n in uniform_int8(bert()[1]))
    assert "output" in uniform_int8(translator("none")[1]) and "output" not in uniform_int8(
        translator("all")[1]
    )


@pytest.mark.parametrize("policy", [None, {}, "fp32"])
def test_a_policy_without_a_word_changes_no_bit(policy: Any) -> None:
    _, module = bert()
    if policy == "fp32":
        policy = dict.fromkeys(uniform_int8(module), "fp32")
    made = precisions.quantize(module, policy)
    tokens = torch.randint(5, 60, (3, 12))
    with torch.inference_mode():
        assert torch.equal(made(tokens), module(tokens))
    assert made is not module and precisions.recipe(made) == {} and precisions.lowered(policy) is None
    assert not {p.data_ptr() for p in made.parameters()} & {p.data_ptr() for p in module.parameters()}


def test_a_network_that_is_one_linear_layer() -> None:
    linear = nn.Linear(4, 4)
    made = precisions.quantize(linear, uniform_int8(linear))
    assert isinstance(made, Int8Linear) and isinstance(linear, nn.Linear)


def test_a_policy_may_name_some_layers() -> None:
    _, module = bert()
    made = precisions.quantize(module, {"head.dense": "int8"})
    assert (
        isinstance(made.head.dense, Int8Linear)
        and list(precisions.precisions(made).values()).count("int8") == 1
    )
    assert precisions.recipe(made)["prec"] == "fp32+int8"


def test_policies_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    _, module = bert()
    with pytest.raises(ValueError, match=r"names 'head\.dens'.* the nearest name is 'head\.dense'$"):
        precisions.quantize(module, {"head.dens": "int8"})
    with pytest.raises(ValueError, match=r"'embedding\.word', which is no linear layer"):
        precisions.quantize(module, {"embedding.word": "int8"})
    with pytest.raises(ValueError, match=r"no precision 'int3', choose one of fp32, bf16, int8, w4"):
        precisions.quantize(module, {"head.dense": "int3"})
    with pytest.raises(ValueError, match="run on the processor, and these weights are on meta"):
        precisions.quantize(nn.Sequential(nn.Linear(2, 2, device="meta")), {"0": "int8"})
    monkeypatch.setattr(precisions.torch.backends, "quantized", types.SimpleNamespace(engine="none"))
    with pytest.raises(ValueError, match="no int8 engine on this processor: only fp32"):
        precisions.quantize(module, {"head.dense": "int8"})


# what it costs


@pytest.mark.parametrize("make", [bert, lambda: bert(1, "nas-bert-s"), translator, lambda: translator("all")])
def test_bytes_are_those_that_the_deployed_network_holds(make: Any) -> None:
    family, module = make()
    architecture = family.space.largest() if family.kind == "seq2seq" else None
    architecture = architecture or family.space.sample(
        np.random.default_rng(1 if "cells" in family.kind else 0)
    )
    policy = uniform_int8(module)
    made = precisions.quantize(module, policy)
    plain = cost(family, architecture, source_len=5, target_len=5)
    counted = cost(family, architecture, source_len=5, target_len=5, policy=policy)
    held = sum(p.numel() * 4 for p in made.parameters()) + precisions.packed_bytes(made)
    assert counted.bytes == held < plain.bytes and plain.bytes == sum(
        p.numel() * 4 for p in module.parameters()
    )
    assert (counted.params, counted.macs) == (plain.params, plain.macs)


def test_bytes_of_a_layer_by_hand() -> None:
    layer = Int8Linear(nn.Linear(10, 3))
    assert layer.bytes == 10 * 3 + 3 * 4 + 3 * 4
    assert Int8Linear(nn.Linear(10, 3, bias=False)).bytes == 10 * 3 + 3 * 4


def test_the_cost_of_a_policy_for_another_network() -> None:
    family, _ = bert()
    for name in ("ops.9_attention.q", "embedding.word"):
        with pytest.raises(ValueError, match="no linear layer"):
            cost(family, family.space.smallest(), source_len=5, target_len=5, policy={name: "int8"})


def test_memory_counts_packed_weights() -> None:
    _, module = bert()
    made = precisions.quantize(module, uniform_int8(module))
    plain, low = (memory.measure_peak_memory(m, ENCODER, "cpu")["peak_bytes"] for m in (module, made))
    saved = sum(p.numel() * 4 for p in module.parameters()) - sum(p.numel() * 4 for p in made.parameters())
    assert plain - low == pytest.approx(saved - precisions.packed_bytes(made), rel=0.2)


# gates


class Spoilt(nn.Module):
    """A layer that does something with what another one gives."""

    def __init__(self, inner: nn.Module, after: Any, before: Any = lambda x: x) -> None:
        super().__init__()
        self.inner, self.after, self.before = inner, after, before

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.after(self.inner(self.before(x)))
        return out


def spoilt(module: nn.Module, spoil: Any) -> nn.Module:
    made = precisions.quantize(module, uniform_int8(module))
    spoil(made)
    return made


def garbage(made: Any) -> None:
    op = made.ops[next(iter(made.ops))]
    op.norm.weight.data.fill_(0.0)
    op.norm.bias.data.normal_()


def test_outputs_that_are_garbage_are_refused() -> None:
    _, module = bert()
    policy = uniform_int8(module)
    with pytest.raises(
        MeasurementRejectedError, match=r"its outputs are \d\.\d\d of their length from those in fp32"
    ):
        parity.check_quantized(spoilt(module, garbage), module, policy, ENCODER)

    def nothing(made: Any) -> None:
        encode = made.encode
        made.encode = lambda tokens: encode(tokens) * float("nan")

    with pytest.raises(MeasurementRejectedError, match="outputs are nan"):
        parity.check_quantized(spoilt(module, nothing), module, policy, ENCODER)


def test_layers_that_run_in_float32_or_twice_are_refused() -> None:
    _, module = bert()
    policy = uniform_int8(module)
    due = len(policy) - 1  # the head is no part of what classifiers read

    def fall_back(made: Any) -> None:
        made.ops["0_attention"].q = copy.deepcopy(module.ops["0_attention"].q)

    def twice(made: Any) -> None:
        inner = made.ops["0_attention"].q
        made.ops["0_attention"].q = Spoilt(inner, lambda y: y, lambda x: (inner(x), x)[1])

    for spoil, ran in ((fall_back, due - 1), (twice, due + 1)):
        with pytest.raises(
            MeasurementRejectedError, match=f"linear_dynamic {ran} times where its policy makes it {due}$"
        ):
            parity.check_quantized(spoilt(module, spoil), module, policy, ENCODER)
    partly = {name: "int8" for name in list(policy)[:3]}
    with pytest.raises(MeasurementRejectedError, match=f"{due} times where its policy makes it 3"):
        parity.check_quantized(precisions.quantize(module, policy), module, partly, ENCODER)


def test_a_changed_input_is_refused() -> None:
    _, module = bert()
    policy = uniform_int8(module)
    made: Any = precisions.quantize(module, policy)
    encode = made.encode

    def overwriting(tokens: Tensor) -> Tensor:
        out: Tensor = encode(tokens)
        tokens.fill_(5)
        return out

    made.encode = overwriting
    with pytest.raises(MeasurementRejectedError, match="changed its input"):
        parity.check_quantized(made, module, policy, ENCODER)


def test_a_policy_that_cannot_be_deployed_is_refused() -> None:
    _, module = bert()
    with pytest.raises(MeasurementRejectedError, match="no linear layer"):
        serving.serve_checked(module, {"head": "int8"}, ENCODER)
    assert isinstance(serving.serve_checked(module, {"head.dense": "int8"}, ENCODER).head.dense, Int8Linear)


# timing


def test_a_quantised_network_is_timed_in_turns_with_itself(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(latency, "exclusive", unlocked)
    _, module = bert()
    made = precisions.quantize(module, uniform_int8(module))
    order: list[str] = []
    named = {"low": made, "reference": bert(2)[1], "plain": module}
    for name, network in named.items():
        network.register_forward_pre_hook(lambda *_: None)
        network.encode = noting(network.encode, name, order)
    found = latency.measure_latency(
        named["low"],
        named["reference"],
        ENCODER,
        "cpu",
        Profile("here", "cpu", 1),
        plain=named["plain"],
        min_n=9,
    )
    rounds = [order[i : i + 3] for i in range(1 + 3 * interleaved.WARM_UP, len(order) - 1, 3)]
    assert all(sorted(one) == ["low", "plain", "reference"] for one in rounds)
    assert {one[0] for one in rounds} == set(named)
    assert found["fp32_ratio_low"] <= found["fp32_ratio"] <= found["fp32_ratio_high"]
    assert found["fp32_ratio"] == pytest.approx(found["p50"] / found["fp32_p50"])
    bits = precisions.activation_bits()
    assert f"|prec:int8|int8:{torch.backends.quantized.engine}-w8c-a{bits}t|mode:eager|" in found["signature"]
    again = latency.measure_latency(
        module, named["reference"], ENCODER, "cpu", Profile("here", "cpu", 1), min_n=8
    )
    assert "|prec:fp32|mode:eager|" in again["signature"] and "fp32_ratio" not in again


def noting(call: Any, name: str, order: list[str]) -> Any:
    def noted(tokens: Tensor) -> Tensor:
        order.append(name)
        out: Tensor = call(tokens)
        return out

    return noted


class unlocked:
    def __enter__(self) -> float:
        return 0.0

    def __exit__(self, *_: object) -> None:
        pass


# in the harness


class EncoderTask:
    def __init__(self, family: Any) -> None:
        self.made = family
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    def tier(self, name: str, device: str) -> Any:
        workload = {"source_len": 12, "steps": 0, "beam": 1, "energy_seconds": 0.0}
        return types.SimpleNamespace(name=name, workload=workload)

    def family(self, tier: Any, prepared: Any) -> Any:
        return self.made

    def score(self, module: Any, prepared: Any, tier: Any, device: str, precision: str) -> dict[str, Any]:
        self.asked.append((device, precision, precisions.recipe(module)))
        figure = {"value": 1.0, "low": 0.0, "high": 2.0, "signature": "acc|version:1"}
        return {"test": {"test": {"accuracy": figure}}, "test_loss": 1.5}


class SilentMeter(energy.EnergyMeter):
    def __init__(self, profile: Any = None) -> None:
        pass

    def ready(self) -> bool:
        return True

    def start(self) -> None:
        pass

    def stop(self) -> dict[str, Any]:
        return {"joules": 1.0, "source": "fake", "covered_seconds": 1.0}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A finished search with one int8 and one fp32 candidate of the same weights, and its task."""
    family, module = bert()
    architecture = family.space.sample(np.random.default_rng(0))
    task, policy, proposed = EncoderTask(family), uniform_int8(module), []
    for index, chosen in enumerate((policy, None)):
        folder = tmp_path / "run" / "candidates" / f"{index:02d}"
        digest = export.save(folder, module, family.spec(), architecture, chosen)
        proposed.append(
            {"index": index, "architecture": architecture.to_dict(), "policy": chosen, "origin": "int8"}
            | {"limit_ms": None, "weights_sha256": digest, "valid": {"loss": 2.0}}
        )
    (tmp_path / "run" / "spec.json").write_text('{"task": "fake", "tier": "t", "profile": "undeclared"}')
    (tmp_path / "run" / "search.json").write_text(json.dumps({"candidates": proposed}))
    monkeypatch.setattr("benchmarks.tasks.get_task", lambda name: task)
    monkeypatch.setattr(score, "EnergyMeter", SilentMeter)
    monkeypatch.setattr(latency, "EnergyMeter", SilentMeter)
    monkeypatch.setattr(latency, "exclusive", unlocked)
    return types.SimpleNamespace(folder=tmp_path / "run", task=task, proposed=proposed)


def scored(run: Any) -> list[dict[str, Any]]:
    prepared = types.SimpleNamespace(digests={"data": "1"})
    found = score.score_run(run.folder, prepared=prepared, device="cpu", say=lambda _: None)["candidates"]
    schema = json.loads(integrity.SCHEMA_FILE.read_text())
    for made, entry in zip(run.proposed, found, strict=True):
        if entry["failed"] is None:
            jsonschema.validate({**made, **entry}, {"$defs": schema["$defs"], "$ref": "#/$defs/candidate"})
    return found


def test_a_candidate_with_a_policy_is_scored_and_timed_as_what_it_is(run: Any) -> None:
    low, plain = scored(run)
    assert [entry["failed"] for entry in (low, plain)] == [None, None]
    assert [recipe.get("prec") for *_, recipe in run.task.asked] == ["int8", None]
    assert (
        low["cost"]["bytes"] < 0.6 * plain["cost"]["bytes"]
        and low["cost"]["params"] == plain["cost"]["params"]
    )
    assert low["latency"]["fp32_ratio"] > 0 and "fp32_ratio" not in plain["latency"]
    signatures = [entry["test"]["test"]["accuracy"]["signature"] for entry in (low, plain)]
    assert signatures[0].startswith("acc|version:1|prec:int8|int8:") and signatures[1] == "acc|version:1"


def test_under_a_profile_of_a_gpu_it_has_quality_and_a_reason(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = score._Bench.__init__

    def elsewhere(bench: Any, *arguments: Any) -> None:
        make(bench, *arguments)
        bench.device = "cuda"

    monkeypatch.setattr(score._Bench, "__init__", elsewhere)
    monkeypatch.setattr(nn.Module, "to", lambda module, device: module)
    low = scored(run)[0]
    assert low["failed"] is None and run.task.asked[0][:2] == ("cpu", "fp32")
    assert low["test"] and low["cost"]["bytes"] > 0 and not {"latency", "memory", "energy"} & set(low)
    assert low["not_measured"] == "low-precision layers run on the processor, profile undeclared is cuda"


def test_a_garbled_quantised_candidate_fails_alone(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: nn.Module, policy: Any) -> nn.Module:
        made = precisions.quantize(module, policy)
        garbage(made)
        return made

    monkeypatch.setattr(serving, "quantize", broken)
    low, plain = scored(run)
    assert "from those in fp32" in low["failed"] and "test" not in low and plain["failed"] is None


def test_another_policy_on_disk_is_noticed(run: Any) -> None:
    run.proposed[0]["policy"] = {"head.dense": "int8"}
    (run.folder / "search.json").write_text(json.dumps({"candidates": run.proposed}))
    assert scored(run)[0]["failed"] == "its policy on disk is not the one that the search proposed"


def test_an_export_brings_its_policy_back(tmp_path: Path) -> None:
    family, module = bert()
    architecture = family.space.sample(np.random.default_rng(0))
    tokens = torch.randint(5, 60, (2, 12))
    for policy in (None, uniform_int8(module)):
        export.save(tmp_path, module, family.spec(), architecture, policy)
        read, about = export.load(tmp_path)
        assert about["policy"] == policy and set(precisions.precisions(read).values()) == {"fp32"}
        with torch.inference_mode():
            due = precisions.quantize(module, policy)(tokens)
            assert torch.equal(export.load_deployed(tmp_path)(tokens), due)


PLUGIN = ROOT / "tests" / "e2e" / "plugin" / "tiny_task.py"


@pytest.fixture
def make_lab(tmp_path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("tiny_task_for_int8", PLUGIN)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    tiny, made = module.Tiny(), []

    def build() -> BenchLab:
        (tmp_path / "lab").mkdir(exist_ok=True)
        made.append(
            BenchLab(
                tmp_path / "lab", TaskInfo(tiny.name, tiny.suite, "smoke", tiny.metric, {}), tiny,
                tiny.tier("smoke", "cpu"), tiny.prepare(None, tmp_path / "cache", None, print),
                ledger=Ledger({"tokens": 1, "evaluations": 1, "probes": 1, "seconds": 600}, Clock()),
                journal=Journal(tmp_path / "lab" / "journal.jsonl"), seed=1, method="m", device="cpu",
                limits=[(0.5, 1.25)], reference_ms=2.5, options={}, checkpoint_seconds=0.0, say=print,
            )
        )  # fmt: skip
        return made[-1]

    yield build
    for lab in made:
        lab.journal.close()


def test_the_validation_score_is_that_of_the_quantised_network(make_lab: Any) -> None:
    lab = make_lab()
    net, architecture = lab.supernet(), lab.space.largest()
    policy = uniform_int8(net.export(architecture))
    plain, low = lab.candidate(net, architecture), lab.candidate(net, architecture, policy)
    assert low.policy == policy and plain.policy is None and low.weights_sha256 == plain.weights_sha256
    assert 0 < abs(low.valid.loss - plain.valid.loss) < 0.05
    assert low.valid.loss == lab._validate(export.load_deployed(low.path)).loss
    assert lab.candidate(net, architecture, dict.fromkeys(policy, "fp32")).policy is None
    with pytest.raises(ContractViolationError, match="nearest name"):
        lab.candidate(net, architecture, {"encoder.0": "int8"})


@pytest.mark.parametrize("ask", ["evaluate", "probe", "energy", "bytes", "candidate"])
def test_whoever_asks_for_a_policy_that_cannot_be_is_told_why(make_lab: Any, ask: str) -> None:
    lab = make_lab()
    net, architecture = lab.supernet(), lab.space.smallest()
    given = (net, architecture) if ask in ("evaluate", "candidate") else (architecture,)
    with pytest.raises(
        ContractViolationError, match=r"names 'nope', which is no linear layer .* the nearest name is"
    ):
        getattr(lab, ask)(*given, policy={"nope": "int8"})
    layer = next(iter(lab.units(architecture)))
    with pytest.raises(
        ContractViolationError, match=r"no precision 'int3', choose one of fp32, bf16, int8, w4"
    ):
        getattr(lab, ask)(*given, policy={layer: "int3"})
    assert lab.budget.spent("evaluations") == lab.budget.spent("probes") == 0


def test_a_candidate_of_weights_that_are_no_numbers_is_refused(make_lab: Any) -> None:
    lab = make_lab()
    net, architecture = lab.supernet(), lab.space.smallest()
    net.source.flat.data.fill_(float("nan"))
    for policy in (None, {next(iter(lab.units(architecture))): "int8"}):
        with pytest.raises(
            ContractViolationError, match=r"candidate \d\d: weights that are not finite numbers"
        ):
            lab.candidate(net, architecture, policy)


def test_a_resumed_search_that_asks_for_another_policy_is_noticed(make_lab: Any) -> None:
    for policy in ("encoder.0.attention.out", "encoder.0.attention.qkv"):
        lab = make_lab()
        net, architecture = lab.supernet(), lab.space.largest()
        if policy.endswith("out"):
            lab.candidate(net, architecture, {policy: "int8"})
            lab.journal.close()
        else:
            with pytest.raises(ReplayDivergedError):
                lab.candidate(net, architecture, {policy: "int8"})


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


# the method


def test_int8_uniform_quantises_what_it_inherits() -> None:
    from baselines.int8_uniform import Int8Uniform

    _, module = bert()
    net = types.SimpleNamespace(export=lambda architecture: module)
    made = []

    class Lab:
        given = ((1.0, "a"), (2.0, "b"))

        def inherit(self, number: int) -> Any:
            made.append(number)
            return net

        def candidate(self, *arguments: Any, **more: Any) -> Any:
            return arguments, more

    found = list(Int8Uniform().search(Lab()))
    assert made == [0, 1] and [more["target"] for _, more in found] == [1.0, 2.0]
    assert all(
        (net_, a, policy) == (net, arch, uniform_int8(module))
        for (net_, a, policy), arch in zip([x for x, _ in found], "ab", strict=True)
    )
    Lab.given = ()
    with pytest.raises(RuntimeError, match="nothing to quantise"):
        list(Int8Uniform().search(Lab()))


@needs_vnni
def test_a_candidate_of_a_tier_that_onnx_runtime_serves(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("onnx", reason="needs the extra onnx")
    tier = run.task.tier("t", "cpu")
    workload = {**vars(Workload.of(tier.workload)), **dict(tier.workload), "runtime": "ort"}
    monkeypatch.setattr(
        run.task, "tier", lambda *_: types.SimpleNamespace(**{**vars(tier), "workload": workload})
    )
    low, plain = scored(run)
    assert [entry["failed"] for entry in (low, plain)] == [None, None]
    for entry, used in ((low, "prec:int8|"), (plain, "prec:fp32|")):
        told = entry["latency"]["signature"]
        assert "|rt:ort-" in told and "mode:graph" in told and used in told
        assert "rt:ort-" in entry["test"]["test"]["accuracy"]["signature"]
        assert entry["memory"]["peak_bytes"] == entry["cost"]["bytes"]
    assert low["latency"]["fp32_ratio"] > 0 and "fp32_ratio" not in plain["latency"]
