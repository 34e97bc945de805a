"""Checkpoints of long phases: tensors as safetensors, the rest as JSON, one folder a save.

A save is a new folder ``<name>/<number>``, complete before it gets its name. The one before it is kept, so
that a damaged save costs only the work since then. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from benchmarks.api import Checkpoint, State
from benchmarks.lab.candidates import ContractViolationError
from benchmarks.lab.journal import RESTORED, UNKNOWN, CorruptFileError

if TYPE_CHECKING:
    from benchmarks.lab.lab import BenchLab

KEPT = 2
"""Saves that are kept."""
TENSORS, STATE = "tensors.safetensors", "state.json"


def save(folder: Path, state: State, announce: Callable[[str], None] = lambda digest: None) -> Path:
    """Write ``state``: nested dicts, lists and tuples of tensors, arrays, numbers and text.

    Args:
        folder: folder of the saves.
        state: what is saved.
        announce: called with the digest of the save before it gets its name.

    Raises:
        TypeError: something in ``state`` is none of these; the message gives its place.
    """
    tensors: dict[str, torch.Tensor] = {}
    tree = _pack(state, "", tensors)
    numbers = _numbers(folder)
    number = numbers[-1] + 1 if numbers else 0
    fresh = folder / f".{number:06d}.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(tensors, fresh / TENSORS)
    text = json.dumps({"sha256": _sha256(fresh / TENSORS), "state": tree})
    digest = hashlib.sha256(text.encode()).hexdigest()
    (fresh / STATE).write_text(json.dumps({"sha256": digest}) + "\n" + text)
    announce(digest)
    final = folder / f"{number:06d}"
    os.rename(fresh, final)
    for old in numbers[: len(numbers) + 1 - KEPT]:
        shutil.rmtree(folder / f"{old:06d}", ignore_errors=True)
    return final


def load(
    folder: Path, say: Callable[[str], None], known: Callable[[str], bool] = lambda digest: True
) -> State | None:
    """Return the newest undamaged save, tensors on the processor; None if there is none.

    A damaged save is set aside (``<number>.damaged``), and the one before it is loaded.

    Args:
        folder: folder of the saves.
        say: shows one line to the user for each damaged save.
        known: returns whether a save of this digest was announced; any other one counts as damaged.
    """
    for number in reversed(_numbers(folder)):
        place = folder / f"{number:06d}"
        try:
            return _read(place, known)
        except CorruptFileError as error:
            aside = place.with_suffix(".damaged")
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(place, aside)
            then = "going on from the one before it" if _numbers(folder) else "starting this phase again"
            say(f"checkpoint {folder.name}/{place.name} is damaged ({error}): moved to {aside.name}, {then}")
    return None


def _numbers(folder: Path) -> list[int]:
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    # Nothing but what ``save`` names: an unpacked archive may hold other numbers.
    return sorted(int(name) for name in names if name.isdecimal() and name == f"{int(name):06d}")


def _read(place: Path, known: Callable[[str], bool]) -> State:
    try:
        head, _, text = (place / STATE).read_text().partition("\n")
        digest = hashlib.sha256(text.encode()).hexdigest()
        if json.loads(head)["sha256"] != digest:
            raise CorruptFileError(f"{STATE} is not what was written")
        data = json.loads(text)
        if _sha256(place / TENSORS) != data["sha256"]:
            raise CorruptFileError(f"{TENSORS} is not what was written")
        state: State = _unpack(data["state"], load_file(place / TENSORS))
        if not known(digest):
            raise CorruptFileError("no session of this run saved it")
        return state
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise CorruptFileError(f"{type(error).__name__}: {error}") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(value: object, at: str, tensors: dict[str, torch.Tensor]) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor | np.ndarray):
        kind = "tensor" if isinstance(value, torch.Tensor) else "array"
        tensor = value.detach().cpu() if isinstance(value, torch.Tensor) else torch.from_numpy(value.copy())
        # Own storage for each: safetensors refuses views that share it, and a view would drag it all along.
        name = str(len(tensors))
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
        return {kind: name}
    if isinstance(value, Mapping):
        return {"map": [[_pack(k, at, tensors), _pack(v, f"{at}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [_pack(v, f"{at}/{i}", tensors) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    raise TypeError(
        f"a checkpoint holds tensors, arrays, numbers and text, not {type(value).__name__} (at {at or '/'})"
    )


def _unpack(tree: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(tree, list):
        return [_unpack(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, body),) = tree.items()
    if kind == "map":
        return {_unpack(k, tensors): _unpack(v, tensors) for k, v in body}
    if kind == "tuple":
        return tuple(_unpack(item, tensors) for item in body)
    return tensors[body] if kind == "tensor" else tensors[body].numpy()


class Interrupted(BaseException):
    """The user has asked the run to stop, and its state is saved."""


class CheckpointStore(Checkpoint):
    """Saves of one name below the run's ``checkpoints``, with ledger, counters and random states.

    Raises:
        ValueError: the name has other characters than letters, digits, - and _.
    """

    COST_SHARE = 30
    """Least time between two saves, in multiples of the time that the last one took."""

    def __init__(self, lab: BenchLab, name: str) -> None:
        if not name or not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"checkpoint name {name!r}: letters, digits, - and _")
        self.name = f"trial-{lab.trial}/{name}" if lab.trial else name
        self.folder = lab.folder / "checkpoints" / self.name
        self._lab, self._saved_at, self._took = lab, time.monotonic(), 0.0

    def due(self) -> bool:
        wait = max(self._lab.checkpoint_seconds, self.COST_SHARE * self._took)
        return self._lab.stopping or time.monotonic() - self._saved_at >= wait

    def save(self, state: State) -> None:
        began = time.monotonic()
        with self._lab.ledger.clock.pause("checkpoint"):
            journal = self._lab.journal
            announce = partial(journal.saving, self.name)
            save(self.folder, {"method": state, "harness": self._lab.snapshot()}, announce)
        self._saved_at = time.monotonic()
        self._took = self._saved_at - began
        self._lab.unsaved = False
        if self._lab.stopping:
            raise Interrupted

    def load(self) -> State | None:
        with self._lab.ledger.clock.pause("checkpoint"):
            saved = load(self.folder, self._lab.say, self._known)
            if saved is None:
                return None
            self._lab.restore(saved["harness"])
        self._saved_at = time.monotonic()
        method: State = saved["method"]
        return method

    def _known(self, digest: str) -> bool:
        """Return whether a session of this run announced a save.

        Raises:
            ContractViolationError: the state that it restores is of before charges of this session.
        """
        answer = self._lab.journal.loading(self.name, digest)
        if answer not in (RESTORED, UNKNOWN):
            raise ContractViolationError(f"lab.checkpoint('{self.name}').load(): {answer}")
        return answer == RESTORED


def random_states(device: str) -> State:
    """Return the states of all global random generators, which a method should not use, but may."""
    states = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state()} if device == "cuda" else {})


def set_random_states(states: State) -> None:
    """Set the states that ``random_states`` returned."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
