"""Methods that keep all rules but one, each: what only more than one look shows (test_conformance.py)."""

from __future__ import annotations

import gc
import random
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from benchmarks.api import BudgetExhausted, Method
from supernet.train import SinglePath, StatelessSampling, Trainer
from supernet.weights import SharedSlices


def first(lab):
    """One honest candidate."""
    return lab.candidate(lab.supernet(), lab.space.smallest())


def trained(lab, net, share=0.5):
    return Trainer(net, lab.recipe, SinglePath(), lab.seed).fit(lab.train_batches(share))


class Crashes(Method):
    name = "crashes"

    def search(self, lab):
        yield first(lab)
        raise ValueError("out of ideas")


class OwnTarget(Method):
    name = "own-target"

    def search(self, lab):
        yield lab.candidate(lab.supernet(), lab.space.smallest(), target=12345.0)


class OwnOrigin(Method):
    name = "own-origin"

    def search(self, lab):
        yield lab.candidate(lab.supernet(), lab.space.smallest(), origin="mine")


class Greedy(Method):
    """Evaluates for ever, having proposed nothing."""

    name = "greedy"

    def search(self, lab):
        net = lab.supernet()
        while True:
            lab.evaluate(net, lab.space.sample(lab.rng))
        yield


class ByTheClock(Method):
    """Draws by the clock."""

    name = "by-the-clock"

    def search(self, lab):
        rng = np.random.default_rng(time.perf_counter_ns())
        yield lab.candidate(lab.supernet(), lab.space.sample(rng))


class ByHashOrder(Method):
    name = "by-hash-order"

    def search(self, lab):
        net = lab.supernet()
        architectures = {lab.space.sample(lab.rng).key(): i for i in range(40)}
        lab.evaluate(net, lab.space.smallest())
        order = [name for name in {f"choice-{i}" for i in range(40)}]
        rng = np.random.default_rng([lab.seed, int(order[0].split("-")[1]), len(architectures)])
        yield lab.candidate(net, lab.space.sample(rng))


class OwnSeed(Method):
    """Starts every run from the same weights, whatever its seed."""

    name = "own-seed"

    def search(self, lab):
        def source(family, generator, device):
            return SharedSlices(family, torch.Generator().manual_seed(0), device)

        yield lab.candidate(lab.supernet(source), lab.space.largest())


class DrawsFromNumpy(Method):
    name = "draws-from-numpy"

    def search(self, lab):
        net = lab.supernet()
        drawn = [lab.space.sample(np.random.default_rng(np.random.randint(1 << 30))) for _ in range(3)]
        yield lab.candidate(net, min(drawn, key=lambda a: lab.evaluate(net, a).loss))


class Reseeds(Method):
    name = "reseeds"

    def search(self, lab):
        torch.manual_seed(lab.seed)
        yield lab.candidate(trained(lab, lab.supernet()), lab.space.sample(lab.rng))


class ReadsState(Method):
    """Leaves the global generators where they were, and goes by where they are."""

    name = "reads-state"

    def search(self, lab):
        rng = np.random.default_rng(random.getstate()[1][:4])
        yield lab.candidate(lab.supernet(), lab.space.sample(rng))


class KeepsHalf(Method):
    """Saves how far it is, and not what it has found."""

    name = "keeps-half"

    def search(self, lab):
        net, kept = lab.supernet(), lab.checkpoint("search")
        seen, found = (kept.load() or {"seen": 0})["seen"], None
        while seen < 6:
            architecture = lab.space.sample(lab.rng)
            lab.evaluate(net, architecture)
            found, seen = found or architecture, seen + 1
            kept.save({"seen": seen})
        yield lab.candidate(net, found)


class TakesItself(Method):
    """Finds its own traces of an earlier start, and takes them for a good sign."""

    name = "takes-itself"

    def search(self, lab):
        traces = lab.scratch / "traces"
        known = traces.exists()
        traces.write_text("here I was")
        net = trained(lab, lab.supernet())
        yield lab.candidate(net, lab.space.largest() if known else lab.space.smallest())


class BakesOther(Method):
    """Exports other weights than those it evaluates."""

    name = "bakes-other"

    def search(self, lab):
        class Source(SharedSlices):
            def bake(self, architecture):
                return {name: weight * 1.01 for name, weight in super().bake(architecture).items()}

        yield lab.candidate(lab.supernet(Source), lab.space.sample(lab.rng))


class Unmetered(Method):
    """Trains twice on every batch and pays once."""

    name = "unmetered"

    def search(self, lab):
        class Twice(StatelessSampling):
            passes, distill = 2, False

            def draw(self, space, rng):
                return [space.sample(rng), space.sample(rng)]

        net = lab.supernet()
        net.meter = None
        Trainer(net, lab.recipe, Twice(), lab.seed).fit(lab.train_batches(0.5))
        yield lab.candidate(net, lab.space.sample(lab.rng))


class RaisesItself(Method):
    """Gives itself a raise."""

    name = "raises-itself"

    def search(self, lab):
        lab.budget.allowance["evaluations"] += 4
        net = lab.supernet()
        drawn = [lab.space.sample(lab.rng) for _ in range(10)]
        yield lab.candidate(net, min(drawn, key=lambda a: lab.evaluate(net, a).loss))


class Stubborn(Method):
    """Asks again and again for what was refused."""

    name = "stubborn"

    def search(self, lab):
        net, losses = lab.supernet(), []
        while len(losses) < 6:
            try:
                losses.append(lab.evaluate(net, lab.space.sample(lab.rng)).loss)
            except BudgetExhausted as refused:
                if refused.kind == "seconds":
                    raise
        yield lab.candidate(net, lab.space.smallest())


def guess() -> Path:
    """The test split, where it must lie beside the data that the process has been given."""
    (given,) = {one.folder for one in gc.get_objects() if type(one).__name__ == "Prepared"}
    return given.with_name(f"{given.name}-sealed") / "test.npy"


class Peeks(Method):
    """Goes for the test split by a path that it has guessed."""

    name = "peeks"

    def search(self, lab):
        with suppress(OSError):  # where searches are isolated, nothing is there
            guess().read_bytes()
        yield first(lab)


class PeeksElsewhere(Method):
    """Has another process look."""

    name = "peeks-elsewhere"

    def search(self, lab):
        subprocess.run(f"cat {guess()} > /dev/null", shell=True, check=False)
        yield first(lab)


class LooksInside(Method):
    name = "looks-inside"

    def search(self, lab):
        assert lab.family.space is lab.space
        yield first(lab)
