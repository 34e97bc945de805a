"""Lab bookkeeping: ledger charges, journal replay, accepted candidates and resume state."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch

from benchmarks.api import BudgetExhausted, Candidate, Lab
from benchmarks.hardware import timing_lock
from benchmarks.lab.candidates import ContractViolationError
from benchmarks.lab.checkpoints import Interrupted, random_states, set_random_states
from benchmarks.lab.journal import Entry, Journal
from benchmarks.lab.ledger import LONGEST_PHASE, Ledger
from benchmarks.records import phases
from benchmarks.records.canonical import JsonObject, JsonView
from benchmarks.records.text import sanitize


class LabBookkeeping(Lab):
    """The part of ``benchmarks.lab.lab.BenchLab`` that handles no network; that class sets the attributes."""

    ledger: Ledger
    journal: Journal
    device: str
    rng: np.random.Generator
    trial: int
    stopping: bool
    unsaved: bool
    note: tuple[float, float, str]
    proposals: int
    on_proposal: Callable[[], None]
    search_log: list[dict[str, float]]
    _issued: dict[int, Candidate]
    _candidate_count: int
    _stream_count: int
    _net_count: int
    _leader_charged: bool

    def phase(self, name: str) -> AbstractContextManager[None]:
        if sanitize(name, LONGEST_PHASE) == phases.INHERITED:
            raise ContractViolationError(f"lab.phase({name!r}): only lab.inherit books under this name")
        return self._book_under(name)

    def _book_under(self, name: str) -> AbstractContextManager[None]:
        self.note = (0, 0, "")
        return self.ledger.in_phase(phases.of_trial(name, self.trial))

    def progress(self, done: float, total: float, note: str = "") -> None:
        self.note = (float(done), float(total), str(note)[:80])

    def yield_to_timing(self) -> None:
        """Wait, off the clock, while another process times something on this machine."""
        if timing_lock.timing_requested():
            with self.ledger.clock.pause("timing lock"):
                timing_lock.yield_to_timing(torch.cuda.synchronize if self.device == "cuda" else None)

    def _charge_tokens(self, tokens: float) -> None:
        if tokens:
            self.ledger.charge("tokens", tokens)

    def try_charge(self, kind: str, amount: float) -> bool:
        """Charge an amount, or return False if the allowance does not reach.

        Raises:
            BudgetExhausted: the seconds are used up.
        """
        try:
            self.ledger.charge(kind, amount)
        except BudgetExhausted as refused:
            if refused.kind == "seconds":
                raise
            return False
        self.unsaved = True
        return True

    def _replay(self, call: str, key: str, kind: str | None, amount: float = 1) -> Entry | None:
        """Charge the coming call, and return its answer if an earlier session stored it, else None.

        Args:
            call: name of the call in the journal.
            key: key of the call in the journal.
            kind: charged kind; None for a call free of charge.
            amount: charged amount.
        """
        if self.stopping and not self.unsaved:
            raise Interrupted
        known = self.journal.replay(call, key)
        if kind is not None:
            self.ledger.charge(kind, amount)
        else:
            self.ledger.check_seconds()
        if known is not None:
            self.ledger.clock.advance(known["at"])
        return known

    def _log_improvement(self, loss: float) -> None:
        best = self.search_log[-1]["best_valid_loss"] if self.search_log else math.inf
        if loss < best:
            spent = self.ledger.totals()
            point = {kind: spent[kind] for kind in ("tokens", "evaluations", "seconds")}
            self.search_log.append(point | {"best_valid_loss": loss})

    def accept(self, item: object) -> bool:
        """Accept a proposal; return False if the seconds are used up, when proposals no longer count.

        Raises:
            ContractViolationError: ``item`` is no result of ``candidate``, or was proposed before.
        """
        if not isinstance(item, Candidate) or self._issued.get(item.index) is not item:
            raise ContractViolationError(
                f"search() yielded {str(item)[:80]!r}: yield what lab.candidate(...) returns, nothing else"
            )
        if item.index in self.journal.proposed[: self.proposals]:
            raise ContractViolationError(f"search() yielded candidate {item.index} twice")
        if not self.ledger.left("seconds"):
            return False
        self.journal.record_proposal(self.proposals, item.index)
        self.proposals += 1
        self.on_proposal()
        return True

    def snapshot(self) -> JsonObject:
        """Return all state that a resumed process needs besides the method's own."""
        return {
            "ledger": self.ledger.state(),
            "calls": self.journal.next_call,
            "candidates": self._candidate_count,
            "proposals": self.proposals,
            "search_log": list(self.search_log),
            "streams": self._stream_count,
            "nets": self._net_count,
            "paid": self._leader_charged,
            "rng": self.rng.bit_generator.state,
            "global": random_states(self.device),
        }

    def restore(self, state: JsonView) -> None:
        """Restore the state that ``snapshot`` returned."""
        self.ledger.restore(state["ledger"])
        self.journal.next_call = state["calls"]
        self._candidate_count, self._issued = state["candidates"], {}
        self.proposals, self.search_log = state["proposals"], list(state["search_log"])
        self._stream_count, self._net_count = state["streams"], state["nets"]
        self._leader_charged = state["paid"]
        self.rng.bit_generator.state = state["rng"]
        set_random_states(state["global"])
        self.unsaved = False
