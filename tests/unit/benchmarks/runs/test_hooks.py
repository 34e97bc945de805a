"""Hooks see events, and can do nothing to a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.api import UsageError
from benchmarks.runs import hooks
from benchmarks.runs.hooks import Hooks

RUN = SimpleNamespace(
    spec=SimpleNamespace(id="a" * 16, task="t", method="hat", seed=1, options={}, profile="undeclared"),
    state="done",
    record={
        "candidates": [
            {"limit_share": 0.5, "latency": {"ratio": 0.4}, "test": {"pooled": {"bleu": {"value": 3.0}}}}
        ]
    },
)
CODE = """
import json, os, time
class Good:
    def __init__(self): self.file = open(os.environ["HOOK_OUT"], "a")
    def handle(self, event): self.file.write(json.dumps(event) + "\\n"); self.file.flush()
class Bad(Good):
    def handle(self, event): super().handle(event); raise ValueError("bad")
class Stuck:
    def handle(self, event): time.sleep(3600)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_hooks.py").write_text(CODE)
    about = tmp_path / "own_hooks-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-hooks\nVersion: 1.0\n")
    lines = "".join(f"{name.lower()} = own_hooks:{name}\n" for name in ("Good", "Bad", "Stuck"))
    (about / "entry_points.txt").write_text(f"[{hooks.GROUP}]\n{lines}")
    root = str(Path(hooks.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), root]))
    monkeypatch.setenv("HOOK_OUT", str(tmp_path / "out"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "out"


def test_hooks_that_fail_see_every_event_all_the_same(installed: Path):
    hooks.require(["good", "bad"])
    with Hooks(["good", "bad"]) as both:
        beat = {"phase": "supernet", "progress": [1, 4, ""], "ledger": {"share": {"tokens": 0.2}}}
        both.update(RUN, "search", beat)
        both.update(RUN, "search", beat)  # of the same phase, too soon
        both.finish(RUN, "done")
    events = [json.loads(line) for line in installed.read_text().splitlines()]
    assert sorted(event["event"] for event in events) == ["end", "end", "progress", "progress"]
    (end, _) = [event for event in events if event["event"] == "end"]
    assert end["results"] == [{"target": 0.5, "ratio": 0.4, "bleu": 3.0}] and end["run"]["method"] == "hat"


@pytest.mark.timeout(120)  # a pipe that is waited for would block for ever
def test_a_hook_that_is_stuck_or_dead_blocks_nothing(installed: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hooks, "CLOSE_S", 0.2)
    with Hooks(["stuck", "good"]) as both:
        both._processes[1].kill()
        both._processes[1].wait()
        for _ in range(2000):
            both.finish(RUN, "x" * 1000)


def test_a_name_that_is_not_installed(installed: Path):
    with pytest.raises(UsageError, match="Did you mean 'good'"):
        hooks.require(["goood"])
    with Hooks([]) as none:
        none.update(RUN, "search", {})
        none.finish(RUN, "")
