"""The measurements of robustness themselves: what a reader must not do is noticed, and inputs repeat."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.api import UsageError
from supernet.interop.pickle_reader import UnsafePickleError
from tests import ROOT
from tests.robustness import figures, fuzz, mutations
from tests.robustness.readers import KINDS, Kind

MEASURED = ROOT / "results/robustness.json"


def kind(read: Callable[[Path, Path], object]) -> Kind:
    return Kind("made up", 1, lambda _: [{"a.txt": b"a sound file"}], lambda rng, files, _: files, read)


def write_outside(folder: Path, out: Path) -> None:
    (folder.parent.parent / "outside").write_text("x")


def move_outside(folder: Path, out: Path) -> None:
    (out / "x").write_text("x")
    (out / "x").rename(folder.parent.parent / "outside")


def remove_beside(folder: Path, out: Path) -> None:
    beside = os.open(folder, os.O_RDONLY)
    os.remove("a.txt", dir_fd=beside)


def remove_own(folder: Path, out: Path) -> None:
    (out / "some" / "folders").mkdir(parents=True)
    (out / "some" / "file").write_text("x")
    (out / "some" / "file").chmod(0o600)
    shutil.rmtree(out / "some")  # by descriptors of its folders


def start_program(folder: Path, out: Path) -> None:
    os.system("true")


def execute(folder: Path, out: Path) -> None:
    exec(compile("1", str(folder / "a.txt"), "exec"))


def hang(folder: Path, out: Path) -> None:
    while True:
        pass


def grow(folder: Path, out: Path) -> None:
    bytearray(b"x") * ((fuzz.LIMIT_MIB + 64) * 2**20)


def crash(folder: Path, out: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stumble(folder: Path, out: Path) -> None:
    {}["no such key"]


@pytest.mark.parametrize(
    ("read", "noticed"),
    [
        (write_outside, "wrote .*outside"),
        (move_outside, "os.rename .*outside"),
        (remove_beside, "os.remove a.txt"),
        (start_program, "os.system"),
        (execute, "executed .*a.txt"),
        (hang, "hangs above"),
        (grow, "memory above 64 MiB"),
        (crash, "killed by SIGKILL"),
        (stumble, "KeyError at tests/unit/test_robustness.py"),
    ],
)
def test_hanging_and_bloated_readers_are_noticed(read, noticed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fuzz, "LIMIT_S", 1.0)
    monkeypatch.setattr(fuzz, "LIMIT_MIB", 64)

    def second(folder: Path, out: Path, calls: list[int] = []) -> None:  # noqa: B006
        calls.append(1)
        if len(calls) > 1:  # the first call is of the sound file, before the limits hold
            read(folder, out)

    result = fuzz.campaign(kind(second), 1, 1)
    assert result.inputs == 1 and any(re.match(noticed, fault) for fault in result.faults), result.faults


def test_memory_that_the_parent_keeps_hides_no_growth() -> None:
    """A process that reuses freed memory has room for what a reader takes: it was missed twice in CI."""
    code = (
        "from supernet import allocator\n"
        "from tests.robustness import fuzz\n"
        "from tests.unit.test_robustness import grow, kind\n"
        "allocator.keep_freed()\n"
        "freed = bytearray(b'x') * (512 * 2**20)\n"
        "del freed\n"
        "fuzz.LIMIT_MIB, calls = 64, []\n"
        "def read(folder, out):\n"
        "    calls.append(1)\n"
        "    grow(folder, out) if len(calls) > 1 else None\n"
        "print(list(fuzz.campaign(kind(read), 1, 1).faults))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ran.stdout.strip() == "['memory above 64 MiB']"


def test_files_of_its_own_are_a_readers_to_remove():
    result = fuzz.campaign(kind(remove_own), 2, 1)
    assert (result.inputs, result.faults) == (2, {})


def test_refusals_and_reading_are_no_faults():
    def refuse(folder: Path, out: Path) -> None:
        (out / "work").write_text((folder / "a.txt").read_text())
        raise UsageError("no")

    result = fuzz.campaign(kind(refuse), 5, 1)
    assert (result.inputs, result.refused, result.faults) == (5, 5, {})


def test_inputs_repeat_and_differ():
    examples: list[Any] = [{"a": b"some bytes that change", "b": b"more"}]
    changing = Kind("bytes", 1, lambda _: examples, KINDS[-1].mutate, lambda *_: None)
    first, again = ([fuzz.draw(changing, examples, 1, n) for n in range(50)] for _ in range(2))
    assert first == again and len({str(files) for files in first}) > 40


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_begins_with_sound_files(kind: Kind, tmp_path: Path):
    """Changed copies of files that are refused as they are would test their refusal alone."""
    hostile = []
    for number, files in enumerate(kind.examples(tmp_path.resolve())):
        folder, out = tmp_path / f"{number}" / "in", tmp_path / f"{number}" / "out"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        out.mkdir()
        try:
            kind.read(folder, out)
        except UnsafePickleError:
            hostile.append(*files)
    assert hostile == (["hat.pt"] if kind.name == "checkpoints" else [])


def test_mutated_trees_are_json():
    rng = random.Random(1)
    tree = {"a": [1, 2.5, {"b": None}], "c": "text"}
    for _ in range(200):
        text = mutations.to_json(rng, mutations.mutate_tree(rng, tree))
        assert isinstance(text, bytes) and text


def test_figures_stand_beside_one_another(tmp_path: Path):
    figures.store(tmp_path / "r.json", "fuzz", {"inputs": 1})
    figures.store(tmp_path / "r.json", "crash", {"kills": {}})
    assert set(json.loads((tmp_path / "r.json").read_text())) == {"fuzz", "crash"}


def test_published_figures_have_no_fault_and_are_those_of_the_docs():
    measured = json.loads(MEASURED.read_text())
    crash, fuzzed = measured["crash"], measured["fuzz"]
    assert not any(crash[name] for name in ("differing", "tracebacks", "survivors", "hanging"))
    assert crash["total_kills"] == sum(crash["kills"].values())
    assert fuzzed["inputs"] == sum(part["inputs"] for part in fuzzed["kinds"].values())
    assert {name for name, part in fuzzed["kinds"].items() if part["faults"]} == set()
    text = (ROOT / "docs/integrity.md").read_text()
    assert f"{crash['total_kills']} disturbances" in text and f"{crash['records']} final records" in text
    assert f"{fuzzed['inputs']:,} mutated files" in text
    for name, part in fuzzed["kinds"].items():
        assert f"| {name} | {part['inputs']:,} |" in text, name
