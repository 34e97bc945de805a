"""States come back as they were saved, in one piece or not at all."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.lab import checkpoints
from benchmarks.lab.checkpoints import CheckpointStore
from tests.fake_clock import FakeClock


def state() -> dict:
    flat = torch.arange(12, dtype=torch.float32)
    return {
        "flat": flat,
        "view": flat.view(3, 4)[:, 1:3],
        "half": torch.ones(3, dtype=torch.bfloat16),
        "empty": torch.empty(0),
        "scalar": torch.tensor(7),
        "array": np.arange(3, dtype=np.int32),
        "numbers": [1, 2.5, True, None, np.int64(3), np.float32(0.5)],
        "nested": {0: {"step": torch.tensor(1.0)}, "t": (1, ("a", [2]))},
        "random": np.random.default_rng(3).bit_generator.state,
    }


def test_a_checkpoint_restores_its_whole_state(tmp_path: Path):
    checkpoints.save(tmp_path / "a", state())
    found = checkpoints.load(tmp_path / "a", pytest.fail)
    expected = state()
    for name in ("flat", "view", "half", "empty", "scalar"):
        assert torch.equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype
    assert np.array_equal(found["array"], expected["array"]) and found["array"].dtype == np.int32
    assert found["numbers"] == [1, 2.5, True, None, 3, 0.5]
    assert found["nested"][0]["step"] == 1.0 and found["nested"]["t"] == (1, ("a", [2]))
    assert found["random"] == expected["random"]


def test_an_object_that_no_checkpoint_can_hold_is_named(tmp_path: Path):
    with pytest.raises(TypeError, match=r"not object \(at /a/1\)"):
        checkpoints.save(tmp_path / "a", {"a": [1, object()]})
    assert checkpoints.load(tmp_path / "a", pytest.fail) is None


def test_two_saves_are_kept(tmp_path: Path):
    for step in range(5):
        checkpoints.save(tmp_path / "a", {"step": step})
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["000003", "000004"]
    assert checkpoints.load(tmp_path / "a", pytest.fail) == {"step": 4}


@pytest.mark.parametrize("name", [checkpoints.TENSORS, checkpoints.STATE])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "empty"])
def test_a_damaged_save_is_set_aside_for_the_one_before_it(tmp_path: Path, name: str, damage: str):
    for step in range(2):
        checkpoints.save(tmp_path / "a", {"step": step, "w": torch.full((8,), float(step))})
    file = tmp_path / "a" / "000001" / name
    raw = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        flipped = raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:]
        file.write_bytes({"cut": raw[: len(raw) // 2], "flip": flipped, "empty": b""}[damage])
    said: list[str] = []
    assert checkpoints.load(tmp_path / "a", said.append)["step"] == 0
    assert len(said) == 1 and "a/000001 is damaged" in said[0] and "000001.damaged" in said[0]
    assert said[0].endswith("going on from the one before it")
    assert (tmp_path / "a" / "000001.damaged").is_dir()
    assert checkpoints.load(tmp_path / "a", pytest.fail)["step"] == 0
    (tmp_path / "a" / "000000" / name).unlink()
    assert checkpoints.load(tmp_path / "a", said.append) is None
    assert said[1].endswith("starting this phase again")


def test_an_older_damaged_save_gives_way_to_a_newer_one(tmp_path: Path):
    checkpoints.save(tmp_path / "a", {"step": 0})
    (tmp_path / "a" / "000000.damaged").mkdir()
    (tmp_path / "a" / "000000.damaged" / "old").touch()
    (tmp_path / "a" / "000000" / checkpoints.STATE).write_text("newer")
    said: list[str] = []
    assert checkpoints.load(tmp_path / "a", said.append) is None and len(said) == 1
    names = sorted(path.name for path in (tmp_path / "a" / "000000.damaged").iterdir())
    assert names == sorted([checkpoints.STATE, checkpoints.TENSORS])


def test_a_save_that_was_killed_is_no_save(tmp_path: Path):
    checkpoints.save(tmp_path / "a", {"step": 0})
    half = tmp_path / "a" / ".000001.tmp"
    half.mkdir()
    (half / checkpoints.TENSORS).write_bytes(b"half")
    assert checkpoints.load(tmp_path / "a", pytest.fail) == {"step": 0}
    checkpoints.save(tmp_path / "a", {"step": 1})
    assert checkpoints.load(tmp_path / "a", pytest.fail) == {"step": 1} and not half.exists()


def test_global_random_states_go_with_it(tmp_path: Path):
    checkpoints.save(tmp_path / "a", checkpoints.random_states("cpu"))
    expected = (random.random(), np.random.random(), torch.rand(1).item())
    checkpoints.set_random_states(checkpoints.load(tmp_path / "a", pytest.fail))
    assert (random.random(), np.random.random(), torch.rand(1).item()) == expected


class Bookless:
    """A Lab as far as an unused checkpoint looks at it."""

    trial, stopping, checkpoint_seconds = 0, False, 60.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder


def test_names_are_letters_digits_and_dashes(tmp_path: Path):
    assert CheckpointStore(Bookless(tmp_path), "super-net_2").folder == tmp_path / "checkpoints/super-net_2"
    for name in ("", "..", "a/b", "-", "a b"):
        with pytest.raises(ValueError, match="letters, digits"):
            CheckpointStore(Bookless(tmp_path), name)


def test_a_save_is_due_once_its_time_has_passed_or_the_run_is_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock, lab = FakeClock(), Bookless(tmp_path)
    clock.replace_in(monkeypatch, checkpoints)
    store = CheckpointStore(lab, "train")
    assert not store.due()
    clock.sleep(59.0)
    assert not store.due()
    clock.sleep(1.0)
    assert store.due()
    clock.sleep(-30.0)
    assert not store.due()
    lab.stopping = True
    assert store.due()
