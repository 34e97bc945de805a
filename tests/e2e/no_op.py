"""Methods that do as little as they may: what is left is what the harness itself costs."""

from benchmarks.api import Method


class NoOp(Method):
    """Proposes nothing, so that nothing is scored."""

    name = "no-op"

    def search(self, lab):
        return ()


class OneCandidate(Method):
    """Proposes the smallest architecture, untrained."""

    name = "one-candidate"

    def search(self, lab):
        yield lab.candidate(lab.supernet(), lab.space.smallest())


class OneInTen(Method):
    """Proposes the smallest architecture with one seed in ten, else nothing, so that its run fails."""

    name = "one-in-ten"

    def search(self, lab):
        if lab.seed % 10 == 0:
            yield lab.candidate(lab.supernet(), lab.space.smallest())
