"""Digests of sources that are kept between commands."""

import json

import pytest

from benchmarks import identity
from benchmarks.cli import source_memo

SOURCE = b"import a\nfrom b import c\n\nx = 1\n"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return a cache folder of its own, under an empty memo."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(identity, "MEMO", {})
    return tmp_path / "supernet-bench"


def results(source=SOURCE):
    """Return everything that is kept of a source."""
    return identity.code_digest(source), list(identity._imported(source, ["package"]))


def test_a_second_command_computes_nothing_and_gets_the_same(cache, monkeypatch):
    with source_memo.kept():
        first = results(), identity.code_digest('"""Words."""')
    identity.MEMO.clear()
    monkeypatch.setattr(identity, "canonical_form", None)
    monkeypatch.setattr(identity, "_imports", None)
    with source_memo.kept():
        assert (results(), identity.code_digest('"""Words."""')) == first
        assert first[1] is None


def test_another_source_another_root_and_other_rules_have_entries_of_their_own(cache, tmp_path, monkeypatch):
    with source_memo.kept():
        digests = {
            identity.code_digest(SOURCE),
            identity.code_digest(SOURCE + b"y = 2\n"),
            identity.code_digest(SOURCE, (*identity.OURS, "b")),
        }
        deeper = list(identity._imported(b"from . import x", ["p", "q"]))
        assert len(digests) == 3 and deeper == ["p.q", "p.q.x"]
        assert list(identity._imported(b"from . import x", ["p"])) == ["p", "p.x"]
    rules = tmp_path / "identity.py"
    rules.write_text("rules = 2\n")
    before = source_memo.memo_file()
    monkeypatch.setattr(identity, "__file__", str(rules))
    assert source_memo.memo_file() != before


@pytest.mark.parametrize("content", ["", "[1]", "\x00", '{"a": "b"', "[" * 100_000])
def test_a_broken_file_is_replaced(cache, content):
    file = source_memo.memo_file()
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with source_memo.kept():
        digest = identity.code_digest(SOURCE)
    assert digest in json.loads(file.read_text()).values()


def test_entries_of_another_kind_are_not_taken(cache):
    file = source_memo.memo_file()
    file.parent.mkdir(parents=True)
    key = "0" * 64
    for value in (1, "text", [1], {"a": 1}, "f" * 63):
        file.write_text(json.dumps({key: value, "short": "1" * 64}))
        with source_memo.kept():
            assert not identity.MEMO


def test_a_cache_that_cannot_be_written_stops_no_command(tmp_path, monkeypatch):
    (tmp_path / "supernet-bench").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(identity, "MEMO", {})
    with source_memo.kept():
        assert identity.code_digest(SOURCE)


def test_an_overfull_file_keeps_the_entries_of_this_command(cache, monkeypatch):
    monkeypatch.setattr(source_memo, "LARGEST", 3)
    for start in (0, 3):
        identity.MEMO.clear()
        with source_memo.kept():
            for n in range(start, start + 3):
                identity.code_digest(f"x = {n}")
    assert len(json.loads(source_memo.memo_file().read_text())) == 3
