"""Archives of runs: what travels arrives, and a hostile or interrupted one changes nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from benchmarks.api import UsageError
from benchmarks.cli import main
from benchmarks.records import store
from benchmarks.records.spec import spec_id
from benchmarks.runs import archive
from benchmarks.runs.execution import exclusive
from benchmarks.runs.plan import Folders
from benchmarks.runs.run_limits import limits_path, run_limits
from benchmarks.runs.task_context import TaskContext
from tests.fake_records import fake


def results(root: Path) -> Folders:
    """A suite with a finished run, a failed record set aside, and a run that has only begun."""
    folders = Folders(root, "mt", "small")
    record = fake(seed=1, tier="small")
    path = store.write(folders.store, record)
    path.with_name(f"{path.stem}.failed-1.json").write_text(path.read_text())
    for seed in (1, 2):
        spec = fake(seed=seed, tier="small")["spec"]
        run = folders.runs / spec_id(spec)
        (run / "candidates/00").mkdir(parents=True)
        (run / "spec.json").write_text(json.dumps(spec))
        (run / "candidates/00/model.safetensors").write_bytes(os.urandom(3000))
        (run / "heartbeat.json").write_text("{}")
        (run / "lock").touch()
        limits_path(run).write_text(json.dumps({"limits": [[0.5, 2.0 + seed]], "reference_ms": 4.0}))
    (folders.runs / "reference-mt.json").write_text("{}")
    (folders.home / "table.md").write_text("a table")
    return folders


def tree(home: Path) -> dict[str, bytes]:
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def test_only_packed_files_arrive(tmp_path, capsys):
    folders, out = results(tmp_path / "here"), tmp_path / "a.tar"
    assert (
        main.main(["pack", "mt", "--tier", "small", "--results", str(tmp_path / "here"), "--to", str(out)])
        == 0
    )
    assert "2 records, files of 2 runs" in capsys.readouterr().out
    for _ in range(2):  # the second finds all of it in place
        assert main.main(["unpack", str(out), "--results", str(tmp_path / "there")]) == 0
    here, there = tree(folders.home), tree(tmp_path / "there/mt-small")
    assert {k: v for k, v in here.items() if not k.startswith(("table", "runs/reference"))} == there
    assert store.load_all(tmp_path / "there/mt-small/records") == store.load_all(folders.store)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tar"] == ["a.tar"]


def test_a_run_goes_on_elsewhere_under_the_limits_that_it_began_with(tmp_path):
    folders, there = results(tmp_path / "here"), Folders(tmp_path / "there", "mt", "small")
    alone = limits_path(folders.runs / ("e" * 16))
    alone.write_text("{}")  # of a run that is not there
    archive.pack(folders, tmp_path / "a.tar")
    archive.unpack(tmp_path / "a.tar", tmp_path / "there")
    assert not (there.runs / alone.name).exists()
    unlike: Any = TaskContext(None, None, None, ((0.5, 9.0),), 18.0)  # type: ignore[arg-type]
    for seed in (1, 2):
        context = run_limits(unlike, there.runs / spec_id(fake(seed=seed, tier="small")["spec"]))
        assert (context.limits, context.reference_ms) == (((0.5, 2.0 + seed),), 4.0)


def test_limits_come_before_their_run_and_replace_none(tmp_path, monkeypatch):
    folders, there = results(tmp_path / "here"), Folders(tmp_path / "there", "mt", "small")
    out = tmp_path / "a.tar"
    archive.pack(folders, out)
    renamed, rename = [], os.rename
    monkeypatch.setattr(os, "rename", lambda old, new: (renamed.append(new), rename(old, new)))
    archive.unpack(out, tmp_path / "there")
    for run in (path for path in there.runs.iterdir() if path.is_dir()):
        assert renamed.index(limits_path(run)) < renamed.index(run)
        limits_path(run).write_text('{"limits": [], "reference_ms": 1}')
    before = tree(there.home)
    with pytest.raises(UsageError, match=r"\.limits\.json: is there with other content"):
        archive.unpack(out, tmp_path / "there")
    assert tree(there.home) == before


def test_packing_refuses_limits_that_unpack_would_refuse(tmp_path):
    folders = results(tmp_path / "here")
    next(folders.runs.glob("*.limits.json")).write_text("{}")
    with pytest.raises(UsageError, match=r"cannot be packed: runs/.*\.limits\.json holds no latency limits"):
        archive.pack(folders, tmp_path / "a.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_packing_refuses_runs_that_unpack_would_refuse(tmp_path):
    out = tmp_path / "a.tar"
    with pytest.raises(UsageError, match="no runs to pack"):
        archive.pack(Folders(tmp_path / "none", "mt", "small"), out)
    folders = results(tmp_path / "here")
    with exclusive(folders.home), pytest.raises(UsageError, match="another supernet-bench works"):
        archive.pack(folders, out)
    run = next(path for path in folders.runs.iterdir() if path.is_dir())
    (run / "line\nbreak").touch()
    with pytest.raises(UsageError, match="not a plain name: move the file away"):
        archive.pack(folders, out)
    (run / "line\nbreak").unlink()
    os.mkfifo(run / "pipe")  # passed over
    (run / "link").symlink_to("/etc/passwd")
    assert not [path for path in archive.pack(folders, out).files if path.endswith(("pipe", "link"))]
    with pytest.raises(UsageError, match="is there already"):
        archive.pack(folders, out)
    record = next(folders.store.rglob("*.json"))
    record.write_text(record.read_text()[:-40])
    with pytest.raises(UsageError, match="cannot be packed: .*truncated"):
        archive.pack(folders, tmp_path / "b.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "here"]


def test_other_content_in_the_place_of_a_run_is_never_overwritten(tmp_path):
    folders, out = results(tmp_path / "here"), tmp_path / "a.tar"
    archive.pack(folders, out)
    weights = sorted(folders.runs.rglob("*.safetensors"))[-1]
    weights.write_bytes(b"others")
    before = tree(folders.home)
    removed = sorted(folders.runs.rglob("*.safetensors"))[0].parents[2]
    for path in sorted(removed.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    removed.rmdir()
    with pytest.raises(UsageError, match="this run was begun here too, and differs"):
        archive.unpack(out, tmp_path / "here")
    assert not removed.exists()  # it was checked before anything was moved
    weights.write_bytes(before[weights.relative_to(folders.home).as_posix()])
    assert not list(folders.home.glob(".unpack-*"))


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info.tobuf(tarfile.USTAR_FORMAT) + data + b"\0" * (-len(data) % 512)


def packed(held: dict[str, bytes], **changes: Any) -> bytes:
    listed = {name: {"size": len(data), "sha256": sha256(data).hexdigest()} for name, data in held.items()}
    manifest = {"format": 1, "suite": "mt", "tier": "small", "files": listed} | changes
    data = member("manifest.json", json.dumps(manifest).encode())
    return data + b"".join(member(name, data) for name, data in held.items())


def limited(limits: bytes) -> bytes:
    """An archive of a run that has only begun, with these limits."""
    spec = fake(tier="small")["spec"]
    run = f"runs/{spec_id(spec)}"
    return packed({f"{run}.limits.json": limits, f"{run}/spec.json": json.dumps(spec).encode()})


RUN = "runs/" + "a" * 16
LONG = {"size": 5, "sha256": "0" * 64}
HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no archive": lambda: b"x" * 4096,
    "another first file": lambda: member("records/a/b/c.json"),
    "a manifest of nested brackets": lambda: member("manifest.json", b"[" * 200_000),
    "a manifest that is no table": lambda: member("manifest.json", b"[1]"),
    "a manifest too large": lambda: member("manifest.json", b" " * (archive.LARGEST_MANIFEST + 1)),
    "another format": lambda: packed({}, format=2),
    "a suite that climbs": lambda: packed({}, suite=".."),
    "a suite with a slash": lambda: packed({}, suite="a/b"),
    "a path that climbs": lambda: packed({"runs/../../../x": b"1"}),
    "an absolute path": lambda: packed({"/tmp/evil": b"1"}),
    "a hidden file": lambda: packed({f"{RUN}/.bashrc": b"1"}),
    "a file outside of runs": lambda: packed({"site/a/index.html": b"1"}),
    "two names in one": lambda: packed({f"{RUN}/a": b"1", f"{RUN}/A": b"1"}),
    "a file below a file": lambda: packed({f"{RUN}/a": b"1", f"{RUN}/a/b": b"1"}),
    "a lock": lambda: packed({f"{RUN}/lock": b"1"}),
    "a name of control characters": lambda: packed({f"{RUN}/\x1b[31m": b"1"}),
    "a run of another name": lambda: packed({f"{RUN}/spec.json": b'{"a": 1}'}),
    "a run whose spec nests": lambda: packed({f"{RUN}/spec.json": b"[" * 100_000}),
    "a record that is none": lambda: packed({f"records/a/b/c/{'a' * 16}.json": b"{}"}),
    "limits of no run": lambda: packed({f"{RUN}.limits.json": b'{"limits": [], "reference_ms": 1}'}),
    "limits of another end": lambda: packed({f"{RUN}.limits.json.sh": b"1"}),
    "limits in capitals": lambda: packed({f"runs/{'A' * 16}.limits.json": b"1"}),
    "a folder of limits": lambda: packed({f"{RUN}.limits.json/a": b"1"}),
    "a file beside runs": lambda: packed({"runs/reference-mt.json": b"{}"}),
    "limits that are no table": lambda: limited(b"[1]"),
    "limits that are empty": lambda: limited(b"{}"),
    "limits that nest": lambda: limited(b"[" * 100_000),
    "limits of three": lambda: limited(b'{"limits": [[1, 2, 3]], "reference_ms": 1}'),
    "limits of texts": lambda: limited(b'{"limits": [["a", "b"]], "reference_ms": 1}'),
    "limits without an end": lambda: limited(b'{"limits": [[0.5, Infinity]], "reference_ms": 1}'),
    "limits that are no number": lambda: limited(b'{"limits": [[0.5, NaN]], "reference_ms": 1}'),
    "limits below zero": lambda: limited(b'{"limits": [[0.5, -1]], "reference_ms": 1}'),
    "a reference without latency": lambda: limited(b'{"limits": [], "reference_ms": 0}'),
    "a reference of many digits": lambda: limited(b'{"limits": [], "reference_ms": 1%s}' % (b"0" * 400)),
    "a symbolic link": lambda: (
        packed({}, files={f"{RUN}/a": LONG}) + member(f"{RUN}/a", kind=tarfile.SYMTYPE, link="/etc/passwd")
    ),
    "a device": lambda: packed({}, files={f"{RUN}/a": LONG}) + member(f"{RUN}/a", kind=tarfile.CHRTYPE),
    "a long name of GNU": lambda: (
        packed({}, files={f"{RUN}/a": LONG}) + member("././@LongLink", b"x" * 600, tarfile.GNUTYPE_LONGNAME)
    ),
    "another size": lambda: packed({}, files={f"{RUN}/a": LONG}) + member(f"{RUN}/a", b"1234567"),
    "a size below zero": lambda: packed({}, files={f"{RUN}/a": {"size": -1, "sha256": "0" * 64}}),
    "an infinite size": lambda: packed({}, files={f"{RUN}/a": {"size": float("inf"), "sha256": "0" * 64}}),
    "more bytes than it has": lambda: packed({}, files={f"{RUN}/a": {"size": 10**15, "sha256": "0" * 64}}),
    "other content": lambda: packed({}, files={f"{RUN}/a": LONG}) + member(f"{RUN}/a", b"12345"),
    "truncated": lambda: packed({f"{RUN}/a": b"1" * 5000})[:-4000],
    "a file twice": lambda: (
        packed({f"{RUN}/a": b"1"}, files={f"{RUN}/a": LONG, f"{RUN}/b": LONG}) + member(f"{RUN}/a", b"1")
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(name, tmp_path, capsys):
    path = tmp_path / "a.tar"
    path.write_bytes(HOSTILE[name]())
    assert main.main(["unpack", str(path), "--results", str(tmp_path / "there")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said and "\x1b" not in said
    assert [p.name for p in (tmp_path / "there").rglob("*") if p.name != "lock"] in ([], ["mt-small"])
    assert sorted(p.name for p in tmp_path.iterdir()) in (["a.tar"], ["a.tar", "there"])


def test_limits_of_a_run_without_targets_are_unpacked(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(limited(b'{"limits": [], "reference_ms": 1.5}'))
    contents, folders = archive.unpack(path, tmp_path / "there")
    assert [f"{run}.limits.json" for run in contents.runs] == [p.name for p in folders.runs.glob("*.json")]


def test_unpack_refuses_all_but_files(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "none"):
        assert main.main(["unpack", str(path), "--results", str(tmp_path / "there")]) == 2
        assert "Traceback" not in capsys.readouterr().err


def test_an_unpack_that_was_killed_is_finished_by_the_same_command(tmp_path, monkeypatch):
    folders, out = results(tmp_path / "here"), tmp_path / "a.tar"
    archive.pack(folders, out)
    renamed, rename = [], os.rename

    def dying(source: Any, target: Any) -> None:
        if len(renamed) == 2:
            raise KeyboardInterrupt
        renamed.append(target)
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", dying)
        with pytest.raises(KeyboardInterrupt):
            archive.unpack(out, tmp_path / "there")
    (tmp_path / "there/mt-small/.unpack-killed").mkdir()  # as SIGKILL leaves it
    archive.unpack(out, tmp_path / "there")
    assert set(tree(tmp_path / "there/mt-small")) == set(archive.pack(folders, tmp_path / "b.tar").files)


def test_packing_twice_gives_the_same_bytes(tmp_path):
    folders = results(tmp_path / "here")
    archive.pack(folders, tmp_path / "a.tar")
    archive.pack(folders, tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert (
        tarfile.open(fileobj=io.BytesIO((tmp_path / "a.tar").read_bytes())).getnames()[0] == "manifest.json"
    )


def test_unpacking_loads_no_torch(tmp_path):
    code = "import sys, benchmarks.runs.archive; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
