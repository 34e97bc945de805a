"""Energy through codecarbon's offline tracker, its source recorded with every figure. Imports no torch.

Where codecarbon has no result, the GPU's own counter answers. If neither does, ``joules`` is None and
``source`` states the reason. A figure without counters is a model of load and time, not a measurement, and
is marked so. Nothing raises into a run.

The first tracker of a process probes the hardware for seconds; ``warm_up`` lets a thread do that.
"""

from __future__ import annotations

import atexit
import importlib.metadata
import logging
import os
import re
import threading
import time
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.hardware.probe import probe
from benchmarks.hardware.profiles import Profile

JOULES_PER_KWH = 3.6e6
PROBE_SECONDS = 60.0
"""Seconds that ``ready`` waits for codecarbon's probe of the hardware, at most."""

EXIT_SECONDS = 20.0
"""Seconds that a process that ends waits for it, at most."""

_PATH = re.compile(r"(?<!\w)/\S+")
_CPU_MODES = {
    "intel_rapl": "RAPL",
    "cpu_load": "CPU load model",
    "constant": "constant CPU model",
}


class _Probe:
    """Codecarbon's probe of the hardware, once a process, in a thread of its own."""

    def __init__(self, watts: dict[str, float]) -> None:
        self.watts, self.error = watts, ""
        self._thread = threading.Thread(target=self._run, name="codecarbon-probe", daemon=True)
        self._thread.start()
        # An interpreter that ends while the thread is inside a driver's library crashes.
        atexit.register(self.wait, EXIT_SECONDS)

    def _run(self) -> None:
        try:
            tracker = _tracker(self.watts)
            tracker.start()
            tracker.stop()
        except ImportError:
            self.error = "codecarbon is not installed"
        except Exception as error:  # third-party code; a run must not end for want of a meter
            self.error = f"codecarbon failed: {type(error).__name__}: {error}"

    def wait(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()


_probes: dict[tuple[tuple[str, float], ...], _Probe] = {}
_probes_lock = threading.Lock()


def warm_up(profile: Profile | None = None) -> None:
    """Begin codecarbon's probe of the hardware in the background; at once, and once a process."""
    _probe(profile)


def _probe(profile: Profile | None) -> _Probe:
    watts = _pinned(profile)
    key = tuple(sorted(watts.items()))
    with _probes_lock:
        if key not in _probes:
            _probes[key] = _Probe(watts)
        return _probes[key]


def _pinned(profile: Profile | None) -> dict[str, float]:
    """Return codecarbon's arguments for the profile's declared watts; real counters come before them."""
    declared = profile.energy if profile else {}
    watts: dict[str, float] = {}
    if "cpu_watts" in declared and not _rapl():
        watts["force_cpu_power"] = declared["cpu_watts"]
    if "ram_watts" in declared:
        watts["force_ram_power"] = declared["ram_watts"]
    return watts


def _rapl(root: Path = Path("/sys/class/powercap")) -> bool:
    """Return whether the processor's energy counters may be read."""
    return any(os.access(path, os.R_OK) for path in root.glob("intel-rapl*/energy_uj"))


def _tracker(watts: dict[str, Any]) -> Any:
    from codecarbon import OfflineEmissionsTracker, emissions_tracker

    if not hasattr(emissions_tracker, "get_hierarchical_config"):
        raise RuntimeError("this version's own settings cannot be kept out of the figures")
    # CODECARBON_* variables and .codecarbon.config files of the user's would multiply joules under the same
    # source line, or end the tracker when malformed.
    emissions_tracker.get_hierarchical_config = dict
    log = logging.getLogger("codecarbon")
    log.setLevel(logging.ERROR)  # its import sets it to INFO
    if _ERRORS not in log.handlers:
        log.addHandler(_ERRORS)
    # The online class would, without a network, assume a country in silence. Emissions are not
    # recorded: nobody declared where the machine stands, and the class wants some country.
    return OfflineEmissionsTracker(
        country_iso_code="USA",
        tracking_mode="machine",
        allow_multiple_runs=True,
        save_to_file=False,
        save_to_api=False,
        log_level="error",
        **watts,
    )


class EnergyReading(TypedDict):
    """Energy between ``start`` and ``stop``.

    ``joules`` is None if nothing answered: ``source`` then states the reason. ``kg_co2`` is always None.
    ``covered_seconds`` is the part of ``seconds`` that codecarbon measured.
    """

    joules: float | None
    source: str
    kg_co2: None
    seconds: float
    covered_seconds: float


class EnergyMeter:
    """Energy of the whole machine between ``start`` and ``stop``; one meter a measurement.

    Several may run at once: each then counts all that the machine does.
    """

    def __init__(self, profile: Profile | None = None) -> None:
        self._probe = _probe(profile)
        self._lock = threading.Lock()
        self._tracker: Any = None
        self._counter: int | None = None
        self._began: float | None = None
        self._reason = ""

    def ready(self, seconds: float = PROBE_SECONDS) -> bool:
        """Wait until a ``start`` would count from its first moment; False when it takes too long."""
        return self._probe.wait(seconds)

    def start(self) -> None:
        """Begin; return at once, also while codecarbon still probes the hardware."""
        self._began = time.perf_counter()
        self._reason = "codecarbon was still looking at the hardware"
        if self._probe.wait(0):
            self._open()
        else:
            threading.Thread(target=self._open_late, name="codecarbon-start", daemon=True).start()

    def _open_late(self) -> None:
        if self._probe.wait(PROBE_SECONDS):
            self._open()

    def _open(self) -> None:
        with self._lock:
            if self._began is None:
                return  # stopped before codecarbon was ready
            self._reason = self._probe.error
            try:
                self._counter = _nvml_millijoules()  # answers where codecarbon does not
                if not self._reason:
                    tracker = _tracker(self._probe.watts)
                    tracker.start()
                    self._tracker = tracker
            except Exception as error:
                self._reason = f"codecarbon failed: {type(error).__name__}: {error}"

    def stop(self) -> EnergyReading:
        """End the measurement and return its reading."""
        with self._lock:
            if self._began is None:
                return _answer(None, "the meter was not started", 0.0, 0.0)
            seconds, self._began = time.perf_counter() - self._began, None
            try:
                if self._tracker is not None:
                    reading = self._read(seconds)
                    if reading["joules"] is not None:
                        return reading
                    self._reason = reading["source"]
                if self._counter is not None:
                    after = _nvml_millijoules()
                    if after is not None:
                        joules = (after - self._counter) / 1e3
                        return _answer(joules, "NVML total energy counter (GPU alone)", seconds, seconds)
            except Exception as error:
                self._reason = f"{type(error).__name__}: {error}"
        return _answer(None, self._reason, seconds, 0.0)

    def _read(self, seconds: float) -> EnergyReading:
        tracker, self._tracker = self._tracker, None
        tracker.stop()
        # codecarbon swallows its own exceptions: without a result there is no such attribute.
        data = getattr(tracker, "final_emissions_data", None)
        if data is None:
            return _answer(None, f"codecarbon gave no result{_last_error()}", seconds, 0.0)
        if not data.energy_consumed > 0:
            return _answer(None, "codecarbon saw no energy", seconds, data.duration)
        joules = data.energy_consumed * JOULES_PER_KWH
        return _answer(joules, _source(tracker, self._probe.watts), seconds, data.duration)


class _ErrorLog(logging.Handler):
    """Last error that codecarbon logged in place of raising it."""

    message = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.message = record.getMessage()


_ERRORS = _ErrorLog(logging.ERROR)


def _last_error() -> str:
    """Return the last error that codecarbon logged, in one line, without paths of this machine."""
    line = _PATH.sub("...", _ERRORS.message.strip().partition("\n")[0])
    return f": {line[:160]}" if line else ""


def _answer(joules: float | None, source: str, seconds: float, covered: float) -> EnergyReading:
    return {
        "joules": joules,
        "source": source,
        "kg_co2": None,
        "seconds": round(seconds, 3),
        "covered_seconds": round(min(seconds, covered), 3),
    }


def _source(tracker: Any, watts: dict[str, float]) -> str:
    """Return codecarbon's version, its counters and models, and the watts they were given."""
    hardware = getattr(tracker, "_hardware", [])
    modes = [getattr(part, "_mode", None) for part in hardware]
    cpu = next((_CPU_MODES.get(mode, mode) for mode in modes if isinstance(mode, str)), "CPU unknown")
    parts = ["NVML"] if any(type(part).__name__ == "GPU" for part in hardware) else []
    declared = [
        f"{name} {watts[key]:g} W"
        for name, key in (("CPU", "force_cpu_power"), ("RAM", "force_ram_power"))
        if key in watts
    ]
    pinned = f", {' and '.join(declared)} pinned" if declared else ""
    parts.append(f"{cpu} (estimate{pinned})" if cpu != "RAPL" else f"RAPL (RAM an estimate{pinned})")
    try:
        version = importlib.metadata.version("codecarbon")
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    return f"codecarbon {version}, {' + '.join(parts)}"


def _nvml_millijoules() -> int | None:
    """Return the sum of the energy counters of this process's GPUs; None if there is no counter."""
    try:
        import pynvml
    except ImportError:
        return None
    uuids = [gpu["uuid"] for gpu in probe()["gpus"]]
    if not uuids:
        return None
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
        return sum(int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) for handle in handles)
    except pynvml.NVMLError:
        return None
