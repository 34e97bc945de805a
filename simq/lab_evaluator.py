"""Trained sub-networks as what searches measure: loss by the Lab, bytes counted, time and energy
predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from benchmarks.api import Candidate, Lab
from simq.archive import Archive
from simq.genome import Array, Genes, Genomes, JointSpace
from simq.searchers.predictors import GaussianProcess
from simq.searchers.sequential import largest
from supernet.quantization.rounding import stored_bytes
from supernet.space import Architecture

OBJECTIVES = ("loss", "latency", "bytes", "energy")
"""What can be searched for: validation loss, predicted milliseconds, bytes of the weights as deployed,
predicted joules of one inference."""
TOGETHER = (
    "loss,latency",
    "loss,bytes",
    "loss,energy",
    "loss,latency,bytes",
    "loss,latency,energy",
    "loss,bytes,energy",
)
"""What can be searched for together."""


class Measured:
    """An evaluator; what the device must be asked for is predicted from probes, half of them each where two
    things are asked for.

    Args:
        net: the trained supernet.
        objectives: of ``OBJECTIVES``; the columns.
    """

    def __init__(
        self, lab: Lab, net: Any, space: JointSpace, objectives: tuple[str, ...], rng: np.random.Generator
    ) -> None:
        self.lab, self.net, self.space, self.objectives = lab, net, space, objectives
        self.genes: Genes = space
        ask: dict[str, Callable[..., float]] = {}
        if "latency" in objectives or any(isinstance(limit, (int, float)) for limit in lab.limits):
            ask["latency"] = lab.probe
        if "energy" in objectives:
            ask["energy"] = lab.energy
        self._models = self._probed(ask, rng) if ask else {}
        self._told: dict[tuple[str, bytes], float] = {}
        self._shapes: dict[Architecture, tuple[int, Mapping[str, tuple[int, ...]]]] = {}

    def _probed(
        self, ask: dict[str, Callable[..., float]], rng: np.random.Generator
    ) -> dict[str, GaussianProcess]:
        """Predictors, from networks at both ends of the space and random ones."""
        lab = self.lab
        count = min(int(lab.task.settings["predictor_probes"]), int(lab.budget.left("probes")) // len(ask))
        with lab.phase("latency"):
            ends = largest(self.space)
            letters = np.array([[len(x) - 1 for x in self.space.letters]], dtype=np.int64)
            low = ends.copy()
            low[:, self.space.architecture_genes :] = letters
            genomes = np.vstack([ends, low, self.space.sample(max(count - 2, 0), rng)])[:count]
            measured: dict[str, list[float]] = {name: [] for name in ask}
            for i, genome in enumerate(genomes):
                architecture, policy = self.space.decode(genome)
                for name, asked in ask.items():
                    measured[name].append(asked(architecture, policy))
                lab.progress(i + 1, count, f"probes of {' and '.join(ask)}")
            lab.budget.charge("predictor_fits", len(ask))
            features = self.space.features(genomes)
            return {name: GaussianProcess(features, np.log(found)) for name, found in measured.items()}

    def predicted(self, name: str, genomes: Genomes) -> Array:
        """Milliseconds or joules ``[n]``; a point is predicted, and charged, once."""
        keys = self.space.keys(genomes)
        fresh = [i for i, key in enumerate(keys) if (name, key) not in self._told]
        if fresh:
            self.lab.budget.charge("predictor_calls", len(fresh))
            found = np.exp(self._models[name].mean(self.space.features(genomes[fresh])))
            self._told |= {(name, keys[i]): float(x) for i, x in zip(fresh, found, strict=True)}
        return np.array([self._told[name, key] for key in keys])

    def __call__(self, genomes: Genomes) -> Array:
        columns: dict[str, Array] = {}
        for name in self._models:  # of every measured point, so that limits can be asked for at any time
            columns[name] = self.predicted(name, genomes)
        pairs = [self.space.decode(genome) for genome in genomes]
        found = [self.lab.evaluate(self.net, arch, policy=policy).loss for arch, policy in pairs]
        columns["loss"] = np.array(found)
        columns |= {"bytes": self._bytes(genomes)} if "bytes" in self.objectives else {}
        return np.column_stack([columns[name] for name in self.objectives])

    def known(self, genomes: Genomes) -> Array:
        """Return bytes, and latency and energy as they are predicted, ``[n, m]``; NaN for the loss."""
        rows = np.full((len(genomes), len(self.objectives)), np.nan)
        for column, name in enumerate(self.objectives):
            if name == "bytes":
                rows[:, column] = self._bytes(genomes)
            elif name in self._models:
                rows[:, column] = self.predicted(name, genomes)
        return rows

    def _bytes(self, genomes: Genomes) -> Array:
        """Return the bytes ``[n]`` of the deployed weights; an architecture's shapes are asked for once."""
        sizes = []
        for genome in genomes:
            architecture, policy = self.space.decode(genome)
            if architecture not in self._shapes:
                self._shapes[architecture] = self.lab.bytes(architecture), self.lab.units(architecture)
            full, shapes = self._shapes[architecture]
            low = {name: precision for name, precision in policy.items() if precision != "fp32"}
            saved = (stored_bytes("fp32", shapes[n]) - stored_bytes(p, shapes[n]) for n, p in low.items())
            sizes.append(float(full - sum(saved)))
        return np.array(sizes)

    def told(self, archive: Archive) -> None:
        """Progress."""
        best = archive.rows[:, self.objectives.index("loss")].min()
        self.lab.progress(len(archive.rows), archive.evaluations, f"best {best:.4f}")

    def excess(self, genomes: Genomes, limit: Any) -> Array:
        """By how much each point misses a limit ``[n]``: milliseconds, or parameters; 0 where it meets it,
        and everywhere where there is no limit."""
        if limit is None:
            return np.zeros(len(genomes))
        if isinstance(limit, (int, float)):
            return np.maximum(self.predicted("latency", genomes) - limit, 0)
        sizes = np.array([self.lab.size(self.space.decode(g)[0]) for g in genomes], dtype=float)
        return np.maximum(np.maximum(sizes - limit.high, limit.low - sizes), 0)


def best(evaluator: Measured, archive: Archive, limit: Any) -> int:
    """Place of the measured network of least loss that meets a limit, or of the nearest where none does."""
    loss = archive.rows[:, evaluator.objectives.index("loss")]
    return int(np.lexsort((loss, evaluator.excess(archive.genomes, limit)))[0])


def proposed(lab: Lab, net: Any, evaluator: Measured, archive: Archive) -> Iterable[Candidate]:
    """For each limit its best measured network."""
    for limit in lab.limits if len(archive.rows) else ():
        architecture, policy = evaluator.space.decode(archive.genomes[best(evaluator, archive, limit)])
        yield lab.candidate(net, architecture, policy, origin="inherited", target=limit)
