"""The joint searches as methods: what they ask of a Lab, what they charge, and what they refuse."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.api import UsageError, Window
from benchmarks.options import Options, checked
from simq.evaluator import Archive
from simq.genome import JointSpace, units_of
from simq.measured import Measured, proposed
from simq.methods import UniformInt8, able
from simq.search import SEARCHERS
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

    def charge(self, kind: str, amount: float = 1) -> None:
        self.spent[kind] = self.spent.get(kind, 0) + amount

    def phase(self, name):
        return nullcontext()

    def progress(self, *told) -> None: ...

    def cheap(self, policy) -> float:
        return sum({"fp32": 1.0, "int8": 0.4, "w4": 0.9}[p] for p in policy.values()) / 10

    def evaluate(self, net, architecture, policy=None):
        self.charge("evaluations")
        return SimpleNamespace(loss=3 - 0.3 * architecture["layers"] - 0.02 * self.cheap(policy))

    def probe(self, architecture, policy=None) -> float:
        self.charge("probes")
        return 0.5 + self.cheap(policy)

    def bytes(self, architecture, policy=None) -> int:
        return sum({"fp32": 4, "int8": 1, "w4": 1}[p] for p in policy.values())

    def size(self, architecture) -> int:
        return 1000 * architecture["layers"]

    def candidate(self, net, architecture, policy, origin, limit_ms):
        return SimpleNamespace(architecture=architecture, policy=policy, limit=limit_ms)


def space(alphabet=("fp32", "int8", "w4")) -> JointSpace:
    return JointSpace(FAMILY.space, able(units_of(FAMILY, "block"), alphabet), alphabet)


@pytest.mark.parametrize("objectives", [("loss", "latency"), ("loss", "bytes"), ("loss", "latency", "bytes")])
def test_what_is_measured_is_charged_and_limits_are_met(objectives) -> None:
    lab, rng = FakeLab(), np.random.default_rng(0)
    evaluator = Measured(lab, None, space(), objectives, rng)
    archive = Archive(evaluator, 40, evaluator.told)
    SEARCHERS["linas"].make(10, 200).search(archive, rng)
    assert lab.spent["evaluations"] == 40 and lab.spent["probes"] == 20 and lab.spent["predictor_fits"] == 1
    assert archive.rows.shape == (40, len(objectives))
    found = list(proposed(lab, None, evaluator, archive))
    assert [c.limit for c in found] == [2.0, 4.0]
    for candidate in found:
        assert lab.probe(candidate.architecture, candidate.policy) <= candidate.limit * 1.05


def test_sizes_as_limits_need_no_probe() -> None:
    lab, rng = FakeLab(limits=(Window(1500, 2500),)), np.random.default_rng(0)
    evaluator = Measured(lab, None, space(), ("loss", "bytes"), rng)
    archive = Archive(evaluator, 30, evaluator.told)
    SEARCHERS["random-joint"].make().search(archive, rng)
    (found,) = proposed(lab, None, evaluator, archive)
    assert found.architecture["layers"] == 2 and "probes" not in lab.spent


def test_uniform_controls_have_no_precision_to_search() -> None:
    made = UniformInt8().space(FakeLab(), FAMILY)
    assert (made.levels[made.architecture_genes :] == 1).all()
    policy = made.decode(made.sample(1, np.random.default_rng(0))[0])[1]
    assert set(policy.values()) == {"int8"}
    w4 = JointSpace(FAMILY.space, able(units_of(FAMILY), ("w4",)), ("w4",))
    assert "patch" not in {unit.name for unit in w4.units}  # its rows do not divide into groups of 32


def test_wrong_options_are_said_in_one_line() -> None:
    for text in ("loss", "loss,watts", "loss,loss", "latency,bytes"):
        with pytest.raises(UsageError, match=r"objectives=(.|\n)*loss,latency \| loss,bytes"):
            checked("linas", UniformInt8.options, {"objectives": text})
    with pytest.raises(UsageError, match=r"linear \| block \| layer"):
        checked("linas", UniformInt8.options, {"unit": "stage"})
    lab = FakeLab()
    lab.precisions = ("fp32",)
    with pytest.raises(UsageError, match="runtime has fp32"):
        UniformInt8().space(lab, FAMILY)
