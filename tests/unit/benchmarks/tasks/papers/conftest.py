"""Fixtures: the papers' data in small, on a server of this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.tasks import datasets
from benchmarks.tasks.papers import corpora, downloads, pictures, translation
from tests.unit.benchmarks.tasks.papers import archives_of


@pytest.fixture
def contents() -> dict[str, bytes]:
    return archives_of.bodies()


@pytest.fixture
def declared(
    contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, downloads.Download]]:
    """Declared downloads at a server on this machine; the cache is a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.time, "sleep", lambda _seconds: None)
    with archives_of.serving(archives_of.by_file(contents)) as url:
        moved = archives_of.local(url, contents)
        for module in (corpora, pictures, translation.downloads):
            monkeypatch.setattr(module, "downloads", lambda: moved)
        yield moved
