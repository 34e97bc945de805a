"""A plug-in task whose code or data changed is run again: its old figures are never served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records import store
from tests.fake_records import fake

TASK = """
from tiny_task import Tiny
from corpus_reader import read

class Stale(Tiny):
    name, suite = "stale-repeat", "stale"

    def prepare(self, tier, cache, data_dir, progress):
        from dataclasses import replace
        found = super().prepare(tier, cache, data_dir, progress)
        (cache / "seen").touch()
        return replace(found, digests=read(data_dir))

stale = Stale()
"""
READER = '''
import hashlib

def read(data_dir):
    """Checksums of what was read."""
    return {"corpus": hashlib.sha256((data_dir / "corpus.txt").read_bytes()).hexdigest()}
'''


@pytest.fixture
def plugin(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a task ``stale-repeat`` and its reader, with its data in ``data``."""
    folder = tmp_path / "plugin"
    about = folder / "stale-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stale\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[supernet_bench.tasks]\nstale-repeat = stale_task:stale\n")
    (folder / "stale_task.py").write_text(TASK)
    (folder / "corpus_reader.py").write_text(READER)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "corpus.txt").write_text("one two\n")
    monkeypatch.setitem(environment, "PYTHONPATH", f"{folder}:{environment['PYTHONPATH']}")
    return folder


@pytest.fixture
def planned(bench: Callable[..., Any], plugin: Path) -> Callable[[], dict[str, Any]]:
    def ask() -> dict[str, Any]:
        words = ("--methods", "tiny-good", "--profile", "undeclared", "--data-dir", "data", "--json")
        done = bench("plan", "stale", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["runs"][0]

    return ask


def finish(run: dict[str, Any], tmp_path: Path) -> None:
    record = fake(spec=run["spec"], limits=(0.5,))
    store.write(tmp_path / "results" / "local" / "stale-smoke" / "records", record)


def test_a_changed_reader_task_or_corpus_is_run_again(
    planned: Callable[[], dict[str, Any]], plugin: Path, tmp_path: Path
):
    changes: dict[str, tuple[Path, Callable[[str], str]]] = {
        "reader": (
            plugin / "corpus_reader.py",
            lambda text: text.replace("bytes()", "bytes()[:-1]"),
        ),
        "task": (plugin / "stale_task.py", lambda text: text + "changed = 1\n"),
        "data": (tmp_path / "data" / "corpus.txt", lambda text: text + "three\n"),
    }
    ids = set()
    for what, (file, change) in changes.items():
        first = planned()
        ids.add(first["id"])
        finish(first, tmp_path)
        assert planned()["state"] == "done"
        file.write_text(change(file.read_text()))
        now = planned()
        assert now["state"] == "new", what
        assert now["id"] not in ids, what
    # Words about the code change nothing, and the same data are the same run.
    finish(planned(), tmp_path)
    reader = plugin / "corpus_reader.py"
    reader.write_text(reader.read_text().replace("Checksums of what", "The checksums of all that"))
    assert planned()["state"] == "done"


def test_a_plugin_has_a_cache_for_each_version_of_its_code(
    planned: Callable[[], dict[str, Any]], plugin: Path, tmp_path: Path
):
    planned()
    (plugin / "corpus_reader.py").write_text(READER + "changed = 1\n")
    planned()
    caches = sorted((tmp_path / "results" / "local" / "cache").rglob("seen"))
    assert len(caches) == 2
