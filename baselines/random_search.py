"""Control: the same supernet and evaluations as HAT, architectures drawn at random."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.api import Candidate, Lab, Method
from supernet.pipeline import drawn, supernet_search
from supernet.train import SinglePath


class RandomSearch(Method):
    """HAT with the evolution taken out: what search itself is worth. Option ``after`` as in HAT."""

    name = "random-search"
    summary = "control: HAT's supernet, best of random architectures under the limit"

    def search(self, lab: Lab) -> Iterable[Candidate]:
        after = lab.options.get("after", "scratch")
        yield from supernet_search(lab, sampling=SinglePath(), after=after, find=drawn)
