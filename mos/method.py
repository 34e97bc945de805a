"""Mixture-of-supernets as search methods (Jawahar et al., ACL Findings 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from benchmarks.api import Candidate, Lab, Method
from mos.mixture import Mixture
from supernet.pipeline import supernet_search
from supernet.train import Sandwich


class MosNeuron(Method):
    """Neuron-wise mixture: a coefficient per output neuron.

    Options: ``experts`` (2), ``encoding`` (``aggr`` or ``fine``), ``constant`` (route all
    architectures alike: an ablation), ``distill``, ``after`` (``continue``: the collapsed
    sub-network is trained on; ``inherit``; ``scratch``).
    """

    name = "mos-neuron"
    summary = "mixture-of-supernets, neuron-wise: sandwich, evolution, collapsed winners trained on"
    neuron_wise: ClassVar[bool] = True

    def search(self, lab: Lab) -> Iterable[Candidate]:
        source = partial(
            Mixture,
            experts=int(lab.options.get("experts", 2)),
            neuron_wise=self.neuron_wise,
            encoding=lab.options.get("encoding", "aggr"),
            constant=bool(lab.options.get("constant", False)),
        )
        sampling = Sandwich(distill=bool(lab.options.get("distill", False)))
        yield from supernet_search(
            lab, source=source, sampling=sampling, after=lab.options.get("after", "continue")
        )


class MosLayer(MosNeuron):
    """Layer-wise mixture: a coefficient per layer. Options as in ``mos-neuron``."""

    name = "mos-layer"
    summary = "mixture-of-supernets, layer-wise: sandwich, evolution, collapsed winners trained on"
    neuron_wise: ClassVar[bool] = False
