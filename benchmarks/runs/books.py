"""The supervisor's own books of a search: ledger, journal, clock and the states at its checkpoints. No torch.

A search reports over a pipe (``benchmarks.runs.channel``) and can take nothing back: charges only add up, the
journal only grows, and a checkpoint restores the books as they stood when it was saved, in a later session
and never to less than has been charged since. The books lie in the run's folder, which a contained search
cannot write.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from benchmarks.lab.journal import RESTORED, UNKNOWN, Journal, ReplayDivergedError
from benchmarks.lab.ledger import CHARGEABLE_KINDS, INHERITED_KINDS, Clock, Ledger, LedgerState, exceeds
from benchmarks.records import phases
from benchmarks.records.assembly import read_json
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.records.store import write_text
from benchmarks.runs.heartbeat import JOURNAL, Beat

LARGEST = 2**20
"""Bytes of one message; a longer one ends the run."""
STATES = "checkpoints.books"
"""Folder in a run's folder: state of the books at each checkpoint."""
KEPT = 4
"""States that are kept of each checkpoint's name; ``benchmarks.lab.checkpoints`` keeps fewer saves."""
CALLS = ("evaluate", "probe", "energy", "candidate")
"""Calls of the Lab that have answers in the journal."""
BOOKABLE = (*CHARGEABLE_KINDS, "updates")
"""Kinds that a search reports; the supervisor reads seconds and joules itself."""
IDLE = "timing lock"
"""Reason of a pause in which a search waits: processor time in it is on its account."""


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
"""Errors of a disk, for which no search is to blame."""
IDLE_S = 0.3
"""Processor seconds that a search may use while it waits: its pulse goes on, and samples are old."""


class ForgedMessageError(Exception):
    """A message that the harness's Lab does not send; the text states why."""


class Books:
    """Books of one session of a search.

    Args:
        folder: of the run.
        allowance: of the whole run.
        before: last heartbeat of the earlier sessions; empty if this one is the first.
        cpu: returns the processor seconds of the search's processes so far.
        leader_spent: amount by kind that the run spent whose weights the search is given; None: it is given
            none.

    Attributes:
        begun: True once the search has reported.
        fault: reason why the run ends at once; empty if there is none.
        unwritten: error of the disk that the books could not be written to; None if there is none.
        end: status and message with which the search ended; None before.
        aside: the journal and the checkpoints are of no use for a later session.
        skipped: the method's reason not to run; None if it runs.

    Raises:
        CorruptFileError: the journal of earlier sessions cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        allowance: Mapping[str, float],
        before: Beat,
        cpu: Callable[[], float] = float,
        leader_spent: Mapping[str, float] | None = None,
    ) -> None:
        self.folder, self.cpu, self._before, self._leader_spent = folder, cpu, before, leader_spent or {}
        self.journal = Journal(folder / JOURNAL)
        self.clock = Clock()
        self.ledger = Ledger(allowance, self.clock)
        self.begun, self.fault, self.aside = False, "", False
        self.unwritten: OSError | None = None
        self.end: tuple[str, str] | None = None
        self.skipped: str | None = None
        self.proposals = 0
        self.state: JsonObject = {"progress": (0, 0, ""), "search_log": [], "messages": []}
        self._saved: set[str] = set()
        self._phases: list[AbstractContextManager[None]] = []
        self._pause: AbstractContextManager[None] | None = None
        self._pause_cpu = 0.0
        self._lock = threading.RLock()

    # messages

    def follow(self, connection: Connection) -> None:
        """Book every message of a search until its end; in a thread of the supervisor's.

        A message that is not the Lab's ends it, with the reason in ``fault``.
        """
        try:
            while True:
                message = json.loads(connection.recv_bytes(LARGEST))
                answer = self.take(message)
                if answer is not None:
                    connection.send_bytes(json.dumps(answer).encode())
        except EOFError:
            return
        except ForgedMessageError as error:
            self.fault = str(error)
        except (OSError, ValueError, RecursionError) as error:
            # Too long, or no JSON; a connection reset is the end of a killed search.
            if isinstance(error, OSError) and error.errno in FULL:
                self.unwritten = error  # the search waits for an answer until the command ends it
            elif not isinstance(error, ConnectionError):
                self.fault = "it sent what is no message of the Lab's"

    def take(self, message: object) -> Any:
        """Book one message; return the answer, None for a message without one.

        Raises:
            ForgedMessageError: the Lab does not send it.
        """
        if not isinstance(message, list) or not message or not isinstance(message[0], str):
            raise ForgedMessageError("it sent what is no message of the Lab's")
        kind, content = message[0].replace("-", "_"), message[1:]
        handle = getattr(self, f"_on_{kind}", None)
        if handle is None:
            raise ForgedMessageError("it sent a message of no known kind")
        with self._lock:
            self._begin()
            try:
                return handle(*content)
            except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
                raise ForgedMessageError(f"it sent a malformed message ({kind})") from None

    def _begin(self) -> None:
        if not self.begun:
            self.clock = self.ledger.clock = Clock()
            self.begun = True

    def _on_charge(self, kind: str, amount: float) -> None:
        if kind not in BOOKABLE or not (math.isfinite(amount) and amount >= 0):
            raise ForgedMessageError(f"it charged {str(amount)[:40]} {str(kind)[:40]}")
        self.ledger.book(kind, float(amount))
        allowed = self.ledger.allowance.get(kind, math.inf)
        if exceeds(self.ledger.spent(kind), allowed):
            charged = self.ledger.spent(kind)
            raise ForgedMessageError(
                f"it charged {charged:,.10g} {kind} of {allowed:,.10g}: its ledger was changed"
            )

    def _on_phase(self, name: str) -> None:
        phase = self.ledger.in_phase(str(name))
        phase.__enter__()
        self._phases.append(phase)

    def _on_phase_end(self) -> None:
        if self._phases:
            self._phases.pop().__exit__(None, None, None)

    def _on_pause(self, reason: str) -> None:
        if self._pause is None:
            self._pause, self._pause_cpu = self.clock.pause(str(reason)[:40]), 0.0
            self._pause.__enter__()
            if reason == IDLE:
                self._pause_cpu = self.cpu()

    def _on_resume(self) -> None:
        if self._pause is not None:
            idle = self.clock.reason == IDLE
            self._pause.__exit__(None, None, None)
            self._pause = None
            if idle:
                self.clock.advance(self.clock.now() + max(0.0, self.cpu() - self._pause_cpu - IDLE_S))

    def _on_advance(self, to: float) -> None:
        if not math.isfinite(to):
            raise ValueError("not a time")
        self.clock.advance(float(to))

    def _on_call(self, entry: JsonObject) -> str:
        answer = dict(entry)
        number, call, key = answer.pop("n"), answer.pop("call"), answer.pop("key")
        if call not in CALLS or not isinstance(key, str):
            raise ForgedMessageError(f"it reported a call {str(call)[:40]}")
        if not isinstance(answer.get("trial", 0), int):
            raise ForgedMessageError("it reported a candidate of no trial")
        if number != len(self.journal):
            raise ForgedMessageError("it reported a call out of order")
        self.journal.next_call = number
        self.journal.record(call, key, **answer)
        return "booked"

    def _on_yield(self, order: int, index: int) -> str:
        if order != self.proposals or not isinstance(index, int):
            raise ForgedMessageError("it proposed out of order")
        try:
            self.journal.record_proposal(order, index)
        except ReplayDivergedError as error:
            raise ForgedMessageError(str(error)) from None
        self.proposals += 1
        return "booked"

    def _on_save(self, name: str, digest: str) -> str:
        folder = self.folder / STATES / _file_name(name)
        state = {"ledger": self.ledger.state(), "proposals": self.proposals}
        write_text(folder / f"{_hex(digest)}.json", json.dumps(state))
        self._saved.add(digest)
        files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for old in files[:-KEPT]:
            old.unlink(missing_ok=True)
        return "booked"

    def _on_load(self, name: str, digest: str) -> str:
        if digest in self._saved:
            return "this session saved it: what has been charged since cannot be taken back"
        state = read_json(self.folder / STATES / _file_name(name) / f"{_hex(digest)}.json")
        if not state:
            return UNKNOWN
        ledger = cast(LedgerState, state["ledger"])
        then, totals = dict[str, float](), self.ledger.totals()
        for _, kind, amount in ledger["booked"]:
            then[kind] = then.get(kind, 0.0) + amount
        for kind in BOOKABLE:
            if then.get(kind, 0.0) < totals.get(kind, 0.0) * (1 - 1e-9) - 1e-6:
                return "more has been charged since it was saved, and cannot be taken back"
        self.ledger.restore(ledger)
        self.proposals = int(state["proposals"])
        return RESTORED

    def _on_state(self, state: JsonView) -> None:
        self.state = {**self.state, **state}
        done, total, note = self.state["progress"]
        self.state["progress"] = (float(done), float(total), str(note)[:80])
        self.state["messages"] = [str(line) for line in self.state["messages"]]

    def _on_skip(self, reason: str) -> str:
        self.skipped = str(reason)
        return "booked"

    def _on_end(self, status: str, message: str, aside: bool) -> str:
        if status not in ("done", "budget", "failed"):
            raise ValueError("no status")
        self.end, self.aside = (status, str(message)), bool(aside)
        return "booked"

    def charge_leader(self) -> None:
        """Charge the weights that an ended search was given, as far as it has not paid for them.

        Each trial with a proposal owes all that the run spent which they come from, whether it loaded them by
        ``Lab.inherit``, from their files, or not at all. A debt beyond the allowance is a fault.
        """
        with suppress(KeyError):  # a proposal that is no candidate; the outcome states it
            for trial in {e.get("trial", 0) for e in self.journal.candidates(self.proposals)}:
                phase = phases.of_trial(phases.INHERITED, trial)
                for kind in (*INHERITED_KINDS, "updates"):
                    unpaid = self._leader_spent.get(kind, 0.0) - self.ledger.booked(phase, kind)
                    if unpaid > 0:
                        with self.ledger.in_phase(phase):
                            self.ledger.book(kind, unpaid)
        for kind, allowed in self.ledger.allowance.items():
            if kind in INHERITED_KINDS and exceeds(self.ledger.spent(kind), allowed):
                self.fault = (
                    f"with the run whose weights it was given it spent {self.ledger.spent(kind):,.10g} {kind}"
                    f" of {allowed:,.10g}: call lab.inherit() first"
                )

    # state

    def beat(self) -> Beat:
        """Return the state for the heartbeat, but for its time."""
        with self._lock:
            clock = self.ledger.clock
            active, now = (clock.active, clock.now()) if self.begun else (0.0, 0.0)
            before = self._before
            active_before = before.get("active_before", 0.0) + before.get("active", 0.0)
            off = dict(before.get("off", {}))
            for reason, seconds in tuple(clock.off.items()):
                off[reason] = off.get(reason, 0.0) + seconds
            return {
                "clock": now,
                "active": active,
                "active_before": active_before,
                "lost": active_before + active - now,
                "off": off,
                "pause": clock.reason,
                "cpu": before.get("cpu", 0.0) + self.cpu(),
                "stopped_by": self.state.get("stopped_by"),
                "phase": self.ledger.phase,
                "progress": self.state["progress"],
                "proposals": self.proposals,
                "search_log": list(self.state["search_log"]),
                "messages": list(self.state["messages"]),
                "ledger": self.ledger.report(),
            }

    def close(self) -> None:
        """Close the journal."""
        with suppress(OSError):
            self.journal.close()


def _file_name(name: str) -> str:
    return hashlib.sha256(str(name).encode("utf-8", "replace")).hexdigest()[:16]


def _hex(digest: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("no digest")
    return digest
