"""Prepared data: two folders for each task and tier, addressed by everything that they are made from.

Training and validation data go to ``cache/prepared``, the test split to ``cache/sealed``, which only the
scoring process may read. Each folder appears complete or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from benchmarks.tasks.datasets import Say, build
from benchmarks.tasks.tiers import Table

INFO = "info.json"
Raw = TypeVar("Raw")


@dataclass
class RawData(Generic[Raw]):
    """Raw data of one task and tier, read at most once, and the place for what is made of it."""

    name: str
    """Task and tier, for people who look into the cache."""
    reader: Callable[[], Raw]
    """Called only if a folder has to be made, or if ``reproducible`` is False."""
    declared: Mapping[str, str]
    """Checksums of the published files; empty for generated data."""
    settings: Table
    """The tier's ``data`` table."""
    reproducible: bool
    """True if the reader's code, the checksums and the settings determine the data. Otherwise the digests of
    the data itself address the folders."""
    cache: Path
    say: Say
    _raw: list[Raw] = field(default_factory=list, repr=False)

    def read(self) -> Raw:
        """Return the raw data."""
        if not self._raw:
            self._raw.append(self.reader())
        return self._raw[0]

    def folders(
        self,
        inputs: Mapping[str, object],
        split_digests: Callable[[Raw], Mapping[str, str]],
        write_tests: Callable[[Raw, Path], None],
        write_open: Callable[[Raw, Path], None],
    ) -> tuple[Path, Path, Table]:
        """Make the two folders unless they exist unaltered.

        Args:
            inputs: everything else that determines their content, such as the version of the code.
            split_digests: computes a digest of each split of the raw data.
            write_tests: fills the sealed folder.
            write_open: fills the folder of training and validation data, ``info.json`` included.

        Returns:
            The open folder, the sealed folder, and the content of ``info.json``.
        """
        made_from = {"data": dict(self.declared), "settings": dict(self.settings), **inputs}
        if not self.reproducible:
            made_from["read"] = dict(split_digests(self.read()))
        key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
        name = f"{self.name}-{key}"
        folder, sealed = self.cache / "prepared" / name, self.cache / "sealed" / name
        build(sealed, lambda fresh: write_tests(self.read(), fresh))
        if build(folder, lambda fresh: write_open(self.read(), fresh)):
            self.say(f"{self.name}: prepared in {folder}")
        return folder, sealed, read_info(folder)


def write_info(folder: Path, info: Table) -> None:
    """Write ``info.json`` of a prepared folder."""
    (folder / INFO).write_text(json.dumps(info, indent=1) + "\n")


def read_info(folder: Path) -> Table:
    """Return the content of ``info.json`` of a prepared folder."""
    info: Table = json.loads((folder / INFO).read_text())
    return info
