"""Small archives with the members of the papers' data, and a server on the loopback interface."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from benchmarks.tasks.papers.downloads import Download, downloads
from tests.unit.benchmarks.tasks.folders import sentences


def tar(members: Mapping[str, str], mode: str = "w:gz") -> bytes:
    """Return an archive of texts; those named ``.gz`` are packed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, text in members.items():
            body = text.encode()
            body = gzip.compress(body, mtime=0) if name.endswith(".gz") else body
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return buffer.getvalue()


def sgml(lines: list[str]) -> str:
    """Return a test set as WMT and IWSLT have it."""
    segments = "".join(f'<seg id="{n}"> {line} </seg>\n' for n, line in enumerate(lines, 1))
    return f'<srcset setid="x">\n<doc docid="y">\n{segments}</doc>\n</srcset>\n'


def both(source: str, target: str, part: slice) -> tuple[str, str]:
    """Return some of the small pairs as two texts."""
    chosen = sentences.pairs(source, target)[part]
    return tuple(sentences.lines(pair[side] for pair in chosen) for side in (0, 1))  # type: ignore[return-value]


def bodies() -> dict[str, bytes]:
    """Return declared file -> content, of 112 pairs of a language pair spread over the corpora."""
    first, second, third = slice(0, 40), slice(40, 80), slice(80, 96)
    en, de = (sentences.lines(p[i] for p in sentences.pairs("en", "de")) for i in (0, 1))
    tsv = gzip.compress(
        "".join(f"{d}\t{e}\n" for d, e in zip(de.splitlines(), en.splitlines(), strict=True)).encode(),
        mtime=0,
    )
    units = "".join(
        f'<tu>\n<tuv xml:lang="en"><seg>{e}</seg></tuv>\n'
        f'<tuv xml:lang="de"><seg>{d} &amp; mehr</seg></tuv>\n</tu>\n'
        for d, e in zip(de.splitlines(), en.splitlines(), strict=True)
    )
    rapid = io.BytesIO()
    with zipfile.ZipFile(rapid, "w") as archive:
        archive.writestr("rapid2019.de-en.en", en)
        archive.writestr("rapid2019.de-en.de", de)
    made: dict[str, dict[str, str]] = {}
    stems = {
        "europarl-v7": "training/europarl-v7",
        "commoncrawl": "commoncrawl",
        "news-commentary-v9": "training/news-commentary-v9",
        "un": "un/undoc.2000",
    }
    for name, stem in stems.items():
        for code in ("de", "fr"):
            english, other = both("en", code, first if name == "europarl-v7" else second)
            made.setdefault(name, {})
            made[name] |= {f"{stem}.{code}-en.en": english, f"{stem}.{code}-en.{code}": other}
    dev: dict[str, str] = {}
    for name, a, b in (
        ("newstest2013", "en", "de"),
        ("newstest2014-deen", "de", "en"),
        ("newstest2014-fren", "fr", "en"),
        ("newstest2017-ende", "en", "de"),
        ("newstest2018-ende", "en", "de"),
    ):
        source, target = both(a, b, third)
        if name == "newstest2013":
            dev |= {f"dev/{name}.{a}": source, f"dev/{name}.{b}": target}
        else:
            dev[f"dev/{name}-src.{a}.sgm"] = sgml(source.splitlines())
            dev[f"dev/{name}-ref.{b}.sgm"] = sgml(target.splitlines())
    german, english = both("de", "en", slice(0, 80))
    ted = {
        "de-en/train.tags.de-en.de": f"<url>x</url>\n<title>Über Tiere</title>\n{german}",
        "de-en/train.tags.de-en.en": f"<url>x</url>\n<title>About animals</title>\n{english}",
    }
    for part in ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"):
        source, target = both("de", "en", slice(80, 84))
        ted[f"de-en/IWSLT14.{part}.de-en.de.xml"] = sgml(source.splitlines())
        ted[f"de-en/IWSLT14.{part}.de-en.en.xml"] = sgml(target.splitlines())
    french = both("en", "fr", second)
    giga = {
        f"giga-fren.release2.fixed.{code}.gz": text for code, text in zip(("en", "fr"), french, strict=True)
    }
    return {
        **{name: tar(members) for name, members in made.items()},
        "giga-fren": tar(giga, "w"),
        "europarl-v9-de-en": tsv,
        "news-commentary-v14-de-en": tsv,
        "wikititles-v1-de-en": tsv,
        "rapid2019-de-en": rapid.getvalue(),
        "paracrawl-v3-en-de": gzip.compress(units.encode(), mtime=0),
        "wmt-dev": tar(dev),
        "iwslt14-de-en": tar(ted),
        **asked("train", 12, 6),
        **asked("val", 6, 3),
    }


def asked(part: str, questions: int, shown: int) -> dict[str, bytes]:
    """Return questions and annotations of VQA v2 about ``shown`` images."""
    rows = [{"question_id": n, "image_id": n % shown, "question": f"Is it {n}?"} for n in range(questions)]
    answers = [
        {"question_id": n, "multiple_choice_answer": ("yes", "no", "two")[n % 3]} for n in range(questions)
    ]
    return {
        f"vqa2-questions-{part}": zipped({"questions": rows}),
        f"vqa2-annotations-{part}": zipped({"annotations": answers}),
    }


def zipped(value: object) -> bytes:
    """Return a zip archive of one JSON file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("v2.json", json.dumps(value))
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve bodies with ranges; ``cut`` breaks answers off, ``codes`` answers with errors first."""

    bodies: ClassVar[dict[str, bytes]] = {}
    cut: ClassVar[list[int]] = []
    codes: ClassVar[list[int]] = []
    asked: ClassVar[list[tuple[str, str | None]]] = []
    ranges: ClassVar[bool] = True

    def do_GET(self) -> None:
        name, asked = self.path.rpartition("/")[2], self.headers.get("Range")
        self.asked.append((name, asked))
        body = self.bodies.get(name)
        if self.codes or body is None:
            self.send_error(self.codes.pop() if self.codes else 404)
            return
        start = int(asked[6:-1]) if asked and self.ranges else 0
        if start > len(body):
            self.send_error(416)
            return
        self.send_response(206 if asked and self.ranges else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : start + self.cut.pop()] if self.cut else body[start:])
        self.close_connection = True

    def log_message(self, *_args: object) -> None:
        pass


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[str]:
    """Serve files; yields the address of their folder."""
    Handler.bodies, Handler.cut, Handler.codes, Handler.asked, Handler.ranges = files, [], [], [], True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/wmt"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def local(url: str, contents: Mapping[str, bytes]) -> dict[str, Download]:
    """Return the declared downloads at another address, with the checksums of small contents."""
    moved = {}
    for name, declared in downloads().items():
        body = contents[name]
        published = declared.sha256 is not None
        moved[name] = Download(
            name,
            f"{url}/{declared.file}",
            declared.source,
            hashlib.sha256(body).hexdigest() if published else None,
            len(body) if published else None,
        )
    return moved


def by_file(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return file name -> content."""
    return {declared.file: contents[name] for name, declared in downloads().items()}


def lay(folder: Path, contents: Mapping[str, bytes]) -> Path:
    """Write all files below ``folder/papers``; return ``folder``."""
    (folder / "papers").mkdir(parents=True)
    for name, body in by_file(contents).items():
        (folder / "papers" / name).write_bytes(body)
    return folder
