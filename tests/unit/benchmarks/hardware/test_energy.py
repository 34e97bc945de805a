from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hardware import energy
from benchmarks.hardware.energy import EnergyMeter
from benchmarks.hardware.profiles import Profile, get
from tests import ROOT
from tests.fake_clock import FakeClock

PROFILE = Profile("x", "cpu", 1, energy={"cpu_watts": 8.0, "ram_watts": 20.0})


class CPU:
    _mode = "cpu_load"


class FakeTracker:
    """codecarbon's tracker as far as the meter knows it.

    Attributes:
        clock: time, which only tests advance.
        gate: closed while the first tracker looks at the hardware.
        started: set once a second tracker measures.
    """

    clock: FakeClock
    gate: threading.Event
    started: threading.Event
    kwh = 1e-5
    trackers: list[dict[str, Any]] = []
    broken = ""

    def __init__(self, **arguments: Any) -> None:
        self.trackers.append(arguments)
        self._hardware = [CPU()]
        self._began = 0.0

    def start(self) -> None:
        first = len(self.trackers) == 1
        if first:
            assert self.gate.wait(60)
        elif self.broken == "start":
            raise RuntimeError("no luck")
        self._began = self.clock.perf_counter()
        if not first:
            self.started.set()

    def stop(self) -> None:
        if self.broken != "stop":
            self.final_emissions_data = types.SimpleNamespace(
                energy_consumed=self.kwh, duration=self.clock.perf_counter() - self._began
            )


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeTracker]]:
    """A fresh fake codecarbon, and nothing looked at yet."""
    clock, gate = FakeClock(), threading.Event()
    gate.set()
    own = {"trackers": [], "clock": clock, "gate": gate, "started": threading.Event()}
    fake = type("Fake", (FakeTracker,), own)
    settings = types.SimpleNamespace(get_hierarchical_config=dict)
    module = types.SimpleNamespace(OfflineEmissionsTracker=fake, emissions_tracker=settings)
    monkeypatch.setitem(sys.modules, "codecarbon", module)  # type: ignore[arg-type]
    monkeypatch.setattr(energy, "_probes", {})
    monkeypatch.setattr(energy._ERRORS, "message", "")
    monkeypatch.setattr(energy, "_nvml_millijoules", lambda: None)
    monkeypatch.setattr(energy, "_rapl", lambda: False)
    clock.replace_in(monkeypatch, energy)
    yield fake
    gate.set()
    for probe in energy._probes.values():
        probe.wait(60)


def test_a_reading_states_its_source(tracker: type[FakeTracker]) -> None:
    meter = EnergyMeter(PROFILE)
    assert meter.ready(60)
    meter.start()
    tracker.clock.sleep(2.5)
    reading = meter.stop()
    assert reading["joules"] == pytest.approx(36.0)
    assert reading["source"].startswith("codecarbon ")
    assert reading["source"].endswith("CPU load model (estimate, CPU 8 W and RAM 20 W pinned)")
    assert reading["kg_co2"] is None
    assert reading["seconds"] == reading["covered_seconds"] == 2.5
    arguments = tracker.trackers[-1]
    assert arguments["force_cpu_power"] == 8.0 and arguments["force_ram_power"] == 20.0
    assert arguments["tracking_mode"] == "machine" and arguments["save_to_file"] is False


def test_the_hardware_is_probed_once_a_process(tracker: type[FakeTracker]) -> None:
    tracker.gate.clear()
    energy.warm_up(PROFILE)
    meters = [EnergyMeter(PROFILE) for _ in range(5)]
    assert not meters[0].ready(0)  # nobody has waited for the look
    tracker.gate.set()
    assert all(meter.ready(60) for meter in meters)
    assert len(tracker.trackers) == 1


def test_starting_never_waits_and_the_gap_is_reported(tracker: type[FakeTracker]) -> None:
    tracker.gate.clear()
    meter = EnergyMeter(PROFILE)
    meter.start()
    assert not meter.ready(0)
    tracker.clock.sleep(0.5)
    tracker.gate.set()
    assert tracker.started.wait(60)
    tracker.clock.sleep(0.75)
    reading = meter.stop()
    assert reading["joules"] is not None
    assert (reading["seconds"], reading["covered_seconds"]) == (1.25, 0.75)


def test_a_run_shorter_than_the_look_has_no_figure(tracker: type[FakeTracker]) -> None:
    tracker.gate.clear()
    meter = EnergyMeter(PROFILE)
    meter.start()
    reading = meter.stop()
    assert reading["joules"] is None and "still looking at the hardware" in reading["source"]
    late = [thread for thread in threading.enumerate() if thread.name == "codecarbon-start"]
    tracker.gate.set()
    assert meter.ready(60)
    for thread in late:
        thread.join(60)
    assert late and len(tracker.trackers) == 1  # nothing was started after the end


@pytest.mark.parametrize(
    ("broken", "said"),
    [("start", "RuntimeError: no luck"), ("stop", "gave no result"), ("zero", "no energy")],
)
def test_failed_readings_give_no_energy(tracker: type[FakeTracker], broken: str, said: str) -> None:
    tracker.broken = broken
    if broken == "zero":
        tracker.kwh = 0.0
    meter = EnergyMeter(PROFILE)
    assert meter.ready(60)
    meter.start()
    reading = meter.stop()
    assert reading["joules"] is None and said in reading["source"]


@pytest.mark.parametrize("broken", ["start", "stop", "zero"])
def test_the_gpu_counter_answers_where_codecarbon_does_not(
    tracker: type[FakeTracker], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.broken = broken
    if broken == "zero":
        tracker.kwh = 0.0
    readings = iter([5000, 12500])
    monkeypatch.setattr(energy, "_nvml_millijoules", lambda: next(readings))
    meter = EnergyMeter(PROFILE)
    assert meter.ready(60)
    meter.start()
    reading = meter.stop()
    assert reading["joules"] == 7.5 and reading["source"] == "NVML total energy counter (GPU alone)"


def test_the_error_that_codecarbon_swallows_is_the_reason(tracker: type[FakeTracker]) -> None:
    """Without a module of its own it gives no result, and its log alone has the reason."""
    tracker.broken = "stop"
    meter = EnergyMeter(PROFILE)
    assert meter.ready(60)
    meter.start()
    logging.getLogger("codecarbon").error("No module named 'pycountry' in /home/me/x.py\nTraceback")
    assert meter.stop()["source"] == ("codecarbon gave no result: No module named 'pycountry' in ...")


def test_misuse_does_not_raise(tracker: type[FakeTracker]) -> None:
    meter = EnergyMeter()
    assert "not started" in meter.stop()["source"]
    assert meter.ready(60)
    meter.start()
    assert meter.stop()["joules"] is not None
    assert meter.stop()["joules"] is None


def test_meters_at_once_from_threads(tracker: type[FakeTracker]) -> None:
    out: list[dict[str, Any]] = []

    def use() -> None:
        meter = EnergyMeter(PROFILE)
        meter.ready(60)
        meter.start()
        out.append(meter.stop())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(out) == 8 and all(reading["joules"] is not None for reading in out)


def test_without_codecarbon_the_gpu_counter_or_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    monkeypatch.setattr(energy, "_probes", {})
    readings = iter([5000, 12500])
    monkeypatch.setattr(energy, "_nvml_millijoules", lambda: next(readings))
    meter = EnergyMeter()
    assert meter.ready(60)
    meter.start()
    reading = meter.stop()
    assert reading["joules"] == 7.5 and reading["source"] == "NVML total energy counter (GPU alone)"
    monkeypatch.setattr(energy, "_nvml_millijoules", lambda: None)
    meter = EnergyMeter()
    meter.start()
    reading = meter.stop()
    assert reading["joules"] is None and reading["source"] == "codecarbon is not installed"


def test_the_counter_of_nvml_is_summed_over_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trouble(Exception):
        pass

    nvml = types.SimpleNamespace(
        NVMLError=Trouble,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: int(uuid),
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 100 * handle,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]
    monkeypatch.setattr(energy, "probe", lambda: {"gpus": [{"uuid": "1"}, {"uuid": "2"}]})
    assert energy._nvml_millijoules() == 300

    def fails(handle: int) -> int:
        raise Trouble

    nvml.nvmlDeviceGetTotalEnergyConsumption = fails
    assert energy._nvml_millijoules() is None
    monkeypatch.setattr(energy, "probe", lambda: {"gpus": []})
    assert energy._nvml_millijoules() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy._nvml_millijoules() is None


def test_counters_come_before_pinned_watts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not energy._rapl(tmp_path)
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("1")
    assert energy._rapl(tmp_path)
    monkeypatch.setattr(energy, "_rapl", lambda: True)
    assert energy._pinned(PROFILE) == {"force_ram_power": 20.0}
    monkeypatch.setattr(energy, "_rapl", lambda: False)
    assert energy._pinned(PROFILE) == {"force_cpu_power": 8.0, "force_ram_power": 20.0}
    assert energy._pinned(None) == {}


def test_sources_of_energy_are_named() -> None:
    def tracker(*modes: str) -> Any:
        parts: list[Any] = [types.SimpleNamespace(_mode=mode) for mode in modes]
        return types.SimpleNamespace(_hardware=parts)

    watts = {"force_ram_power": 20.0}
    assert energy._source(tracker("intel_rapl"), watts).endswith(", RAPL (RAM an estimate, RAM 20 W pinned)")
    assert energy._source(tracker("constant"), {}).endswith(", constant CPU model (estimate)")
    assert energy._source(object(), {}).endswith(", CPU unknown (estimate)")
    gpu = type("GPU", (), {})()
    both = types.SimpleNamespace(_hardware=[gpu, CPU()])
    assert energy._source(both, {}).endswith(", NVML + CPU load model (estimate)")


def test_the_real_codecarbon_in_a_process_of_its_own() -> None:
    pytest.importorskip("codecarbon")
    code = """if True:
        import time
        from benchmarks.hardware.energy import EnergyMeter
        from benchmarks.hardware.profiles import get
        meter = EnergyMeter(get("cpu-2core-avx512.v1"))
        assert meter.ready(60)
        meter.start()
        time.sleep(1.2)
        reading = meter.stop()
        print(repr(reading))
        assert reading["joules"] > 0, reading
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    reading = eval(done.stdout)
    assert done.stderr == ""
    assert reading["source"].startswith("codecarbon 3.")
    assert 0 < reading["covered_seconds"] <= reading["seconds"]
    if "NVML" not in reading["source"] and "RAPL" not in reading["source"]:
        declared = get("cpu-2core-avx512.v1").energy
        most = (declared["cpu_watts"] + declared["ram_watts"]) * (reading["covered_seconds"] + 0.1)
        assert 0 < reading["joules"] < most


@pytest.mark.parametrize("file", ["[codecarbon]\npue = 10\nforce_cpu_power = 5000\n", "malformed ["])
def test_settings_of_the_users_change_no_joule(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("codecarbon")
    code = (
        "import json; from benchmarks.hardware import energy\n"
        "tracker = energy._tracker({'force_cpu_power': 40.0, 'force_ram_power': 5.0})\n"
        "print(json.dumps([tracker._pue, tracker._force_cpu_power, tracker._external_conf]))"
    )
    (tmp_path / ".codecarbon.config").write_text(file)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    environment |= {"CODECARBON_PUE": "10", "CODECARBON_FORCE_CPU_POWER": "5000"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [1.0, 40.0, {}]


def test_a_process_that_ends_at_once_waits_for_the_look_at_the_hardware() -> None:
    """A thread inside a driver's library while the interpreter ends is a segmentation fault."""
    code = (
        "import sys, time, types\n"
        "from benchmarks.hardware import energy\n"
        "class Slow:\n"
        "    def start(self): time.sleep(0.5)\n"
        "    def stop(self): print('looked', flush=True)\n"
        "energy._tracker = lambda watts: Slow()\n"
        "energy.warm_up()\n"
        "raise KeyboardInterrupt\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.stdout == "looked\n" and "KeyboardInterrupt" in ran.stderr
