"""Mixture-of-supernets as search methods (Jawahar et al., ACL Findings 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from benchmarks.api import Candidate, Lab, Method, Need, Option
from mos.mixture import Mixture
from supernet.pipeline import AFTER, SPACES, chosen_space, supernet_search
from supernet.predict import MINIMUM_SAMPLES
from supernet.train import Sandwich


class MosNeuron(Method):
    """Neuron-wise mixture: a coefficient per output neuron."""

    name = "mos-neuron"
    summary = "mixture-of-supernets, neuron-wise: sandwich, evolution, collapsed winners trained on"
    neuron_wise: ClassVar[bool] = True
    options = (
        Option("experts", int, 2, low=1, high=64, help="copies of every mixed linear"),
        Option(
            "encoding",
            str,
            "public",
            choices=("public", "aggr", "fine"),
            help="inputs of routers: means over layers, or each; the public code's: each of BERT, else means",
        ),
        Option(
            "constant", bool, False, idle=("experts", 1), help="ablation: all architectures are routed alike"
        ),
        Option("distill", bool, False, help="in-place distillation from the largest network"),
        Option("after", str, "continue", choices=AFTER, help="training of winners, collapsed"),
        Option("space", str, "task", choices=SPACES, help="search space; of BERT also homogeneous encoders"),
        Option(
            "share", float, None, low=0.05, high=0.95, idle=("after", "inherit"),
            help="share of the tokens that trains the winners; the tier's by default",
        ),
    )  # fmt: skip
    needs = (
        Need("probes", MINIMUM_SAMPLES, timed=True, why="the samples of its latency predictor"),
        Need("evaluations", 1, each=True, why="one for each target"),
    )

    def search(self, lab: Lab) -> Iterable[Candidate]:
        source = partial(
            Mixture,
            experts=lab.options["experts"],
            neuron_wise=self.neuron_wise,
            encoding=encoding_of(lab.options["encoding"], lab.task.suite),
            constant=lab.options["constant"],
        )
        sampling = Sandwich(distill=lab.options["distill"])
        yield from supernet_search(
            lab,
            source=source,
            sampling=sampling,
            after=lab.options["after"],
            space=chosen_space(lab, lab.options["space"]),
            share=lab.options["share"],
        )


def encoding_of(option: str, suite: str) -> str:
    """Return the routers' encoding: of BERT, means would hide all but the mean width of bottlenecks."""
    if option != "public":
        return option
    return "fine" if suite == "bert" else "aggr"


class MosLayer(MosNeuron):
    """Layer-wise mixture: a coefficient per layer."""

    name = "mos-layer"
    summary = "mixture-of-supernets, layer-wise: sandwich, evolution, collapsed winners trained on"
    neuron_wise: ClassVar[bool] = False
