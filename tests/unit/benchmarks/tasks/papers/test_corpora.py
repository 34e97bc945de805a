"""Readers of the papers' corpora, on archives of the papers' layout."""

import io
import tarfile
from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.tasks.papers import archives, corpora
from benchmarks.tasks.papers.downloads import downloads
from tests.unit.benchmarks.tasks.folders import sentences
from tests.unit.benchmarks.tasks.papers.archives_of import Handler, tar

SIZES = {
    "wmt14-en-de": (120, 16, {"newstest2014": 16}),
    "wmt14-en-fr": (200, 0, {"newstest2014": 16}),
    "wmt19-en-de": (112 * 4 + 80 // 2, 16, {"newstest2018": 16}),
    "iwslt14-de-en": (81 - 3, 3, {"iwslt14": 20}),
}


def quiet(_line: str) -> None:
    pass


def read(name: str, **settings: int):
    return corpora.read(name, settings, None, quiet)


@pytest.mark.parametrize("name", [*corpora.CORPORA])
def test_each_corpus_is_read_whole(declared, name: str) -> None:
    corpus = read(name)
    train, valid, tests = SIZES[name]
    if name == "wmt19-en-de":
        train = 112 * 4 + 112 + 40  # two TSV, titles, memory and Rapid of 112 pairs, 40 of Common Crawl
    assert len(corpus.train) == train and len(corpus.valid) == valid
    assert {name: len(pairs) for name, pairs in corpus.tests.items()} == tests
    source, target = corpora.CORPORA[name].languages
    animals = {word.lower() for word in sentences.ANIMALS[source]}
    for line, _ in corpus.train[:5]:
        assert animals & {word.lower() for word in line.split()} or "tiere" in line
    assert corpus.train[0][1].endswith((" .", "animals"))
    assert not corpus.tests[next(iter(tests))][0][0].endswith(" .")
    assert {name.split("/")[-1] for name, _ in Handler.asked} == {
        downloads()[file].file for file in corpora.CORPORA[name].files
    }


def test_sides_of_test_sets_are_the_languages(declared) -> None:
    for name in corpora.CORPORA:
        (pairs,) = read(name).tests.values()
        codes = corpora.CORPORA[name].languages
        for side, code in enumerate(codes):
            text = " ".join(pair[side] for pair in pairs).lower()
            assert any(f" {word.lower()}" in text for word in sentences.ANIMALS[code]), (name, code)


def test_iwslt_is_lower_case_and_takes_titles_without_tags(declared) -> None:
    corpus = read("iwslt14-de-en")
    assert corpus.train[0] == ("über tiere", "about animals")
    everything = [
        side for pairs in (corpus.train, corpus.valid, corpus.tests["iwslt14"]) for p in pairs for side in p
    ]
    assert all(line == line.lower() and "<" not in line for line in everything)


def test_validation_pairs_of_training_are_taken_out(declared) -> None:
    corpus = read("iwslt14-de-en")
    assert corpus.valid[0] not in corpus.train


def test_a_slice_has_its_number_of_pairs(declared) -> None:
    assert len(read("wmt14-en-de", most_pairs=5).train) == 15


def test_entities_of_translation_memories_are_text(declared) -> None:
    assert any(" &amp; mehr" in target for _, target in read("wmt19-en-de").train), "Moses escapes it again"


@pytest.mark.parametrize(
    ("name", "body", "fault"),
    [
        ("europarl-v7", b"no archive", "cannot be read"),
        ("europarl-v7", tar({"training/other": "x"}), r"has no file training/europarl-v7.de-en.en\nfetch"),
        (
            "commoncrawl",
            tar({"commoncrawl.de-en.en": "a\nb\n", "commoncrawl.de-en.de": "a\n"}),
            "a side ends at line 1",
        ),
        ("wmt-dev", tar({"dev/newstest2013.en": "x"})[:-20], "cannot be read|has no file"),
    ],
)
def test_hostile_and_damaged_archives(
    declared, contents, monkeypatch, name: str, body: bytes, fault: str
) -> None:
    import hashlib
    from dataclasses import replace

    other = replace(declared[name], sha256=hashlib.sha256(body).hexdigest(), bytes=len(body))
    declared[name] = other
    Handler.bodies = Handler.bodies | {other.file: body}
    with pytest.raises(UsageError, match=fault):
        read("wmt14-en-de")


def test_links_and_bombs(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("text")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    (tmp_path / "link.tgz").write_bytes(buffer.getvalue())
    with pytest.raises(UsageError, match="has no file text"):
        list(archives.member_lines(tmp_path / "link.tgz", "text"))
    (tmp_path / "bomb.tgz").write_bytes(tar({"text": "\n" * 5_000_000}))
    with pytest.raises(UsageError, match="unpacks to more than the 1,000,000 bytes allowed"):
        list(archives.member_lines(tmp_path / "bomb.tgz", "text", 1_000_000))
    (tmp_path / "long.tgz").write_bytes(tar({"text": "x" * 3_000_000}))
    with pytest.raises(UsageError, match="a line of more than"):
        list(archives.member_lines(tmp_path / "long.tgz", "text"))
    (tmp_path / "latin.tgz").write_bytes(tar({"text": "x"}).replace(b"", b""))
    (tmp_path / "z.zip").write_bytes(b"PK\x03\x04broken")
    with pytest.raises(UsageError, match="cannot be read"):
        list(archives.member_lines(tmp_path / "z.zip", "text"))
