"""What a run's Lab keeps: charges, answers, proposals, and all that a resumed process begins with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from benchmarks.api import BudgetExhausted, Candidate, Lab
from benchmarks.hardware import timing_lock
from benchmarks.lab.candidates import ContractViolationError
from benchmarks.lab.checkpoints import Interrupted, random_states, set_random_states
from benchmarks.lab.journal import Journal
from benchmarks.lab.ledger import Ledger


class LabBookkeeping(Lab):
    """The side of ``benchmarks.lab.lab.BenchLab`` that knows of no network; it makes the attributes."""

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
    search_log: list[dict[str, Any]]
    _made: dict[int, Candidate]
    _candidates: int
    _streams: int
    _nets: int
    _paid: bool

    def phase(self, name: str) -> AbstractContextManager[None]:
        self.note = (0, 0, "")
        return self.ledger.in_phase(f"trial {self.trial}: {name}" if self.trial else name)

    def progress(self, done: float, total: float, note: str = "") -> None:
        self.note = (float(done), float(total), str(note)[:80])

    def yield_to_timing(self) -> None:
        """Stand still, off the clock, while somebody times something on this machine."""
        if timing_lock.timing_requested():
            with self.ledger.clock.pause("timing lock"):
                timing_lock.yield_to_timing(torch.cuda.synchronize if self.device == "cuda" else None)

    def _pass(self, tokens: float) -> None:
        if tokens:
            self.ledger.charge("tokens", tokens)

    def try_charge(self, kind: str, amount: float) -> bool:
        """Charge, or say that the allowance does not reach.

        Raises:
            BudgetExhausted: the time is up.
        """
        try:
            self.ledger.charge(kind, amount)
        except BudgetExhausted as refused:
            if refused.kind == "seconds":
                raise
            return False
        self.unsaved = True
        return True

    def _ask(self, call: str, key: str, kind: str | None, amount: float = 1) -> dict[str, Any] | None:
        """Charge the coming call; its answer where an earlier session has it, else None."""
        if self.stopping and not self.unsaved:
            raise Interrupted
        known = self.journal.known(call, key)
        if kind is not None:
            self.ledger.charge(kind, amount)
        else:
            self.ledger.check_seconds()
        if known is not None:
            self.ledger.clock.advance(known["at"])
        return known

    def _improved(self, loss: float) -> None:
        best = self.search_log[-1]["best_valid_loss"] if self.search_log else math.inf
        if loss < best:
            spent = self.ledger.totals()
            point = {kind: spent[kind] for kind in ("tokens", "evaluations", "seconds")}
            self.search_log.append(point | {"best_valid_loss": loss})

    def accept(self, item: object) -> bool:
        """Take what the method yielded; False once the time is up, when it counts no more.

        Raises:
            ContractViolationError: it is nothing that ``candidate`` made, or it came before.
        """
        if not isinstance(item, Candidate) or self._made.get(item.index) is not item:
            raise ContractViolationError(
                f"search() yielded {str(item)[:80]!r}: yield what lab.candidate(...) returns, nothing else"
            )
        if item.index in self.journal.yields[: self.proposals]:
            raise ContractViolationError(f"search() yielded candidate {item.index} twice")
        if not self.ledger.left("seconds"):
            return False
        self.journal.proposed(self.proposals, item.index)
        self.proposals += 1
        self.on_proposal()
        return True

    def snapshot(self) -> dict[str, Any]:
        """All that a resumed process needs besides the method's own state."""
        return {
            "ledger": self.ledger.state(),
            "calls": self.journal.next,
            "candidates": self._candidates,
            "proposals": self.proposals,
            "search_log": list(self.search_log),
            "streams": self._streams,
            "nets": self._nets,
            "paid": self._paid,
            "rng": self.rng.bit_generator.state,
            "global": random_states(self.device),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Stand where ``snapshot`` was taken."""
        self.ledger.restore(state["ledger"])
        self.journal.next = state["calls"]
        self._candidates, self._made = state["candidates"], {}
        self.proposals, self.search_log = state["proposals"], list(state["search_log"])
        self._streams, self._nets, self._paid = state["streams"], state["nets"], state["paid"]
        self.rng.bit_generator.state = state["rng"]
        set_random_states(state["global"])
        self.unsaved = False
