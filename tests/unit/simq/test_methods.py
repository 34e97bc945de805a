"""The joint searches as methods: what they ask of a Lab, what they charge, and what they refuse."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.api import BudgetExhausted, UsageError, Window
from benchmarks.options import Options, checked
from simq.archive import Archive
from simq.genome import JointSpace, precision_units
from simq.int8_fallback import fall_back
from simq.lab_evaluator import LabEvaluator, propose_candidates
from simq.methods import UniformInt8, units_with_precisions
from simq.searchers.search import SEARCHERS
from supernet.cost import policy_units, weight_bytes
from supernet.space import get_space
from supernet.vit import ViTConfig, ViTFamily

FAMILY = ViTFamily(get_space("vit-smoke"), ViTConfig(10, 8, 1))


class FakeLab:
    """Counts what is asked; figures follow from architecture and policy alone."""

    def __init__(self, limits=(2.0, 4.0)) -> None:
        self.limits, self.spent, self.task = limits, {}, SimpleNamespace(settings={"predictor_probes": 20})
        self.budget = SimpleNamespace(charge=self.charge, left=lambda kind: 24)
        self.precisions, self.name = ("fp32", "int8", "w4"), "fake"
        self.options = Options(UniformInt8.options, {})
        self.asked = 0

    def charge(self, kind: str, amount: float = 1) -> None:
        self.spent[kind] = self.spent.get(kind, 0) + amount

    def phase(self, name):
        return nullcontext()

    def progress(self, *report_progress) -> None: ...

    def cheap(self, policy) -> float:
        return sum({"fp32": 1.0, "int8": 0.4, "w4": 0.9}[p] for p in policy.values()) / 10

    def evaluate(self, net, architecture, policy=None):
        self.charge("evaluations")
        return SimpleNamespace(loss=3 - 0.3 * architecture["layers"] - 0.02 * self.cheap(policy))

    def probe(self, architecture, policy=None) -> float:
        self.charge("probes")
        return 0.5 + self.cheap(policy)

    def bytes(self, architecture, policy=None) -> int:
        return weight_bytes(FAMILY, architecture, policy)

    def units(self, architecture):
        self.asked += 1
        return policy_units(FAMILY, architecture)

    def size(self, architecture) -> int:
        return 1000 * architecture["layers"]

    def candidate(self, net, architecture, policy, origin, target):
        return SimpleNamespace(architecture=architecture, policy=policy, limit=target)


def space(alphabet=("fp32", "int8", "w4")) -> JointSpace:
    return JointSpace(
        FAMILY.space, units_with_precisions(precision_units(FAMILY, "block"), alphabet), alphabet
    )


@pytest.mark.parametrize("objectives", [("loss", "latency"), ("loss", "bytes"), ("loss", "latency", "bytes")])
def test_measurements_are_charged_and_limits_met(objectives) -> None:
    lab, rng = FakeLab(), np.random.default_rng(0)
    evaluator = LabEvaluator(lab, None, space(), objectives, rng)
    archive = Archive(evaluator, 40, evaluator.report_progress)
    SEARCHERS["linas"].make(10, 200).search(archive, rng)
    assert lab.spent["evaluations"] == 40 and lab.spent["probes"] == 20 and lab.spent["predictor_fits"] == 1
    assert archive.rows.shape == (40, len(objectives))
    found = list(propose_candidates(lab, None, evaluator, archive))
    assert [c.limit for c in found] == [2.0, 4.0]
    for candidate in found if "latency" in objectives else ():
        assert lab.probe(candidate.architecture, candidate.policy) <= candidate.limit * 1.05


def test_bytes_are_counted_and_latencies_taken_as_they_are() -> None:
    lab, rng = FakeLab(), np.random.default_rng(0)
    evaluator = LabEvaluator(lab, None, space(), ("loss", "latency", "bytes"), rng)
    genomes = evaluator.space.sample(60, rng)
    known = evaluator.known(genomes)
    pairs = [evaluator.space.decode(genome) for genome in genomes]
    assert np.isnan(known[:, 0]).all() and "evaluations" not in lab.spent
    assert (known[:, 1] == evaluator.predict("latency", genomes)).all()
    assert known[:, 2].tolist() == [weight_bytes(FAMILY, a, policy) for a, policy in pairs]
    assert lab.asked == len({a for a, _ in pairs}) < 60
    assert (evaluator(genomes)[:, 1:] == known[:, 1:]).all()


def spending(losses, each: int):
    """A Lab whose evaluations give these losses, and are refused when they are spent."""
    spent = [0.0]

    def evaluate(net, architecture, share=1.0, policy=None):
        if spent[0] + share > each:
            raise BudgetExhausted("evaluations", share, each - spent[0])
        spent[0] += share
        return SimpleNamespace(loss=losses(policy or {}))

    said: list[str] = []
    budget = SimpleNamespace(spent=lambda kind: spent[0])
    return SimpleNamespace(evaluate=evaluate, budget=budget, say=said.append), said


def test_fallback_returns_the_best_found_when_its_evaluations_are_refused() -> None:
    def losses(policy):
        low = [name for name, precision in policy.items() if precision == "int8"]
        return 1.0 + 0.1 * len(low)

    names = [f"l{i}" for i in range(6)]
    for allowed in (1, 2, 5, 6, 7):
        lab, said = spending(losses, allowed)
        found = fall_back(lab, None, None, dict.fromkeys(names, "int8"), 0.0, 100.0)
        # Two for both uniform networks and, whole, one for each layer's cost; what is left falls back.
        back = sum(precision == "fp32" for precision in found.values())
        assert back == max(0, allowed - 2 - 6) and said[0].startswith("fallback ends")
    lab, said = spending(losses, 11)
    found = fall_back(lab, None, None, dict.fromkeys(names, "int8"), 0.0, 100.0)
    assert sum(precision == "fp32" for precision in found.values()) == 3  # as many as were evaluated


def test_sizes_as_limits_need_no_probe() -> None:
    lab, rng = FakeLab(limits=(Window(1500, 2500),)), np.random.default_rng(0)
    evaluator = LabEvaluator(lab, None, space(), ("loss", "bytes"), rng)
    archive = Archive(evaluator, 30, evaluator.report_progress)
    SEARCHERS["random-joint"].make().search(archive, rng)
    (found,) = propose_candidates(lab, None, evaluator, archive)
    assert found.architecture["layers"] == 2 and "probes" not in lab.spent


def test_uniform_controls_have_no_precision_to_search() -> None:
    made = UniformInt8().space(FakeLab(), FAMILY)
    assert (made.levels[made.architecture_genes :] == 1).all()
    policy = made.decode(made.sample(1, np.random.default_rng(0))[0])[1]
    assert set(policy.values()) == {"int8"}
    w4 = JointSpace(FAMILY.space, units_with_precisions(precision_units(FAMILY), ("w4",)), ("w4",))
    assert "patch" not in {unit.name for unit in w4.units}  # its rows do not divide into groups of 32


def test_wrong_options_are_one_line() -> None:
    for text in ("loss", "loss,watts", "loss,loss", "latency,bytes"):
        with pytest.raises(UsageError, match=r"objectives=(.|\n)*loss,latency \| loss,bytes"):
            checked("linas", UniformInt8.options, {"objectives": text})
    with pytest.raises(UsageError, match=r"linear \| block \| layer"):
        checked("linas", UniformInt8.options, {"unit": "stage"})
    lab = FakeLab()
    lab.precisions = ("fp32",)
    with pytest.raises(UsageError, match="runtime has fp32"):
        UniformInt8().space(lab, FAMILY)
