"""HAT (Wang et al., ACL 2020): single-path supernet, latency predictor, evolutionary search."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.api import Candidate, Lab, Method, Need, Option
from supernet.pipeline import AFTER, SPACES, chosen_space, supernet_search
from supernet.predict import MINIMUM_SAMPLES
from supernet.train import Sandwich, SinglePath

SHARE = Option(
    "share", float, None, low=0.05, high=0.95, idle=("after", "inherit"),
    help="share of the tokens that trains the winners; the tier's by default",
)  # fmt: skip


class HAT(Method):
    """Recipe of the paper: one random sub-network an update, winners trained from scratch."""

    name = "hat"
    summary = "HAT: single-path supernet, latency predictor, evolution, winners trained from scratch"
    options = (
        Option("after", str, "scratch", choices=AFTER, help="training of winners; the paper's: scratch"),
        Option("space", str, "task", choices=SPACES, help="search space; of BERT also homogeneous encoders"),
        SHARE,
    )
    needs = (
        Need("probes", MINIMUM_SAMPLES, timed=True, why="the samples of its latency predictor"),
        Need("evaluations", 1, each=True, why="one for each target"),
    )

    def search(self, lab: Lab) -> Iterable[Candidate]:
        yield from supernet_search(
            lab,
            sampling=SinglePath(),
            after=lab.options["after"],
            space=chosen_space(lab, lab.options["space"]),
            share=lab.options["share"],
        )


class HATSandwich(Method):
    """Control: HAT under the sandwich rule of the mixtures, which differs from them by the mixture alone."""

    name = "hat-sandwich"
    summary = "control: HAT under the sandwich rule, winners' inherited weights trained on"
    options = (
        Option("after", str, "continue", choices=AFTER, help="training of winners"),
        Option("distill", bool, False, help="in-place distillation from the largest network"),
        Option("space", str, "task", choices=SPACES, help="search space; of BERT also homogeneous encoders"),
        SHARE,
    )
    needs = HAT.needs

    def search(self, lab: Lab) -> Iterable[Candidate]:
        yield from supernet_search(
            lab,
            sampling=Sandwich(distill=lab.options["distill"]),
            after=lab.options["after"],
            space=chosen_space(lab, lab.options["space"]),
            share=lab.options["share"],
        )
