"""Methods that break the rules where no honest mistake would; test_cheats.py holds what becomes of each.

Each prints whether it got what it wanted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

from benchmarks.api import Measurement, Method
from supernet import export
from supernet.train import SinglePath, Trainer


def first(lab):
    """One candidate, after one evaluation."""
    net = lab.supernet()
    lab.evaluate(net, lab.space.smallest())
    return lab.candidate(net, lab.space.smallest(), target=lab.limits[-1])


def trained(lab, net, share):
    return Trainer(net, lab.recipe, SinglePath(), lab.seed).fit(lab.train_batches(share))


def attempt(what, action):
    """Print whether an action succeeds."""
    try:
        print(what, "SUCCEEDED", action(), flush=True)
    except BaseException as error:
        print(what, "refused:", type(error).__name__, flush=True)


def outside(lab):
    """The folder of all results."""
    return lab.scratch.parents[3]


def sealed_files(top):
    return [os.path.join(at, name) for at, _, names in os.walk(top) if "sealed" in at for name in names]


class Honest(Method):
    name = "honest"

    def search(self, lab):
        net = trained(lab, lab.supernet(), 0.99)
        yield lab.candidate(net, lab.space.smallest(), target=lab.limits[-1])


class Leads(Method):
    name = "leads"

    def search(self, lab):
        net = trained(lab, lab.supernet(), 0.4)
        yield lab.candidate(net, lab.space.smallest(), target=lab.limits[-1])


class Inherits(Method):
    """Pays for the weights that it takes."""

    name = "inherits"
    follows = "leads"
    inherits = True

    def search(self, lab):
        net = lab.inherit()
        yield lab.candidate(net, net.space.largest(), target=lab.limits[-1])


class TakesUnpaid(Method):
    """Clears what the weights cost before it takes them."""

    name = "takes-unpaid"
    follows = "leads"
    inherits = True

    def search(self, lab):
        lab.leader_artifacts["spent"].clear()
        net = lab.inherit()
        print("charged", lab.budget.spent("tokens"), flush=True)
        yield lab.candidate(net, net.space.largest(), target=lab.limits[-1])


class ReadsUnpaid(Method):
    """Reads the weights from their files, and spends all tokens of its own beside them."""

    name = "reads-unpaid"
    follows = "leads"
    inherits = True

    def search(self, lab):
        folder, _ = lab.leader_artifacts["candidates"][0]
        net = export.network(*export.load(Path(folder)))
        print("read", net.space.size(), flush=True)
        trained(lab, lab.supernet(), 0.99)
        yield lab.candidate(net, net.space.largest(), target=lab.limits[-1])


class ReadsTests(Method):
    """Reads the sealed test split: in Python, in a forked child, and through a shell."""

    name = "reads-tests"

    def search(self, lab):
        print("FOUND", sealed_files(outside(lab)), flush=True)
        r, w = os.pipe()
        if os.fork() == 0:
            os.write(w, str(sealed_files(outside(lab).parents[1])).encode())
            os._exit(0)
        print("FOUND", os.read(r, 9999).decode(), flush=True)
        os.wait()
        top = str(outside(lab).parents[1])
        found = subprocess.run(["find", top, "-path", "*sealed*", "-name", "*.npy"], capture_output=True)
        print("FOUND", found.stdout.decode(), flush=True)
        yield first(lab)


class Writes(Method):
    """Replaces references, changes the reference latency, poisons compiled code, forges scores."""

    name = "writes"

    def search(self, lab):
        made = first(lab)
        folder, home = lab.scratch.parent, outside(lab)
        for what, path in {
            "references": home / "cache" / "sealed" / "test.npy",
            "latency of the reference": folder.parent / "reference-tiny-repeat.json",
            "records": home / "tiny-smoke" / "records" / "forged.json",
            "partial scores": folder / "score.partial.json",
            "scores": folder / "score.json",
            "outcome": folder / "search.json",
            "journal": folder / "journal.jsonl",
            "heartbeat": folder / "heartbeat.json",
            "books": folder / "checkpoints.books",
            "method": Path(__file__),
            "compiled": Path(__file__).parent / "__pycache__" / "cheats.cpython-399.pyc",
            "harness": Path(sys.modules["benchmarks"].__file__),
            "another run": folder.parent / "honest" / "log.txt",
        }.items():

            def write(path=path):
                os.makedirs(path.parent, exist_ok=True)
                with open(path, "a") as file:
                    file.write("forged")

            real = path.exists() or what not in ("references", "latency of the reference", "records")
            real = real and what != "another run"
            # What is hidden can be made again only in an empty, read-only folder.
            attempt(what if real else f"hidden {what}", write)
        yield made


class Clears(Method):
    """Clears its ledger after each training."""

    name = "clears"

    def search(self, lab):
        net = lab.supernet()
        for _ in range(5):
            trained(lab, net, 0.9)
            lab.budget._booked.clear()
        lab.evaluate(net, lab.space.smallest())
        yield lab.candidate(net, lab.space.smallest(), target=lab.limits[-1])


class Reverts(Method):
    """Saves a checkpoint, trains, and loads the checkpoint again for the tokens' sake."""

    name = "reverts"

    def search(self, lab):
        net = lab.supernet()
        checkpoint = lab.checkpoint("start")
        checkpoint.save({"nothing": 0})
        for _ in range(5):
            trained(lab, net, 0.9)
            checkpoint.load()
        yield lab.candidate(net, lab.space.smallest(), target=lab.limits[-1])


class Pauses(Method):
    """Works off the clock, in the pause of one who waits for the timing lock."""

    name = "pauses"

    def search(self, lab):
        with lab.budget.clock.pause("timing lock"):
            end = time.time() + 4
            while time.time() < end:
                sum(range(10**5))
        yield first(lab)


class Concludes(Method):
    """Overspends unseen, tells the supervisor that all is well, and leaves."""

    name = "concludes"

    def search(self, lab):
        made = first(lab)
        del made
        outcome = {"status": "done", "message": "", "ledger": {}, "candidates": []}
        attempt("outcome", lambda: (lab.scratch.parent / "search.json").write_text(json.dumps(outcome)))
        os._exit(0)
        yield


class Leaves(Method):
    """Leaves processes behind: of its own session, and orphans of a child's."""

    name = "leaves"

    def search(self, lab):
        twice = "if os.fork(): os._exit(0)\n"
        code = f"import os, time\n{twice}os.setsid()\n{twice}time.sleep(600)"
        subprocess.run([sys.executable, "-c", code])
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        threading.Thread(target=time.sleep, args=(600,)).start()
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        yield first(lab)


class Crowds(Method):
    """Computes in many more threads and processes than declared."""

    name = "crowds"

    def search(self, lab):
        torch.set_num_threads(16)
        busy = "import time\nend = time.time() + 2\nwhile time.time() < end: pass"
        children = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(8)]
        for child in children:
            child.wait()
        yield first(lab)


class Claims(Method):
    """Says that its validation loss is 0, so that it is chosen before others."""

    name = "claims-zero"

    def search(self, lab):
        lab._validate = lambda module, device=None: Measurement(0.0)
        yield first(lab)


class LooksAround(Method):
    """Looks for other processes, their memory, the network and the home of the user."""

    name = "looks-around"

    def search(self, lab):
        parent, chain = os.getpid(), []
        while parent > 1 and len(chain) < 6:
            parent = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
            chain.append(parent)
        for pid in filter(None, chain):
            attempt(f"memory of {pid}", lambda pid=pid: open(f"/proc/{pid}/mem", "rb"))
        others = [name for name in os.listdir("/proc") if name.isdigit()]
        print("PROCESSES", len(others), flush=True)

        def connect():
            import socket

            with socket.create_connection(("1.1.1.1", 53), 0.5):
                return "connected"

        attempt("network", connect)
        attempt("kill", lambda: os.kill(os.getppid(), signal.SIGKILL))
        yield first(lab)


class Forges(Method):
    """Sends its supervisor messages that no Lab sends."""

    name = "forges"

    def search(self, lab):
        made = first(lab)
        lab.budget._channel.tell("charge", "tokens", -1000)
        time.sleep(5)
        yield made


class Floods(Method):
    """Sends its supervisor a message of many megabytes."""

    name = "floods"

    def search(self, lab):
        made = first(lab)
        lab.budget._channel.tell("state", {"messages": ["x" * 2**22]})
        time.sleep(5)
        yield made


class Spies(Method):
    """Looks for a test split in the results and in shared memory, and into the command's memory."""

    name = "spies"

    def search(self, lab):
        made = first(lab)
        walks = [walk for top in (outside(lab), "/dev/shm") for walk in os.walk(top)]
        print("SPLIT", [at for at, _, names in walks if "test.npy" in names], flush=True)
        parent, chain = os.getpid(), []
        while parent > 1 and len(chain) < 4:
            parent = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
            chain.append(parent)
        for pid in chain:
            if b"\0run\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                attempt("memory of the command", lambda pid=pid: open(f"/proc/{pid}/mem", "rb"))
        yield made


class Replays(Method):
    """Pays for a few batches once, and trains on them until it has used many processor seconds."""

    name = "replays"

    def search(self, lab):
        net = lab.supernet()
        batches = list(lab.train_batches(0.9))
        module = net.export(lab.space.smallest()).train()
        optimizer = torch.optim.Adam(module.requires_grad_(True).parameters(), 1e-4)
        began = time.process_time()
        while time.process_time() - began < float(os.environ.get("REPLAY_S", 30)):
            for batch in batches:
                logits = module(batch.source, batch.target_in).flatten(0, 1)
                loss = torch.nn.functional.cross_entropy(logits, batch.target_out.flatten(), ignore_index=1)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        print("replayed, loss", float(loss), flush=True)
        yield lab.candidate(net, lab.space.smallest(), target=lab.limits[-1])


class Public(Method):
    """Draws the task's test data again, as anybody can who reads its code, and trains on it."""

    name = "public"

    def search(self, lab):
        import numpy as np
        from tiny_task import VOCAB

        rng = np.random.default_rng(0)
        _, _, test = (rng.integers(4, VOCAB, (count, 6)) for count in (60, 12, 8))
        print("DRAWN", test.shape, flush=True)
        yield first(lab)


class HonestToo(Honest):
    name = "honest-too"


class HonestAgain(Honest):
    name = "honest-again"
