"""Messages of a search process: one line, with the remedy where there is one."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import pytest

from benchmarks.api import Candidate, Measurement
from benchmarks.lab.candidates import ContractViolationError
from benchmarks.runs.worker import _describe, _take_proposals


class Public:
    def __init__(self) -> None:
        self.limits, self._evaluated = (1.0,), 0

    def evaluate(self) -> None:
        self._evaluated += 1


MODULE = ModuleType("library")
MODULE.train = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("thing", "name", "hint"),
    [
        (Public(), "evalute", "has no attribute 'evalute'. Did you mean 'evaluate'?"),
        (Public(), "limit", "has no attribute 'limit'. Did you mean 'limits'?"),
        (MODULE, "trian", "has no attribute 'trian'. Did you mean 'train'?"),
        (Public(), "evaluatd", "Did you mean 'evaluate'?"),
        (Public(), "zzz", "has no attribute 'zzz'"),
    ],
)
def test_a_missing_attribute_names_the_nearest(thing: object, name: str, hint: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(thing, name)
    message = _describe(caught.value, "/nowhere/mine.py:Mine")
    assert message.startswith("AttributeError: ") and message.endswith(hint)


def test_an_attribute_error_of_a_methods_own_stays_as_it_is() -> None:
    assert _describe(AttributeError("no idea"), "/nowhere/mine.py:Mine") == "AttributeError: no idea"


def test_a_returned_candidate_names_the_remedy_first() -> None:
    candidate = Candidate(0, {}, None, "inherited", None, Measurement(1.0), "0" * 64, None)  # type: ignore[arg-type]
    method = SimpleNamespace(search=lambda lab: candidate)
    lab = SimpleNamespace(proposals=0, method_view=lambda: None)
    with pytest.raises(ContractViolationError) as caught:
        _take_proposals(method, lab)  # type: ignore[arg-type]
    remedy = "yield what lab.candidate(...) returns"
    assert str(caught.value) == f"{remedy}: search() returned a value of type Candidate"
