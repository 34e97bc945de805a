"""Random kills of a real command, ``python -m tests.robustness.crash``: what is typed again ends bit for bit.

A chain of three runs (HAT, then its winners trained alone and rounded to INT8, which follow it) is started in
a folder, disturbed at a random moment, and typed again, until all three have ended. Each final record has to
equal, in every field that its digest covers, the record of a chain that nothing happened to: architectures,
weights, validation and test figures, and all charges. No process may outlive its command, and no command may
print a traceback.

A campaign keeps chains and figures in the folder ``--home``, after each kill: typed again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.records.assembly import read_json
from benchmarks.records.store import write_text
from tests import ROOT
from tests.robustness import figures
from tests.robustness.disturbances import MEANS, Command, filled, limited, mounted, working_in

HOME = ROOT / "results/local/crash"
TARGETS = {"worker alone": "log.txt", "scorer alone": "score.txt", "memory limit": "log.txt"}
"""Kind of disturbance that needs a process -> the log of that process."""
KINDS = (
    "SIGKILL of the group",
    "SIGTERM",
    "SIGINT",
    "SIGINT twice",
    "worker alone",
    "scorer alone",
    *MEANS,
)
ENDING = {"SIGKILL of the group", "SIGTERM", "SIGINT", "SIGINT twice"}
"""Kinds that end the command. After the others it works on, and is disturbed again."""
MOST_A_COMMAND = 6
"""Disturbances of one command, of which the last one ends it: a chain that ends has no more."""
LOGS = ("log.txt", "score.txt")
LONGEST_START_S, RUN_S, TARGET_S = 12.0, 4.0, 0.5
"""Seconds of random moments: at most until the first run begins, after that, after a process is there."""
END_S = 600.0
"""Seconds after which a command counts as hanging."""


@dataclass
class Figures:
    """Figures of a campaign: ``commands`` were typed in ``seconds``, ``kills`` disturbed them, by kind.

    Kills count once their chain has ended, and its records have been compared.
    """

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    chains: int = 0
    records: int = 0
    seconds: float = 0.0
    differing: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)
    hanging: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unstarted: int = 0
    """Commands that a signal ended while Python itself was starting, before any line of ours could."""

    def to_dict(self) -> dict[str, object]:
        """Return the figures for ``results/robustness.json``."""
        kills = {"kills": dict(self.kills), "total_kills": self.kills.total(), "means": MEANS}
        return {**vars(self), **kills, "seconds": round(self.seconds)}

    @property
    def faults(self) -> int:
        """Number of all that must not be."""
        return sum(map(len, (self.differing, self.tracebacks, self.survivors, self.hanging, self.refused)))


class Campaign:
    """Disturbed chains, one after another; ``open_kills`` are those of the chain that has not ended yet."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home, self.state = home, home / "state.json"
        home.mkdir(parents=True, exist_ok=True)
        stored = read_json(self.state)
        known = stored.get("figures", {"seed": seed})
        self.figures = Figures(**{**known, "kills": Counter(known.get("kills", {}))})
        self.open_kills = Counter[str](stored.get("open_kills", {}))
        self.due: list[str] = stored.get("due", [])
        self.expected = undisturbed(home / "undisturbed")
        self.start_s = float(stored.get("start_s", LONGEST_START_S))

    @property
    def total(self) -> int:
        """Number of all kills so far."""
        return (self.figures.kills + self.open_kills).total()

    def save(self) -> None:
        """Write the figures so far, and what is open, into the campaign's folder."""
        state = {"figures": vars(self.figures), "open_kills": self.open_kills, "due": self.due}
        write_text(self.state, json.dumps(state | {"start_s": self.start_s}, indent=1) + "\n")

    def chain(self, kills: int, a_chain: int, end: float) -> None:
        """Disturb one chain up to ``a_chain`` times, until ``kills`` in all, then follow it to its end."""
        folder = self.home / f"chain-{self.figures.chains}"
        with mounted(folder):
            if not (folder / "results/cache").exists():
                shutil.copytree(self.home / "undisturbed/results/cache", folder / "results/cache")
            while self.open_kills.total() < a_chain and self.total < kills and time.monotonic() < end:
                before = self.total
                self.disturb(folder)
                self.save()
                if self.total == before:
                    break  # nothing is left to disturb
            if time.monotonic() < end or self.total >= kills:
                self._compare(folder)
        self.save()

    def disturb(self, folder: Path) -> None:
        """Type the command and disturb it at random moments, until a disturbance ends it."""
        rng, jumps, kinds = self._random(), folder / "jumps", list[str]()
        jumps.write_text("+0\n")
        jumping = "clock jump" in KINDS and rng.random() < 0.5
        command = Command(folder, jumps if jumping else None)
        while command.running and not ENDING.intersection(kinds):
            if not self.due:
                self.due = [*KINDS]
                rng.shuffle(self.due)
            kind = next((k for k in self.due if jumping or k != "clock jump"), "SIGKILL of the group")
            if len(kinds) >= MOST_A_COMMAND:
                kind = "SIGKILL of the group"
            if not self._wait(rng, command, kind, first=not kinds):
                break
            if self._act(rng, command, kind, jumps):
                self.open_kills[kind] += 1
                kinds.append(kind)
            if kind in self.due:  # also where the process that was meant has just ended
                self.due.remove(kind)
        self._end(command, f"{', '.join(kinds) or 'nothing'}, command {self.figures.commands}")

    def _random(self) -> random.Random:
        """Return the generator of the next command, whichever process of the campaign types it."""
        return random.Random(f"{self.figures.seed} {self.figures.commands}")

    def _wait(self, rng: random.Random, command: Command, kind: str, first: bool) -> bool:
        """Wait for the moment of a disturbance; return False if the command ended before."""
        if kind not in TARGETS and not first:
            command.pause(rng.uniform(0, RUN_S))
        elif kind in TARGETS or rng.random() < 0.5:
            logs = (TARGETS[kind],) if kind in TARGETS else LOGS
            if command.wait_for(300, *logs) and first:
                self.start_s = min(self.start_s, time.monotonic() - command.began)
            command.pause(rng.uniform(0, TARGET_S if kind in TARGETS else RUN_S))
        else:
            command.pause(rng.uniform(0, self.start_s + RUN_S))
        return command.running

    def _act(self, rng: random.Random, command: Command, kind: str, jumps: Path) -> bool:
        """Disturb the command; return whether something was there to be disturbed."""
        if kind == "SIGKILL of the group":
            command.send(signal.SIGKILL)
        elif kind == "SIGTERM":
            os.kill(command.process.pid, signal.SIGTERM)
        elif kind.startswith("SIGINT"):
            command.send(signal.SIGINT)  # as Ctrl-C in a terminal
            if kind.endswith("twice"):
                command.pause(rng.uniform(0, 3))
                command.send(signal.SIGINT)
        elif kind in ("worker alone", "scorer alone"):
            processes = command.processes(TARGETS[kind])
            if not processes:
                return False
            with suppress(psutil.Error):
                rng.choice(processes).kill()
        elif kind == "clock jump":
            jumps.write_text(f"{rng.choice('+-')}{rng.randrange(60, 400 * 86400)}\n")
        else:
            with filled(command.folder / "filler") if kind == "full disk" else limited(command):
                command.pause(rng.uniform(1, RUN_S))
        return True

    def _compare(self, folder: Path) -> None:
        """Type the command until it ends well, at most four times; compare its records; close the chain."""
        for _ in range(4):
            command = Command(folder)
            self._end(command, f"undisturbed, command {self.figures.commands}")
            if command.process.returncode == 0:
                break
        records = final_records(folder)
        for method, digest in self.expected.items():
            self.figures.records += 1
            if records.get(method) != digest:
                printed = command.log.read_text(errors="replace")[-1500:]
                what = f"chain {self.figures.chains}, {method}: exit code {command.process.returncode}"
                self.figures.differing.append(f"{what}; {printed}")
        self.figures.kills += self.open_kills
        self.open_kills = Counter()
        self.figures.chains += 1

    def _end(self, command: Command, what: str) -> None:
        """Wait for a command's end, and note what must not be."""
        self.figures.commands += 1
        try:
            command.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.figures.hanging.append(what)
            command.send(signal.SIGKILL)
            command.process.wait()
        printed = command.log.read_text(errors="replace")
        code, lasted = command.process.returncode, time.monotonic() - command.began
        self.figures.seconds += lasted
        print(f"{what}: exit code {code} after {lasted:.1f} s; {self.total} kills", flush=True)
        begun = "supernet-bench" in printed or re.search(r'cli/main.py", line \d+, in main', printed)
        if code in (1, -signal.SIGINT) and "KeyboardInterrupt" in printed and not begun:
            self.figures.unstarted += 1
            printed = ""
        elif code not in (0, 1, 130, -signal.SIGKILL, -signal.SIGTERM) and "full disk" not in what:
            self.figures.refused.append(f"{what}: exit code {code}: {printed[-600:]}")
        if "Traceback (most recent call last)" in printed:
            self.figures.tracebacks.append(f"{what}: {printed[-2000:]}")
        deadline = time.monotonic() + 20
        while (survivors := working_in(command.folder)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in survivors:
            with suppress(psutil.Error):
                self.figures.survivors.append(f"{what}: {' '.join(process.cmdline())[-200:]}")
                process.kill()


def final_records(folder: Path) -> dict[str, str]:
    """Return method -> digest of the final records: all that two runs of one spec share, charges included."""
    from benchmarks.records.store import load_all

    records = load_all(folder / "results" / "mt-smoke" / "records")
    return {r["spec"]["method"]: f"{r['status']} {r['digest']}" for r in records if r["status"] != "failed"}


def undisturbed(folder: Path) -> dict[str, str]:
    """Return method -> digest of an undisturbed chain, or of the one that is in the folder already."""
    if not folder.exists():
        fresh = folder.with_name("fresh")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        command = Command(fresh)
        if command.process.wait() or len(final_records(fresh)) != 3:
            raise SystemExit(f"the undisturbed chain failed: {command.log.read_text()[-3000:]}")
        fresh.rename(folder)
    return final_records(folder)


def main() -> int:
    """Run a campaign; 1 if a record differs, a process survives, or a command hangs, refuses or crashes."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=200, help="disturbances (default: 200)")
    options.add_argument("--a-chain", type=int, default=18, help="most of them in one chain (default: 18)")
    options.add_argument("--seconds", type=float, default=36000, help="stop after so many")
    options.add_argument("--seed", type=int, default=1, help="of kinds and moments (default: 1)")
    options.add_argument("--home", type=Path, default=HOME, help="its folder, for one state of the code")
    options.add_argument("--out", type=Path, help="JSON file for the figures")
    chosen = options.parse_args()
    end = time.monotonic() + chosen.seconds
    campaign = Campaign(chosen.home.resolve(), chosen.seed)
    while (campaign.total < chosen.kills or campaign.open_kills) and time.monotonic() < end:
        campaign.chain(chosen.kills, chosen.a_chain, end)
        if chosen.out:
            figures.store(chosen.out, "crash", campaign.figures.to_dict())
    print(json.dumps(campaign.figures.to_dict(), indent=1))
    return int(campaign.figures.faults > 0)


if __name__ == "__main__":
    sys.exit(main())
