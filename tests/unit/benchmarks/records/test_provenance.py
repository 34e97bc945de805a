from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.records import provenance
from benchmarks.records.provenance import COMMIT_VARIABLE, source_state
from benchmarks.records.text import without_folders


@pytest.fixture(autouse=True)
def no_commit_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COMMIT_VARIABLE, raising=False)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.py").write_text("a = 1\n")
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def test_provenance_has_the_commit_and_the_differences_from_it(checkout: Path) -> None:
    commit, dirty = source_state(checkout)
    assert commit == git(checkout, "rev-parse", "HEAD")
    assert dirty is None
    (checkout / "x.log").write_text("ignored")
    (checkout / "results").mkdir()
    (checkout / "results" / "r.json").write_text("made by the code")
    assert source_state(checkout) == (commit, None)

    (checkout / "a.py").write_text("a = 2\n")
    _, changed = source_state(checkout)
    (checkout / "new.py").write_text("b = 1\n")
    _, added = source_state(checkout)
    (checkout / "new.py").write_text("b = 2\n")
    _, other = source_state(checkout)
    git(checkout, "add", "new.py")
    _, staged = source_state(checkout)
    assert len({changed, added, other, staged, None}) == 5
    assert source_state(checkout) == (commit, staged)
    assert all(len(d or "") == 64 for d in (changed, added, other, staged))


def test_a_large_untracked_file_counts_by_name_and_size(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "LARGEST_HASHED", 3)
    (checkout / "large").write_text("12345")
    one = source_state(checkout)
    (checkout / "large").write_text("54321")
    assert source_state(checkout) == one
    (checkout / "large").write_text("123456")
    assert source_state(checkout) != one


def test_a_checkout_without_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("a")
    commit, dirty = source_state(tmp_path)
    assert commit is None and dirty is not None


def test_outside_a_checkout_and_inside_anothers(tmp_path: Path, checkout: Path) -> None:
    assert source_state(tmp_path) == (None, None)
    inner = checkout / "env" / "site-packages"
    inner.mkdir(parents=True)
    assert source_state(inner) == (None, None)


def test_without_git_there_is_no_source_state(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert source_state(checkout) == (None, None)


def test_a_commit_that_is_given_is_recorded_as_given(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMIT_VARIABLE, "abc123+local")
    assert source_state(checkout) == ("abc123+local", None)


def test_paths_of_the_users_machine_are_left_out() -> None:
    command = [
        "/home/ann/bin/supernet-bench",
        "run",
        "mt",
        "--data-dir",
        "/home/ann/data/",
        "--results=/tmp/ann/out",
        "--methods",
        "../mine.py:Mine,hat",
        "--option",
        "hat.share=0.5",
        "/home/ann/mine.py:Mine",
        "~/x/y.json",
        "/home/ann/a.py:A,/home/ann/b.py:B",
        "mine.file=/home/ann/c",
        "https://example.org/x/y",
    ]
    said = without_folders(command)
    assert said == [
        "supernet-bench",
        "run",
        "mt",
        "--data-dir",
        "data",
        "--results=out",
        "--methods",
        "mine.py:Mine,hat",
        "--option",
        "hat.share=0.5",
        "mine.py:Mine",
        "y.json",
        "a.py:A,b.py:B",
        "mine.file=c",
        "https://example.org/x/y",
    ]
    assert "ann" not in " ".join(said)


def test_provenance_is_plain_json_and_names_no_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    found = provenance.provenance(data={"d": "0" * 64}, command=["a/b"], started="s", ended="e")
    text = json.dumps(found)
    assert json.loads(text) == found
    assert "hunter2" not in text and str(Path.home()) not in text
    assert found["env"]["OMP_NUM_THREADS"] == "1"
    assert found["command"] == ["b"] and found["started"] == "s" and found["ended"] == "e"
    assert found["versions"]["python"].startswith("3.")
    assert {"torch", "numpy"} <= set(found["versions"])
    assert set(found) == {
        "commit",
        "dirty_sha256",
        "versions",
        "data",
        "machine",
        "command",
        "env",
        "started",
        "ended",
    }


def test_the_fingerprint_is_stable_and_about_hardware_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first = provenance.machine()
    assert provenance.machine() == first
    monkeypatch.setattr(provenance.platform, "release", lambda: "another kernel")
    other = provenance.machine()
    assert other["fingerprint"] == first["fingerprint"] and other["kernel"] == "another kernel"
    more = {**provenance.probe(), "cpus": 99}
    monkeypatch.setattr(provenance, "probe", lambda: more)
    assert provenance.machine()["fingerprint"] != first["fingerprint"]


def test_versions_leave_out_absent_packages() -> None:
    assert set(provenance.versions(["numpy", "no-such-package-here"])) == {"python", "numpy"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder to another owner")
def test_a_checkout_of_another_owner_keeps_its_commit(checkout: Path) -> None:
    commit, dirty = provenance.source_state(checkout)
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    assert commit and provenance.source_state(checkout) == (commit, dirty)
