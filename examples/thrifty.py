"""A complete method: little of the tokens for the supernet, the rest to train its winners on.

Try it: supernet-bench run mt --methods ./examples/thrifty.py:Thrifty,random-search --seeds 3
"""

from benchmarks.api import Method
from supernet.train import SinglePath, Trainer


class Thrifty(Method):
    """Chooses by a supernet that has had a fifth of the tokens, among what is fast enough."""

    name = "thrifty"
    summary = "a fifth of the tokens for the supernet, the rest to train its winners on"

    def search(self, lab):
        def train(net, share, name):
            trainer = Trainer(net, lab.recipe, SinglePath(), lab.seed)
            return trainer.fit(lab.train_batches(share), lab.checkpoint(name), lab.progress)

        net = train(lab.supernet(), 0.2, "supernet")
        tries = int(lab.budget.total("probes")) // len(lab.limits)
        for i, limit in enumerate(lab.limits):
            drawn = [lab.space.sample(lab.rng) for _ in range(tries)]
            fast = [a for a in drawn if lab.fits(a, limit)] or [lab.space.smallest()]
            best = min(fast, key=lambda a: lab.evaluate(net, a).loss)
            winner = train(net.collapse(best), 0.8 / len(lab.limits), f"winner-{i}")
            yield lab.candidate(winner, best, origin="continued", target=limit)
