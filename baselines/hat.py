"""HAT (Wang et al., ACL 2020): single-path supernet, latency predictor, evolutionary search."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.api import Candidate, Lab, Method, Need, Option
from supernet.pipeline import AFTER, SPACES, chosen_space, supernet_search
from supernet.predict import MINIMUM_SAMPLES
from supernet.train import Sandwich, SinglePath


class HAT(Method):
    """Recipe of the paper: one random sub-network an update, winners trained from scratch."""

    name = "hat"
    summary = "HAT: single-path supernet, latency predictor, evolution, winners trained from scratch"
    options = (
        Option("after", str, "scratch", choices=AFTER, help="training of winners; the paper's: scratch"),
        Option("space", str, "task", choices=SPACES, help="search space; of BERT also homogeneous encoders"),
    )
    needs = (
        Need("probes", MINIMUM_SAMPLES, timed=True, why="the samples of its latency predictor"),
        Need("evaluations", 1, each=True, why="one for each target"),
    )

    def search(self, lab: Lab) -> Iterable[Candidate]:
        space = chosen_space(lab, lab.options["space"])
        yield from supernet_search(lab, sampling=SinglePath(), after=lab.options["after"], space=space)


class HATSandwich(Method):
    """Control: HAT under the sandwich rule of the mixtures, which differs from them by the mixture alone."""

    name = "hat-sandwich"
    summary = "control: HAT under the sandwich rule, winners' inherited weights trained on"
    options = (
        Option("after", str, "continue", choices=AFTER, help="training of winners"),
        Option("distill", bool, False, help="in-place distillation from the largest network"),
        Option("space", str, "task", choices=SPACES, help="search space; of BERT also homogeneous encoders"),
    )
    needs = HAT.needs

    def search(self, lab: Lab) -> Iterable[Candidate]:
        sampling = Sandwich(distill=lab.options["distill"])
        space = chosen_space(lab, lab.options["space"])
        yield from supernet_search(lab, sampling=sampling, after=lab.options["after"], space=space)
