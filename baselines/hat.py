"""HAT (Wang et al., ACL 2020): single-path supernet, latency predictor, evolutionary search."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.api import Candidate, Lab, Method
from supernet.pipeline import supernet_search
from supernet.train import Sandwich, SinglePath


class HAT(Method):
    """The paper's recipe: one random sub-network an update, the winners trained anew.

    Option ``after``: ``scratch`` (the paper's), ``continue`` or ``inherit``.
    """

    name = "hat"
    summary = "HAT: single-path supernet, latency predictor, evolution, winners trained from scratch"

    def search(self, lab: Lab) -> Iterable[Candidate]:
        yield from supernet_search(lab, sampling=SinglePath(), after=lab.options.get("after", "scratch"))


class HATSandwich(Method):
    """Control: HAT with the sandwich rule of the mixtures, so that the mixture alone differs.

    Options: ``after`` (default ``continue``), ``distill`` (in-place distillation, default off).
    """

    name = "hat-sandwich"
    summary = "control: HAT under the sandwich rule, winners' inherited weights trained on"

    def search(self, lab: Lab) -> Iterable[Candidate]:
        sampling = Sandwich(distill=bool(lab.options.get("distill", False)))
        yield from supernet_search(lab, sampling=sampling, after=lab.options.get("after", "continue"))
