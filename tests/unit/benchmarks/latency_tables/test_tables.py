"""Published latency tables as files: packed ones are unpacked no further than they may be."""

import gzip
import tracemalloc
from pathlib import Path

import pytest

from benchmarks.api import UsageError
from benchmarks.latency_tables.tables import PROFILES, load


def test_a_packed_table_is_unpacked_no_further_than_its_size(tmp_path: Path) -> None:
    profile = next(p for p in PROFILES.values() if p.file.endswith(".gz"))
    path = tmp_path / profile.file
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(bytes(2**27), 1))  # 128 MiB
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="damaged or cut short"):
            load(profile, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
