from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hardware import energy
from benchmarks.hardware.energy import EnergyMeter
from benchmarks.hardware.profiles import Profile, get
from tests import ROOT

PROFILE = Profile("x", "cpu", 1, energy={"cpu_watts": 8.0, "ram_watts": 20.0})


class CPU:
    _mode = "cpu_load"


class FakeTracker:
    """codecarbon's tracker as far as the meter knows it."""

    delay = 0.0
    kwh = 1e-5
    made: list[dict[str, Any]] = []
    broken = ""

    def __init__(self, **arguments: Any) -> None:
        self.made.append(arguments)
        self._hardware = [CPU()]
        self._began = 0.0

    def start(self) -> None:
        if len(self.made) == 1:
            time.sleep(self.delay)  # the first one looks at the hardware
        if self.broken == "start" and len(self.made) > 1:
            raise RuntimeError("no luck")
        self._began = time.perf_counter()

    def stop(self) -> None:
        if self.broken != "stop":
            self.final_emissions_data = types.SimpleNamespace(
                energy_consumed=self.kwh, duration=time.perf_counter() - self._began
            )


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeTracker]]:
    """A fresh fake codecarbon, and nothing looked at yet."""
    fake = type("Fake", (FakeTracker,), {"made": []})
    settings = types.SimpleNamespace(get_hierarchical_config=dict)
    module = types.SimpleNamespace(OfflineEmissionsTracker=fake, emissions_tracker=settings)
    monkeypatch.setitem(sys.modules, "codecarbon", module)  # type: ignore[arg-type]
    monkeypatch.setattr(energy, "_probes", {})
    monkeypatch.setattr(energy, "_rapl", lambda: False)
    yield fake
    for probe in energy._probes.values():
        probe.wait(10)


def test_a_reading_and_its_source(tracker: type[FakeTracker]) -> None:
    meter = EnergyMeter(PROFILE)
    assert meter.ready(5)
    meter.start()
    time.sleep(0.02)
    found = meter.stop()
    assert found["joules"] == pytest.approx(36.0)
    assert found["source"].startswith("codecarbon ")
    assert found["source"].endswith("CPU load model (estimate, CPU 8 W and RAM 20 W pinned)")
    assert found["kg_co2"] is None
    assert found["seconds"] >= found["covered_seconds"] > 0.015
    told = tracker.made[-1]
    assert told["force_cpu_power"] == 8.0 and told["force_ram_power"] == 20.0
    assert told["tracking_mode"] == "machine" and told["save_to_file"] is False


def test_one_look_at_the_hardware_a_process(tracker: type[FakeTracker]) -> None:
    tracker.delay = 0.3
    began = time.perf_counter()
    energy.warm_up(PROFILE)
    meters = [EnergyMeter(PROFILE) for _ in range(5)]
    assert time.perf_counter() - began < 0.2
    assert meters[0].ready(5)
    assert len(tracker.made) == 1


def test_starting_never_waits_and_the_gap_is_told(tracker: type[FakeTracker]) -> None:
    tracker.delay = 0.4
    meter = EnergyMeter(PROFILE)
    began = time.perf_counter()
    meter.start()
    assert time.perf_counter() - began < 0.2
    time.sleep(0.8)
    found = meter.stop()
    assert found["joules"] is not None
    assert 0.1 < found["covered_seconds"] < found["seconds"] - 0.2


def test_a_run_shorter_than_the_look_has_no_figure(tracker: type[FakeTracker]) -> None:
    tracker.delay = 0.5
    meter = EnergyMeter(PROFILE)
    meter.start()
    found = meter.stop()
    assert found["joules"] is None and "still looking at the hardware" in found["source"]
    assert meter.ready(5)
    time.sleep(0.1)
    assert len(tracker.made) == 1  # nothing was started after the end


@pytest.mark.parametrize(
    ("broken", "said"),
    [("start", "RuntimeError: no luck"), ("stop", "gave no result"), ("zero", "no energy")],
)
def test_nothing_is_invented(tracker: type[FakeTracker], broken: str, said: str) -> None:
    tracker.broken = broken
    if broken == "zero":
        tracker.kwh = 0.0
    meter = EnergyMeter(PROFILE)
    assert meter.ready(5)
    meter.start()
    found = meter.stop()
    assert found["joules"] is None and said in found["source"]


def test_misuse_does_not_raise(tracker: type[FakeTracker]) -> None:
    meter = EnergyMeter()
    assert "not started" in meter.stop()["source"]
    assert meter.ready(5)
    meter.start()
    assert meter.stop()["joules"] is not None
    assert meter.stop()["joules"] is None


def test_meters_at_once_from_threads(tracker: type[FakeTracker]) -> None:
    out: list[dict[str, Any]] = []

    def use() -> None:
        meter = EnergyMeter(PROFILE)
        meter.ready(5)
        meter.start()
        time.sleep(0.01)
        out.append(meter.stop())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(out) == 8 and all(found["joules"] is not None for found in out)


def test_without_codecarbon_the_gpu_counter_or_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    monkeypatch.setattr(energy, "_probes", {})
    readings = iter([5000, 12500])
    monkeypatch.setattr(energy, "_nvml_millijoules", lambda: next(readings))
    meter = EnergyMeter()
    assert meter.ready(5)
    meter.start()
    found = meter.stop()
    assert found["joules"] == 7.5 and found["source"] == "NVML total energy counter (GPU alone)"
    monkeypatch.setattr(energy, "_nvml_millijoules", lambda: None)
    meter = EnergyMeter()
    meter.start()
    found = meter.stop()
    assert found["joules"] is None and found["source"] == "codecarbon is not installed"


def test_nvml_counter(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_sources() -> None:
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
        found = meter.stop()
        print(repr(found))
        assert found["joules"] > 0, found
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = eval(done.stdout)
    assert done.stderr == ""
    assert found["source"].startswith("codecarbon 3.")
    assert found["covered_seconds"] == pytest.approx(found["seconds"], abs=0.5)
    if "NVML" not in found["source"] and "RAPL" not in found["source"]:
        told = get("cpu-2core-avx512.v1").energy
        most = (told["cpu_watts"] + told["ram_watts"]) * (found["covered_seconds"] + 0.1)
        assert told["ram_watts"] * 1.0 < found["joules"] < most


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
