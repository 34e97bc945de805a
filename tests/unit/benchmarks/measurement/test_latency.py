from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.api import UsageError
from benchmarks.hardware import timing_lock
from benchmarks.hardware.profiles import Profile
from benchmarks.measurement import interleaved, latency, memory
from benchmarks.measurement.interleaved import MeasurementRejectedError
from benchmarks.measurement.memory import LiveBytes
from benchmarks.measurement.workload import Workload
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily
from supernet.space import get_space
from tests.fake_clock import FakeClock

LOAD = Workload(source_len=6, steps=4, beam=3)
HERE = Profile("here", "cpu", 1)


# what n inferences support


# the lock


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(timing_lock.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


@contextmanager
def hold(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock when this is entered, and keeps it until its input ends."""
    code = (
        "import sys; from benchmarks.hardware.timing_lock import exclusive\n"
        "with exclusive(): print('in', flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, timing_lock.FOLDER_VARIABLE: str(folder), "TMPDIR": str(folder / "other")}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=PIPE, stdout=PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "in\n"
        yield process


def test_one_at_a_time_over_processes(folder: Path) -> None:
    with hold(folder) as process:
        released = threading.Event()

        def release() -> None:
            released.set()
            assert process.stdin is not None
            process.stdin.close()

        timer = threading.Timer(0.3, release)
        timer.start()
        with timing_lock.exclusive() as waited:
            assert released.is_set() and waited > 0
            with timing_lock.exclusive() as again:
                assert again == 0.0
        timer.join()


def test_a_killed_holder_frees_it(folder: Path) -> None:
    with hold(folder) as process:
        process.kill()
        with timing_lock.exclusive():
            pass


def test_the_lock_is_free_again_after_an_error(folder: Path) -> None:
    with pytest.raises(RuntimeError), timing_lock.exclusive():
        raise RuntimeError
    with hold(folder) as process:
        process.kill()


def test_no_link_is_followed_and_a_full_folder_is_refused(folder: Path) -> None:
    aim, mine = folder / "aim", folder / f"{timing_lock.MACHINE}.{os.getuid()}"
    (folder / timing_lock.MACHINE).symlink_to(aim)
    with timing_lock.exclusive():
        assert not aim.exists() and mine.exists()
    mine.unlink()
    mine.symlink_to(aim)
    with pytest.raises(UsageError, match=timing_lock.FOLDER_VARIABLE), timing_lock.exclusive():
        pass


# networks


@pytest.fixture(scope="module")
def family() -> Seq2SeqFamily:
    return Seq2SeqFamily(get_space("mt-smoke"), Seq2SeqConfig(50, 50))


@pytest.fixture(scope="module")
def pair(family: Seq2SeqFamily) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return family.build(family.space.smallest()), family.build(family.space.largest())


CLOCK = FakeClock()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of all timings; sleepers alone advance it."""
    CLOCK.replace_in(monkeypatch, interleaved, latency)
    return CLOCK


class Sleeper(nn.Module):
    """Takes a declared time by the test's clock, and notes what surrounds it."""

    def __init__(self, ms: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.ms, self.calls = ms, 0
        self.seen: set[tuple[Any, ...]] = set()
        self.eval()

    def encode(self, source: Tensor) -> Tensor:
        self.calls += 1
        self.seen.add(
            (self.training, torch.is_inference_mode_enabled(), torch.get_num_threads(), tuple(source.shape))
        )
        CLOCK.sleep(self.ms / 1e3)
        return source

    def decoder_cache(self, memory: Tensor, beam: int) -> None:
        pass

    def step(self, tokens: Tensor, cache: None) -> Tensor:
        return torch.zeros(len(tokens), 7)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Processor shares of other programs at the next timings; zero when used up."""
    found: list[float] = []
    monkeypatch.setattr(interleaved.OtherLoad, "read", lambda _: found.pop(0) if found else 0.0)
    return found


def test_disturbed_rounds_are_timed_anew_and_the_least_disturbed_count(loads: list[float]) -> None:
    for seen, kept, attempts in (
        ([0.1], 0.1, 1),
        ([0.9, 0.2], 0.2, 2),
        ([0.9, 0.5, 0.7], 0.5, interleaved.MAX_ATTEMPTS),
    ):
        loads[:] = seen
        theirs = Sleeper(0.1)
        found = latency.measure_latency(Sleeper(0.1), theirs, LOAD, "cpu", HERE)
        assert (found["others_cpu"], found["attempts"], found["n"]) == (kept, attempts, 64)
        assert theirs.calls == 64 * attempts + interleaved.WARM_UP and not loads


@pytest.mark.usefixtures("clock")
def test_latency_of_known_sleepers(loads: list[float]) -> None:
    ours, theirs = Sleeper(4.0), Sleeper(12.0)
    found = latency.measure_latency(ours, theirs, LOAD, "cpu", HERE)
    for name, milliseconds in (("p50", 4), ("p90", 4), ("p90_bound", 4), ("reference_p50", 12)):
        assert found[name] == pytest.approx(milliseconds)
    for name in ("ratio", "ratio_low", "ratio_high"):
        assert found[name] == pytest.approx(1 / 3, abs=1e-3)
    assert found["n"] == 64
    assert found["signature"] == (
        "lat:p90|n:64|b:1|beam:3|len:6|steps:4|search:no|prec:fp32|mode:eager|thr:1|prof:here|v:0.1"
    )
    assert ours.seen == theirs.seen == {(False, True, 1, (1, 6))}
    assert theirs.calls == 64 + interleaved.WARM_UP
    assert found["others_cpu"] >= 0 and found["waited_seconds"] >= 0
    assert all(isinstance(value, int | float | str) for value in found.values())


@pytest.mark.usefixtures("clock")
def test_rounds_follow_n_and_seconds() -> None:
    few = latency.measure_latency(Sleeper(0.1), Sleeper(0.1), LOAD, "cpu", HERE, min_n=20)
    assert few["n"] == 20 and few["p90"] is None and few["p90_bound"] is None
    assert few["signature"].startswith("lat:p50|n:20|")
    long = latency.measure_latency(Sleeper(1), Sleeper(1), LOAD, "cpu", HERE, min_n=8, min_seconds=0.3)
    assert long["n"] == 150  # of 2 ms each
    cut = latency.measure_latency(Sleeper(5), Sleeper(5), LOAD, "cpu", HERE, max_seconds=0.02)
    assert cut["n"] == interleaved.MIN_ROUNDS and cut["p90"] is None


def test_declared_threads_and_garbage_collection_are_put_back() -> None:
    import gc

    before = torch.get_num_threads()
    torch.set_float32_matmul_precision("high")
    try:
        module = Sleeper(0)
        latency.measure_latency(module, Sleeper(0), LOAD, "cpu", Profile("two", "cpu", 2), min_n=8)
        assert {threads for _, _, threads, _ in module.seen} == {2}
        assert torch.get_num_threads() == before and gc.isenabled()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_real_network(pair: tuple[nn.Module, nn.Module]) -> None:
    small, large = pair
    found = latency.measure_latency(small, large, LOAD, "cpu", HERE)
    assert 0 < found["ratio"] < 1
    assert all(math.isfinite(value) for value in found.values() if isinstance(value, float))
    assert 0 < latency.probe_latency(small, {"source_len": 6, "steps": 4, "beam": 3, "other": 1}, "cpu") < 1e4


def test_timing_leaves_the_network_unchanged(pair: tuple[nn.Module, nn.Module]) -> None:
    small, large = pair
    small.train()
    before = {name: p.clone() for name, p in small.state_dict().items()}
    try:
        latency.probe_latency(small, LOAD, "cpu")
        assert small.training
        slow = latency.measure_latency(small, large, LOAD, "cpu", HERE, precision="bf16", min_n=8)
        assert "|prec:bf16|" in slow["signature"]
        assert all(torch.equal(p, before[name]) for name, p in small.state_dict().items())
    finally:
        small.eval()
    with pytest.raises(ValueError, match="fp8"):
        latency.measure_latency(small, large, LOAD, "cpu", HERE, precision="fp8")


class Changer(Sleeper):
    def encode(self, source: Tensor) -> Tensor:
        source[0, 0] = 1
        return source


class Shouter(Sleeper):
    def step(self, tokens: Tensor, cache: None) -> Tensor:
        return torch.full((len(tokens), 7), math.nan)


class LateShouter(Sleeper):
    """Honest until it is timed."""

    def step(self, tokens: Tensor, cache: None) -> Tensor:
        return torch.full((len(tokens), 7), math.inf if self.calls > 20 else 0.0)


class Mute(Sleeper):
    def step(self, tokens: Tensor, cache: None) -> Tensor:
        return torch.zeros(1, 7)


@pytest.mark.parametrize(
    ("network", "reason"),
    [(Changer, "changed its input"), (Shouter, "finite"), (LateShouter, "finite"), (Mute, "shape")],
)
def test_dishonest_networks_get_no_latency(network: Callable[[float], nn.Module], reason: str) -> None:
    with pytest.raises(MeasurementRejectedError, match=reason):
        latency.measure_latency(network(0), Sleeper(0), LOAD, "cpu", HERE, min_n=30)


# memory


def test_live_bytes_of_a_known_course() -> None:
    with LiveBytes() as live:
        a = torch.zeros(1000)  # 4,000 bytes
        b = a + 1  # 8,000
        c = b.view(10, 100)[2:]  # no more
        del a, b, c
        d = torch.zeros(500)  # 2,000
        d.add_(1)
        del d
    assert live.peak == 8000


def test_peak_memory_is_weights_and_then_some(
    family: Seq2SeqFamily, pair: tuple[nn.Module, nn.Module]
) -> None:
    small, large = pair
    found = {}
    for name, module in (("small", small), ("large", large)):
        weights = sum(p.numel() * 4 for p in module.parameters())
        weights += sum(b.numel() * b.element_size() for b in module.buffers())
        found[name] = memory.measure_peak_memory(module, LOAD, "cpu")["peak_bytes"]
        assert weights < found[name] < weights + 10**6
    assert found["small"] < found["large"]
    assert memory.measure_peak_memory(small, LOAD, "cpu") == memory.measure_peak_memory(small, LOAD, "cpu")
    longer = memory.measure_peak_memory(small, Workload(60, 40, 3), "cpu")["peak_bytes"]
    assert longer > found["small"]
    half = memory.measure_peak_memory(small, LOAD, "cpu", precision="bf16")["peak_bytes"]
    assert half < 0.6 * found["small"]


def test_peak_memory_agrees_with_the_profiler(pair: tuple[nn.Module, nn.Module]) -> None:
    """An outside count: the allocations that torch's profiler saw, added up in order."""
    from torch.profiler import ProfilerActivity, profile

    from supernet.decode import forced_steps

    small, _ = pair
    source = LOAD.source("cpu")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        forced_steps(small, source, LOAD.steps, LOAD.beam)
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    if not events:
        pytest.skip("this torch's profiler keeps no list of allocations")
    events.sort(key=lambda e: e.start_ns())
    outside = np.cumsum([e.nbytes() for e in events]).max()
    weights = memory._bytes([*small.parameters(), *small.buffers(), source])
    ours = memory.measure_peak_memory(small, LOAD, "cpu")["peak_bytes"] - weights
    assert ours == pytest.approx(outside, rel=0.25)


# energy


def test_energy_of_one_sentence(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    class Meter:
        """Ten watts, from 0.05 s before the block to its end."""

        def __init__(self, profile: Profile) -> None:
            self.began = 0.0

        def ready(self, seconds: float = 0.0) -> bool:
            return True

        def start(self) -> None:
            self.began = clock.perf_counter()
            clock.sleep(0.05)

        def stop(self) -> dict[str, Any]:
            covered = clock.perf_counter() - self.began
            return {"joules": 10.0 * covered, "source": "fake", "covered_seconds": covered}

    monkeypatch.setattr(latency, "EnergyMeter", Meter)
    found = latency.measure_energy(Sleeper(5), LOAD, "cpu", HERE, seconds=0.2)
    assert found["joules_per_sentence"] == pytest.approx(0.05) and found["source"] == "fake"
    assert found["sentences"] in (40, 41) and found["seconds"] == pytest.approx(0.2, abs=0.006)
    silent = {"joules": None, "source": "no meter", "covered_seconds": 0.0}
    monkeypatch.setattr(Meter, "stop", lambda self: silent)
    found = latency.measure_energy(Sleeper(0), LOAD, "cpu", HERE, seconds=0)
    assert found["joules_per_sentence"] is None and found["source"] == "no meter"
    assert found["sentences"] == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu(pair: tuple[nn.Module, nn.Module]) -> None:
    small, large = (module.to("cuda") for module in pair)
    profile = Profile("gpu", "cuda", None)
    found = latency.measure_latency(small, large, LOAD, "cuda", profile)
    assert 0 < found["ratio"] < 1.5 and found["p90"] is not None
    peak = memory.measure_peak_memory(small, LOAD, "cuda")
    assert peak["peak_bytes"] > memory._bytes(list(small.parameters()))
    assert re.match("weights and workload, torch.cuda", peak["source"])
    here = memory.measure_peak_memory(large, LOAD, "cpu")["peak_bytes"]
    assert memory.measure_peak_memory(large, LOAD, "cuda")["peak_bytes"] == pytest.approx(here, rel=0.5)
