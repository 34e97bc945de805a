"""Data by checksum: every way in which it can be wrong ends in one message that says what to do."""

import functools
import gzip
import hashlib
import http.server
import random
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.tasks import datasets as data
from benchmarks.tasks.datasets import DataFile, Dataset, build, datasets, fetch, locate, read_lines

CONTENT = {"a.gz": gzip.compress(b"one\ntwo\n", mtime=0), "b.bin": random.Random(1).randbytes(200_000)}


def declared(url: str | None = None) -> Dataset:
    files = {name: DataFile(hashlib.sha256(body).hexdigest(), len(body)) for name, body in CONTENT.items()}
    return Dataset("little", files, url, 1 << 20, "from nowhere in particular")


def quiet(_line: str) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "little").mkdir()
    for name, body in CONTENT.items():
        (tmp_path / "little" / name).write_bytes(body)
    return tmp_path


def test_the_declared_data_is_the_published_one(data_dir: Path) -> None:
    manifest = dict(
        reversed(line.split())
        for line in (data_dir / "MANIFEST.sha256").read_text().splitlines()
        if line.strip()
    )
    for dataset in datasets().values():
        for name, digest in dataset.digests().items():
            assert manifest[f"./{name}"] == digest
        assert set(locate(dataset, data_dir, quiet)) == set(dataset.files)
        folder = data_dir / dataset.name
        assert set(dataset.files) <= {p.relative_to(folder).as_posix() for p in folder.rglob("*")}


def test_locate_returns_intact_files(folder: Path) -> None:
    assert locate(declared(), folder, quiet) == {name: folder / "little" / name for name in CONTENT}


def test_locate_refuses_wrong_files(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(UsageError, match=r"no folder .*little.*\n--data-dir names the folder above little/"):
        locate(declared(), empty, quiet)
    with pytest.raises(UsageError, match=re.escape(f"--data-dir '{folder}'")):
        locate(declared(), folder / "little", quiet)
    body = CONTENT["b.bin"]
    path = folder / "little" / "b.bin"
    path.write_bytes(body[:1000])
    with pytest.raises(
        UsageError, match=r"b.bin' is cut short: expected 200,000 bytes, found 1,000\n.*curl -L -o"
    ):
        locate(declared("https://example.org/x"), folder, quiet)
    path.write_bytes(body + b"!")
    with pytest.raises(UsageError, match="too long: expected 200,000 bytes, found 200,001"):
        locate(declared(), folder, quiet)
    path.write_bytes(b"?" + body[1:])
    with pytest.raises(
        UsageError, match="altered: expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}\n.*nowhere"
    ):
        locate(declared(), folder, quiet)
    path.unlink()
    with pytest.raises(UsageError, match="b.bin' is missing: expected 200,000 bytes with sha256"):
        locate(declared(), folder, quiet)


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder with ranges; ``cut`` breaks the first answers off after so many bytes."""

    cut: list[int] = []
    asked: list[str | None] = []

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        asked = self.headers.get("Range")
        self.asked.append(asked)
        if not path.is_file():
            self.send_error(404)
            return
        body, start = path.read_bytes(), int(asked[6:-1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : start + self.cut.pop()] if self.cut else body[start:])
        self.close_connection = True

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(data.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(Server, "cut", [])
    monkeypatch.setattr(Server, "asked", [])
    serving = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Server, directory=str(folder / "little"))
    )
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    thread.join()
    serving.server_close()


def test_fetch_reports_its_steps_and_downloads_once(server: str, tmp_path: Path) -> None:
    said: list[str] = []
    target = tmp_path / "got"
    found = fetch(declared(server), target, said.append)
    assert {name: path.read_bytes() for name, path in found.items()} == CONTENT
    assert said == [
        "fetching little/a.gz (28 bytes, 1 of 2)",
        "fetching little/b.bin (200,000 bytes, 2 of 2)",
    ]
    assert fetch(declared(None), target, said.append) == found
    assert len(said) == len(Server.asked) == 2


def test_fetch_goes_on_where_it_broke_off(server: str, tmp_path: Path) -> None:
    Server.cut[:] = [50_000, 28]  # popped from the end: a.gz whole, then b.bin broken off
    found = fetch(declared(server), tmp_path / "got", quiet)
    assert found["b.bin"].read_bytes() == CONTENT["b.bin"]
    assert Server.asked == [None, None, "bytes=50000-"]
    # and after the process was killed in between
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "b.bin.part").write_bytes(CONTENT["b.bin"][:70_000])
    fetch(declared(server), tmp_path / "again", quiet)
    assert Server.asked[-1] == "bytes=70000-"
    assert not list((tmp_path / "again").glob("*.part"))


def test_fetch_refuses_other_bytes(server: str, folder: Path, tmp_path: Path) -> None:
    (folder / "little" / "b.bin").write_bytes(b"?" * 200_000)
    with pytest.raises(
        UsageError, match=r"could not fetch http://.*/b.bin: .*altered.*\n.*--data-dir FOLDER"
    ):
        fetch(declared(server), tmp_path / "got", quiet)
    (folder / "little" / "b.bin").write_bytes(b"?" * 5_000_000)
    with pytest.raises(UsageError, match="too long: expected 200,000 bytes, found 200,001"):
        fetch(declared(server), tmp_path / "got", quiet)
    assert not (tmp_path / "got" / "b.bin").exists()


def test_fetch_without_a_way_there(server: str, folder: Path, tmp_path: Path) -> None:
    (folder / "little" / "a.gz").unlink()
    with pytest.raises(UsageError, match=r"could not fetch .*a.gz: (Not Found|.*404)"):
        fetch(declared(server), tmp_path / "got", quiet)
    with pytest.raises(UsageError, match=r"could not fetch http://127.0.0.1:9/a.gz: .*\n.*--data-dir FOLDER"):
        fetch(declared("http://127.0.0.1:9"), tmp_path / "got", quiet)
    with pytest.raises(
        UsageError, match=r"cannot be fetched by checksum: from nowhere.*\n.*--data-dir FOLDER"
    ):
        fetch(declared(None), tmp_path / "got", quiet)


def test_fetch_from_a_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "b.bin.part").write_bytes(b"a file:// address knows no ranges")
    found = fetch(declared((folder / "little").as_uri()), tmp_path / "got", quiet)
    assert found["b.bin"].read_bytes() == CONTENT["b.bin"]


def test_without_data_dir_the_cache_is_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = locate(declared((folder / "little").as_uri()), None, quiet)
    assert found["a.gz"] == tmp_path / "cache" / "supernet-bench" / "data" / "little" / "a.gz"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.cache_folder() == tmp_path / ".cache" / "supernet-bench"


def test_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress("a\u2028b\x0c\r\n\nç\n".encode()))
    assert read_lines(path, 1000) == ["a\u2028b\x0c", "", "ç"]
    path.write_bytes(gzip.compress(b"no newline at the end"))
    assert read_lines(path, 1000) == ["no newline at the end"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (gzip.compress(b"\0" * 10_000_000, mtime=0), "unpacks to more than the 1,000,000 bytes allowed"),
        (gzip.compress(b"cut" * 1000, mtime=0)[:-9], "is not packed UTF-8 text"),
        (b"plain text", "is not packed UTF-8 text"),
        (b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 50, "is not packed UTF-8 text"),
        (gzip.compress("Größe".encode("latin-1"), mtime=0), "is not packed UTF-8 text"),
    ],
)
def test_hostile_archives_are_refused(tmp_path: Path, body: bytes, fault: str) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(body)
    with pytest.raises(UsageError, match=fault):
        read_lines(path, 1_000_000)


def test_build_makes_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "made"

    def make(fresh: Path) -> None:
        (fresh / "sub").mkdir()
        (fresh / "sub" / "one").write_text("1")

    def breaks(fresh: Path) -> None:
        make(fresh)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(target, breaks)
    assert [path.name for path in target.parent.iterdir()] == [".made.lock"]
    assert build(target, make)
    assert not build(target, breaks)
    for damage in ("2", None):
        file = target / "sub" / "one"
        file.unlink() if damage is None else file.write_text(damage)
        assert build(target, make)
        assert file.read_text() == "1"
    (target / data.MANIFEST).write_text("[]")
    assert build(target, make)


def test_two_builds_at_once_make_one(tmp_path: Path) -> None:
    made: list[Path] = []
    barrier = threading.Barrier(4)

    def make(fresh: Path) -> None:
        made.append(fresh)
        (fresh / "x").write_text("x")

    def run() -> None:
        barrier.wait()
        build(tmp_path / "made", make)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert data.intact(tmp_path / "made")


def test_declarations_are_plain(data_dir: Path) -> None:
    for dataset in datasets().values():
        for file in dataset.files.values():
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        texts = [
            name
            for name in dataset.files
            if not name.endswith((".npz", ".med.xz", "-ubyte.gz", "answers.txt"))
        ]  # images: test_vision_task, test_mosaics
        for name in texts:
            assert read_lines(data_dir / dataset.name / name, dataset.unpacked)
        small = replace(dataset, unpacked=1000)
        for name in texts[:1]:
            with pytest.raises(UsageError, match="1,000 bytes allowed"):
                read_lines(data_dir / small.name / name, small.unpacked)
