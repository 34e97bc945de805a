"""The supernet that joint searches share: its weights and statistics arrive, and who takes it is charged."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from baselines.int8_uniform import static_instead
from benchmarks.api import BudgetExhausted, Skip, TaskInfo, UsageError
from benchmarks.conformance.observations import LIMIT_MS
from benchmarks.hardware import profiles
from benchmarks.lab.candidates import ContractViolationError
from benchmarks.lab.journal import Journal
from benchmarks.lab.lab import BenchLab
from benchmarks.lab.ledger import Clock, Ledger
from benchmarks.measurement import serving
from benchmarks.measurement.workload import RUNTIMES, Workload
from benchmarks.options import Options
from benchmarks.registry import find
from benchmarks.runs import plan
from benchmarks.tasks.vision import VisionTask, cifar10, cifar10_resnet, digits, digits_resnet, easy_vqa
from benchmarks.verification import rerun
from simq.archive import MIN_VARIED, Archive
from simq.genome import JointSpace, precision_units
from simq.int8_fallback import UniformInt8Fallback, fall_back
from simq.methods import JointSearch, LinasMethod, UniformBf16, UniformFp32, UniformInt8, missing_precision
from simq.shared_supernet import JointSupernet, inherit_supernet, reserved_tokens, scale_advice
from supernet import elastic
from supernet.export import load
from supernet.quantization.calibration import METHODS, count_passes, stored_ranges
from supernet.quantization.precisions import STATIC, int8_of, uniform_int8, units
from supernet.space import layered_space
from supernet.vit import ViTConfig, ViTFamily

SETTINGS = {"predictor_probes": 4, "precisions": ("fp32", "int8", "w4")}


@pytest.fixture(autouse=True)
def closed(monkeypatch: Any) -> Any:
    """Journals do not stay open."""
    made: list[BenchLab] = []
    make = BenchLab.__init__

    def init(lab: BenchLab, *given: Any, **more: Any) -> None:
        make(lab, *given, **more)
        made.append(lab)

    monkeypatch.setattr(BenchLab, "__init__", init)
    yield
    for lab in made:
        lab.close()


class Bench:
    """Runs of one task, each in a folder of its own."""

    def __init__(self, task: VisionTask, home: Path, tokens: float = 30_000, runtime: str = "torch") -> None:
        self.task, self.home = task, home
        tier = task.tier("check", "cpu")
        self.tier = replace(tier, workload=dict(tier.workload) | {"runtime": runtime})
        self.prepared = task.prepare(self.tier, home / "cache", None, lambda _: None)
        self.allowance = {"tokens": tokens, "evaluations": 6, "probes": 6, "seconds": 600}
        self.said: list[str] = []

    def lab(self, name: str, **options: Any) -> BenchLab:
        folder = self.home / name
        folder.mkdir(parents=True, exist_ok=True)
        info = TaskInfo(self.task.name, "simq", "check", "accuracy", dict(self.tier.settings) | SETTINGS)
        return BenchLab(
            folder,
            info,
            self.task,
            self.tier,
            self.prepared,
            ledger=Ledger(self.allowance, Clock()),
            journal=Journal(folder / "journal.jsonl"),
            seed=1,
            method=name,
            device="cpu",
            limits=[(0.8, 0.8 * LIMIT_MS), (1.0, LIMIT_MS)],
            reference_ms=LIMIT_MS,
            options=options,
            checkpoint_seconds=0.0,
            say=self.said.append,
        )

    def following(self, name: str, leader: BenchLab, made: Any) -> BenchLab:
        lab = self.lab(name)
        lab.leader_artifacts = {
            "candidates": [(str(made.path), made.weights_sha256)],
            "spent": leader.ledger.totals(),
        }
        return lab


@pytest.mark.parametrize("task", [digits, digits_resnet])
def test_a_search_has_the_whole_supernet_and_is_charged_for_it(task: VisionTask, tmp_path: Path) -> None:
    bench = Bench(task, tmp_path)
    leader = bench.lab("leader")
    (made,) = JointSupernet().search(leader)
    trained = leader.ledger.spent("tokens")
    assert made.architecture == leader.space.largest() and made.target is None
    lab = bench.following("follower", leader, made)
    net = inherit_supernet(lab)
    paid = lab.ledger.spent("tokens")
    # Statistics of batch norms are of training batches, which whoever needs them draws and pays.
    drawn = net.statistics_batch_count * lab.recipe.batch_tokens
    assert (
        paid == pytest.approx(trained + drawn) and len(net.statistics_batches) == net.statistics_batch_count
    )
    whole = dict(load(made.path)[0].named_parameters())
    rng = np.random.default_rng(0)
    net.meter, meter = None, net.meter  # looking is free
    for architecture in (net.space.smallest(), net.space.sample(rng), net.space.largest()):
        for name, weight in net.export(architecture).named_parameters():
            leading = whole[name][tuple(slice(0, n) for n in weight.shape)]
            assert np.array_equal(weight.numpy(), leading.numpy()), name
    net.meter = meter
    found = lab.evaluate(net, net.space.largest()).loss
    assert found == pytest.approx(made.valid.loss, rel=1e-5 if not net.statistics_batch_count else 0.3)
    # What was kept back is enough for all that a search may evaluate and propose.
    for _ in range(int(lab.budget.left("evaluations"))):
        lab.evaluate(net, net.space.sample(rng), policy={"head": "int8"})
    for limit in lab.limits:
        lab.candidate(net, net.space.sample(rng), {"head": "int8"}, target=limit)
    # A second search sees the same statistics.
    again = inherit_supernet(bench.following("again", leader, made))
    assert len(again.statistics_batches) == len(net.statistics_batches)
    for (ours, _), (theirs, _) in zip(net.statistics_batches, again.statistics_batches, strict=True):
        assert np.array_equal(ours[0].numpy(), theirs[0].numpy())


def joint_space(method: type[JointSearch], task: VisionTask, runtime: str) -> JointSpace:
    family = task.family(task.tier("check", "cpu"), SimpleNamespace(source_vocab=0, target_vocab=10))
    options = Options(method.options, {})
    lab: Any = SimpleNamespace(options=options, precisions=RUNTIMES[runtime])
    return method().space(lab, family)


def test_an_alphabet_has_the_int8_in_which_a_family_is_deployed() -> None:
    found = {
        (method.name, task.name, runtime): joint_space(method, task, runtime).alphabet
        for method in (LinasMethod, UniformInt8)
        for task in (digits, digits_resnet)
        for runtime in RUNTIMES
    }
    assert found == {
        ("linas", "vision-digits", "torch"): ("fp32", "bf16", "int8", "w4"),
        ("linas", "vision-digits", "ort"): ("fp32", "int8", "w4"),
        ("linas", "vision-digits", "openvino"): ("fp32", "int8s"),
        ("linas", "vision-digits-resnet", "openvino"): ("fp32", "int8s"),
        ("uniform-int8", "vision-digits", "openvino"): ("int8s",),
        ("uniform-int8", "vision-digits-resnet", "openvino"): ("int8s",),
        ("linas", "vision-digits-resnet", "torch"): ("fp32", "bf16", "int8", "w4"),
        ("linas", "vision-digits-resnet", "ort"): ("fp32", "int8s", "w4"),
        ("uniform-int8", "vision-digits", "torch"): ("int8",),
        ("uniform-int8", "vision-digits", "ort"): ("int8",),
        ("uniform-int8", "vision-digits-resnet", "torch"): ("int8",),
        ("uniform-int8", "vision-digits-resnet", "ort"): ("int8s",),
    }


@pytest.mark.parametrize(("runtime", "wanted"), [("torch", "int8"), ("ort", "int8"), ("openvino", "int8s")])
def test_a_control_of_int8_needs_either_kind_and_follows_the_runtime(runtime: str, wanted: str) -> None:
    precisions = RUNTIMES[runtime]
    settings = {"precisions": precisions, "deployed_int8": int8_of("int8", precisions)}
    task = TaskInfo("vision-digits", "simq", "check", "accuracy", settings)
    assert settings["deployed_int8"] == wanted and missing_precision("int8", task) is None
    assert (static_instead(task) is not None) == (wanted == "int8s")
    missing = missing_precision("w4", task)
    assert (missing is not None) == (runtime == "openvino")


@pytest.mark.parametrize("task", [digits, digits_resnet])
def test_a_search_runs_in_openvino(task: VisionTask, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    bench = Bench(task, tmp_path, 60_000, "openvino")
    leader = bench.lab("leader")
    (made,) = JointSupernet().search(leader)
    lab = bench.following("follower", leader, made)
    lab.options = Options(UniformInt8.options, {"population": 4})
    found = list(UniformInt8().search(lab))
    assert [c.target for c in found] == list(lab.limits)
    assert all(set(c.policy.values()) == {STATIC} for c in found)
    assert lab.probe(found[0].architecture, found[0].policy) > 0


@pytest.mark.parametrize("task", [cifar10, cifar10_resnet])
def test_tiers_of_openvino_differ_from_small_in_the_runtime_alone(task: VisionTask) -> None:
    small, other = (task.tier(name, "cpu") for name in ("small", "openvino"))
    assert dict(other.workload) == dict(small.workload) | {"runtime": "openvino"}
    assert (other.budget, other.recipe, other.space) == (small.budget, small.recipe, small.space)
    assert other.sha256 != small.sha256 and task.tier("openvino", "cuda").workload["runtime"] == "torch"


def counted(lab: BenchLab) -> dict[str, float]:
    return {kind: amount for kind, amount in lab.ledger.totals().items() if kind != "seconds"}


def test_static_int8_takes_no_more_tokens_than_are_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Residual networks in ONNX Runtime: no layer is left out, and what is proposed is what was evaluated."""
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    monkeypatch.setattr("benchmarks.hardware.timing_lock.exclusive", lambda: contextlib.nullcontext(0.0))
    bench = Bench(digits_resnet, tmp_path, 60_000, "ort")
    leader = bench.lab("leader")
    (made,) = JointSupernet().search(leader)

    def search(name: str) -> tuple[BenchLab, list[Any]]:
        lab = bench.following(name, leader, made)
        lab.options = Options(UniformInt8.options, {"population": 2})
        return lab, list(UniformInt8().search(lab))

    lab, found = search("follower")
    spent, net = counted(lab), inherit_supernet(bench.following("evaluated", leader, made))
    paid = leader.ledger.spent("tokens") + net.statistics_batch_count * lab.recipe.batch_tokens
    # Every network evaluated and proposed has its statistics estimated and its ranges taken.
    assert spent["evaluations"] == 6
    assert spent["tokens"] == pytest.approx(paid + (6 + 2) * 2 * net.statistics_cost)
    for candidate in found:
        module, about = load(candidate.path)
        assert about["policy"] == candidate.policy == dict.fromkeys(units(module), "int8s")
        assert set(stored_ranges(module)) == set(units(module))
        served = serving.serve_checked(module, candidate.policy, Workload.of(bench.tier.workload))
        assert served.recipe()["prec"] == "int8s"
    # What repeats from the journal is charged alike.
    bench.home = tmp_path / "again"
    shutil.copytree(tmp_path / "follower", bench.home / "follower")
    again, repeated = search("follower")
    assert [c.weights_sha256 for c in repeated] == [c.weights_sha256 for c in found]
    assert counted(again) == pytest.approx(spent)
    # The evaluated network is the proposed one, with ranges of the same batches.
    evaluated = bench.lab("other").evaluate(net, found[0].architecture, policy=found[0].policy)
    assert evaluated.loss == pytest.approx(found[0].valid.loss, rel=1e-3)


@pytest.mark.parametrize("runtime", ["torch", "ort"])
def test_a_fallback_leaves_tokens_for_its_candidates(
    tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at a layer costs little validation data and a whole network's statistics."""
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    monkeypatch.setattr("benchmarks.hardware.timing_lock.exclusive", lambda: contextlib.nullcontext(0.0))
    bench = Bench(digits_resnet, tmp_path, 60_000, runtime)
    bench.allowance["evaluations"] = 20
    leader = bench.lab("leader")
    (made,) = JointSupernet().search(leader)
    lab = bench.following("follower", leader, made)
    lab.options = Options(UniformInt8Fallback.options, {"population": 4, "tolerance": 0.0})
    # Networks in low precision are always worse here, so that every layer is looked at.
    evaluate = lab.evaluate
    monkeypatch.setattr(lab, "evaluate", lambda *a, **k: worse(evaluate(*a, **k), k.get("policy")))
    found = list(UniformInt8Fallback().search(lab))
    assert [c.target for c in found] == list(lab.limits)
    assert lab.ledger.spent("tokens") <= lab.budget.total("tokens")


def worse(measured: Any, policy: Any) -> Any:
    return replace(measured, loss=measured.loss + sum(p != "fp32" for p in (policy or {}).values()))


def test_tokens_that_statistics_would_use_up_are_refused(tmp_path: Path) -> None:
    bench = Bench(digits_resnet, tmp_path, tokens=9000)
    lab = bench.lab("leader")
    assert reserved_tokens(lab, lab.supernet()) > 0
    with pytest.raises(UsageError, match="go to statistics(.|\n)*--budget-scale") as error:
        list(JointSupernet().search(lab))
    # What the message recommends is enough, and not by chance.
    (times,) = re.findall(r"give ([\d.]+) times as much", str(error.value))
    bench.allowance = {kind: math.ceil(amount * float(times)) for kind, amount in bench.allowance.items()}
    enough = bench.lab("enough")
    share = 1 - reserved_tokens(enough, enough.supernet()) / enough.budget.total("tokens")
    assert 0.1 <= share < 0.3
    bench.allowance["evaluations"] *= 100
    assert scale_advice(bench.lab("never"), lab.supernet()).startswith("no --budget-scale helps")


@pytest.mark.parametrize("task", [digits, digits_resnet])
@pytest.mark.parametrize("rule", METHODS)
def test_static_searches_calibrate_by_the_rule_that_is_asked_for(
    task: VisionTask, rule: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """Networks without batch norms keep training batches for this, too, and each pass is paid."""
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    monkeypatch.setattr(ViTFamily, "deployed_int8", STATIC)
    rules, calibrate = list[str](), elastic.calibrate
    monkeypatch.setattr(elastic, "calibrate", lambda *a: rules.append(a[2]) or calibrate(*a))
    bench = Bench(task, tmp_path, 60_000, "ort")
    leader = bench.lab("leader")
    (made,) = JointSupernet().search(leader)
    lab = bench.following("follower", leader, made)
    lab.options = Options(UniformInt8.options, {"population": 4, "ranges": rule})
    found = list(UniformInt8().search(lab))
    assert [c.target for c in found] == list(lab.limits) and rules and set(rules) == {rule}
    assert lab.ledger.spent("tokens") <= lab.budget.total("tokens")
    assert all(stored_ranges(load(c.path)[0]) and set(c.policy.values()) == {STATIC} for c in found)
    net = inherit_supernet(bench.following("again", leader, made))
    assert len(net.statistics_batches) == 4
    once = net.calibration_cost
    net.ranges = rule
    assert net.calibration_cost == once * count_passes(rule) and count_passes(rule) == (
        1 if rule == "min-max" else 2
    )


def test_energy_is_a_probe_that_names_its_source_and_is_repeated(tmp_path: Path, monkeypatch: Any) -> None:
    bench = Bench(digits, tmp_path)
    lab, there = bench.lab("one"), {"joules_per_sentence": 0.25, "source": "a meter"}
    monkeypatch.setattr("benchmarks.measurement.latency.measure_energy", lambda *a, **k: there)
    smallest = lab.space.smallest()
    assert lab.energy(smallest) == 0.25 and lab.energy(smallest, {"head": "int8"}) == 0.25
    assert lab.ledger.spent("probes") == 2 and bench.said == ["energy of probes: a meter"]
    told = lab.journal.probes()
    assert [row[2] for row in told] == [0.25, 0.25] and told[0][0] == 0
    again = bench.lab("two")
    again.published_probes = {(call, key): 7.0 for call, key, _ in told}
    assert again.energy(smallest) == 7.0
    there["joules_per_sentence"], there["source"] = None, "codecarbon is not installed"
    with pytest.raises(ContractViolationError, match="no energy: codecarbon is not installed"):
        bench.lab("three").energy(smallest)


class Column:
    """An evaluator whose second objective is what it is told."""

    objectives = ("loss", "bytes")

    def __init__(self, genes: Any, second: Any) -> None:
        self.genes, self.second = genes, second

    def __call__(self, genomes: np.ndarray) -> np.ndarray:
        return np.column_stack([np.arange(len(genomes), dtype=float), self.second(len(genomes))])


def test_a_constant_objective_ends_the_search() -> None:
    from tests.unit.simq.test_methods import space

    genes, rng = space(), np.random.default_rng(0)
    archive = Archive(Column(genes, np.zeros), 40)
    archive.measure(archive.sample_new(MIN_VARIED - 1, rng))  # by chance, perhaps
    with pytest.raises(UsageError, match="objective bytes is 0 for all of 8 different networks"):
        archive.measure(archive.sample_new(1, rng))
    archive = Archive(Column(genes, lambda n: np.full(n, np.nan)), 40)
    with pytest.raises(UsageError, match="objective bytes is nan for 3 of 3 networks"):
        archive.measure(archive.sample_new(3, rng))
    archive = Archive(Column(genes, np.zeros), 40)
    same = np.repeat(archive.sample_new(1, rng), 20, axis=0)
    archive.measure(same)  # one point twenty times is no constant objective


def test_a_space_of_one_point_is_refused(monkeypatch: Any) -> None:
    one = layered_space("one", layers=(2,), heads=(1,), ffn=(32,), hidden=48, head_dim=16, patch=2)
    net = SimpleNamespace(family=ViTFamily(one, ViTConfig(10, 8, 1)), space=one)
    monkeypatch.setattr("simq.methods.inherit_supernet", lambda lab: net)
    lab = SimpleNamespace(
        options=Options(UniformFp32.options, {}),
        precisions=("fp32", "int8"),
        rng=np.random.default_rng(0),
        limits=(),
    )
    with pytest.raises(UsageError, match="uniform-fp32: there is nothing to search"):
        list(UniformFp32().search(lab))


class Losses:
    """A Lab whose loss is 1, and more for every layer in INT8."""

    def __init__(self, costs: dict[str, float], evaluations: float = 30) -> None:
        self.costs, self.spent, self.total, self.said = costs, 0.0, evaluations, []
        self.budget = SimpleNamespace(spent=lambda kind: self.spent)
        self.say = self.said.append

    def evaluate(self, net: Any, architecture: Any, share: float = 1.0, policy: Any = None) -> Any:
        if self.spent + share > self.total + 1e-9:
            raise BudgetExhausted("evaluations", share, self.total - self.spent)
        self.spent += share
        return SimpleNamespace(loss=1 + sum(self.costs[n] for n, p in (policy or {}).items() if p == "int8"))


def test_layers_fall_back_in_the_order_of_their_cost() -> None:
    costs = {"a": 0.002, "b": 0.3, "c": 0.004, "d": 0.05}
    policy = dict.fromkeys(costs, "int8")
    lab = Losses(costs)
    found = fall_back(lab, None, None, policy, 0.01, 20)
    assert found == policy | {"b": "fp32", "d": "fp32"} and not lab.said
    assert lab.spent <= 20
    assert fall_back(Losses(dict.fromkeys("abcd", 1e-3)), None, None, policy, 0.01, 20) == policy
    short = Losses(costs)
    found = fall_back(short, None, None, policy, 0.0, 4)  # two for both ends, one for ranking, one step
    assert found == policy | {"b": "fp32"} and short.spent <= 4 and "least loss found" in short.said[0]
    assert fall_back(Losses(costs, 1), None, None, policy, 0.01, 20) == policy


def test_small_tiers_on_processors_are_served_by_onnx_runtime() -> None:
    for task in (cifar10, cifar10_resnet, easy_vqa):
        assert task.tier("small", "cpu").workload["runtime"] == "ort"
        assert task.tier("small", "cuda").workload["runtime"] == "torch"
    info = TaskInfo("vision-cifar10", "simq", "small", "accuracy", {"precisions": ("fp32", "int8", "w4")})
    assert UniformBf16().supports(info) == Skip(
        "the runtime of vision-cifar10 small has fp32, int8, w4, and no bf16"
    )
    assert LinasMethod().supports(info) is None and UniformFp32().supports(info) is None


def test_uniform_int8_names_convolutions_of_images_too() -> None:
    family = digits_resnet.family(
        digits_resnet.tier("check", "cpu"), SimpleNamespace(source_vocab=0, target_vocab=10)
    )
    module = family.build(family.space.smallest())
    assert set(uniform_int8(module)) == set(units(module))


def test_all_leaders_of_a_row_are_run_again(tmp_path: Path) -> None:
    profile = profiles.get("undeclared")
    request = plan.PlanRequest([digits], "check", [find("linas+int8-uniform")], [3], "undeclared", "cpu")
    folders = plan.Folders(tmp_path, "simq", "check")
    made = plan.lay_out(request, folders)
    assert [run.spec.method for run in made.runs] == ["joint-supernet", "linas", "linas+int8-uniform"]
    last = made.runs[-1]
    record = {"spec": last.spec.to_dict(), "id": last.spec.id, "provenance": {"commit": "c"}}
    hindrances: list[str] = []
    found = rerun._first(record, profile, [], last.method, None, hindrances)
    assert found is not None and not hindrances
    assert [found.spec.id, found.first.spec.id] == [made.runs[1].spec.id, made.runs[0].spec.id]
    tuned = {"spec": made.runs[1].spec.to_dict() | {"options": {"unit": "block"}}, "status": "done"}
    tuned["id"] = rerun.spec_id(tuned["spec"])
    record["spec"]["follows"] = tuned["id"]
    assert rerun._first(record, profile, [], last.method, None, []) is None  # nobody knows its options
    again = rerun._first(record, profile, [tuned], last.method, None, [])
    assert again is not None and again.spec.id == tuned["id"]


def test_a_layer_has_the_precisions_of_all_its_widths() -> None:
    family = digits_resnet.family(
        digits_resnet.tier("check", "cpu"), SimpleNamespace(source_vocab=0, target_vocab=10)
    )
    (head,) = [unit for unit in precision_units(family) if unit.name == "head"]
    assert head.precisions == ("fp32", "bf16", "int8", "int8s")  # 80 of its 128 inputs are no multiple of 32
