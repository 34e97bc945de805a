"""Shared fixtures. One thread a process: two-threaded tests on a shared machine run many times slower."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# A property holds or not; how long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data: ``SUPERNET_BENCH_DATA`` or ``../shared/data``; skips where absent."""
    folder = Path(os.environ.get("SUPERNET_BENCH_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder} (set SUPERNET_BENCH_DATA to its folder)")
    return folder.resolve()


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name a case of bytes by its argument: archives hold the time, and workers must collect equal names."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """Skip a test where the product refuses int8 on a processor whose whole-number products overflow.

    ``benchmarks/measurement/test_serving.py`` holds the refusal against the processor's flags.
    """
    from tests.processor import REASON, REFUSAL, VNNI

    try:
        return (yield)
    except Exception as error:
        if not VNNI and REFUSAL in str(error):
            pytest.skip(REASON)
        raise
