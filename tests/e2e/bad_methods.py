"""Methods that break the contract, each in one way. Most propose something first: it must not be lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.api import Candidate, Measurement, Method, Option, Skip


def first(lab):
    """One honest candidate."""
    return lab.candidate(lab.supernet(), lab.space.smallest())


class Babbles(Method):
    """Gives its phases names that no file can hold, and one that would fill a record."""

    name = "babbles"

    def search(self, lab):
        with lab.phase("\ud800"), lab.phase("x" * 2**20):
            time.sleep(1.1)
        yield first(lab)


class Raises(Method):
    name = "raises"

    def search(self, lab):
        yield first(lab)
        raise ValueError("out of ideas")


class Imports(Method):
    name = "imports"

    def search(self, lab):
        import no_such_module  # noqa: F401

        yield first(lab)


class Nothing(Method):
    name = "nothing"

    def search(self, lab):
        return ()


class NoIterable(Method):
    name = "no-iterable"

    def search(self, lab):
        return None


class Nonsense(Method):
    name = "nonsense"

    def search(self, lab):
        yield first(lab)
        yield 42


class Forged(Method):
    name = "forged"

    def search(self, lab):
        real = first(lab)
        yield Candidate(0, real.architecture, None, "forged", None, Measurement(0.0), "0" * 64, Path("."))


class Twice(Method):
    name = "twice"

    def search(self, lab):
        made = first(lab)
        yield made
        yield made


class Stranger(Method):
    name = "stranger"

    def search(self, lab):
        lab.evaluate(lab.supernet(), {"encoder_embed_dim": 7})
        yield first(lab)


class EmitsNaN(Method):
    name = "emits-nan"

    def search(self, lab):
        yield first(lab)
        net = lab.supernet()
        with torch.no_grad():
            net.source.flat.fill_(float("nan"))
        assert lab.evaluate(net, lab.space.smallest()).loss != 0
        yield lab.candidate(net, lab.space.smallest())


class ChargesNaN(Method):
    name = "charges-nan"

    def search(self, lab):
        lab.budget.charge("predictor_calls", float("nan"))
        yield first(lab)


class Exits(Method):
    name = "exits"

    def search(self, lab):
        yield first(lab)
        sys.exit(3)


class Dies(Method):
    name = "dies"

    def search(self, lab):
        yield first(lab)
        os._exit(3)


class Killed(Method):
    name = "killed"

    def search(self, lab):
        yield first(lab)
        os.kill(os.getpid(), signal.SIGKILL)


class Refuses(Method):
    name = "refuses"

    def supports(self, task):
        return Skip(f"made for images, not for {task.name}")

    def search(self, lab):
        yield first(lab)


class Answers(Method):
    name = "answers"

    def supports(self, task):
        return True

    def search(self, lab):
        yield first(lab)


class Snoops(Method):
    """Looks through everything in its process for the way to the test split."""

    name = "snoops"

    def search(self, lab):
        import gc

        from benchmarks.tasks import Prepared

        for thing in gc.get_objects():
            if isinstance(thing, Prepared) and thing.sealed is not None:
                raise AssertionError(f"found {thing}")
            if isinstance(thing, dict | list | tuple):
                values = dict.values(thing) if isinstance(thing, dict) else thing
                for value in values:
                    if isinstance(value, Path) and "sealed" in str(value):
                        raise AssertionError(f"found {value}")
        variables = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        assert not any("sealed" in value for value in variables.values())
        yield first(lab)


class Unread(Method):
    """Declares two options and reads one; asks for a third that it does not declare."""

    name = "unread"
    options = (
        Option("after", str, "a", help="what it says"),
        Option("other", str, "a", help="nothing reads it"),
        Option("strict", bool, False, help="ask for an option that is not declared"),
    )

    def search(self, lab):
        if lab.options["strict"]:
            lab.options.get("undeclared", 3)
        raise RuntimeError("after=" + lab.options["after"])


class Overspends(Method):
    """Evaluates for ever, having proposed nothing."""

    name = "overspends"

    def search(self, lab):
        net = lab.supernet()
        while True:
            lab.evaluate(net, lab.space.sample(lab.rng))
        yield


class Hangs(Method):
    """Leaves a process of its own behind, too."""

    name = "hangs"

    def search(self, lab):
        made = first(lab)
        mark = f"600.{int.from_bytes(os.urandom(6))}"  # its number is another one outside of this search
        subprocess.Popen(["sleep", mark])
        print(f"child: {mark}", flush=True)
        yield made
        while True:
            time.sleep(0.01)


class HangsInC(Method):
    """Never comes back to the interpreter: no thread of the process runs, no signal is handled."""

    name = "hangs-in-c"

    def search(self, lab):
        yield first(lab)
        sum(range(10**15))


class WillNotEnd(Method):
    name = "will-not-end"

    def search(self, lab):
        yield first(lab)
        while True:
            try:
                time.sleep(0.01)
            except BaseException:
                pass
