"""Control: the same supernet and evaluations as HAT, architectures drawn at random."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.api import Candidate, Lab, Method, Need, Option
from supernet.pipeline import AFTER, find_at_random, supernet_search
from supernet.predict import MINIMUM_SAMPLES
from supernet.train import SinglePath


class RandomSearch(Method):
    """Control: HAT without evolution, which measures the value of the search itself."""

    name = "random-search"
    summary = "control: HAT's supernet, best of random architectures under the limit"
    options = (Option("after", str, "scratch", choices=AFTER, help="training of winners"),)
    needs = (
        Need("probes", MINIMUM_SAMPLES, timed=True, why="the samples of its latency predictor"),
        Need("evaluations", 1, each=True, why="one for each target"),
    )

    def search(self, lab: Lab) -> Iterable[Candidate]:
        yield from supernet_search(
            lab, sampling=SinglePath(), after=lab.options["after"], find=find_at_random
        )
