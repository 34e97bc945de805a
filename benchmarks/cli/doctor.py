"""``supernet-bench doctor``: check versions, threads, profile, disk and data of this environment."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from benchmarks import registry
from benchmarks.api import UsageError
from benchmarks.cli.arguments import add_data_dir, add_json, add_results
from benchmarks.cli.console import print_json, print_table
from benchmarks.hardware import profiles as declared
from benchmarks.hardware.file_lock import lock
from benchmarks.hardware.probe import other_system, probe

NEEDED = (
    "torch",
    "numpy",
    "pandas",
    "matplotlib",
    "safetensors",
    "sacrebleu",
    "sentencepiece",
    "codecarbon",
    "rich",
)
"""Distributions without which no run works."""
OPTIONAL = ("torchvision", "timm")
"""Distributions that are not needed, and that break other packages if built for another torch."""
FREE_GB = 5
"""Gigabytes of free disk below which a note is shown."""
BUSY_LOAD = 0.5
"""Load average per thread above which the machine counts as busy."""


@dataclass(frozen=True)
class Finding:
    """The result of one check of the environment."""

    verdict: str
    """``ok``, ``note`` or ``bad``."""
    what: str
    detail: str

    def to_dict(self) -> dict[str, str]:
        """Return the finding as ``--json`` prints it."""
        return {"verdict": self.verdict, "what": self.what, "found": self.detail}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_data_dir(command, "folder of real data to look at")
    add_results(command)
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Print all findings; return 1 if one of them is ``bad``, else 0."""
    findings = [_system(), *_software(), *_hardware(), *_folders(options)]
    broken = any(finding.verdict == "bad" for finding in findings)
    if options.json:
        print_json({"ok": not broken, "checks": [finding.to_dict() for finding in findings]})
    else:
        print_table(("verdict", "what", "found"), [(f.verdict, f.what, f.detail) for f in findings])
    return 1 if broken else 0


def _system() -> Finding:
    problem = other_system()
    return Finding("bad" if problem else "ok", "system", problem or platform.system())


def _software() -> Iterator[Finding]:
    """Check Python, the distributions and the installed methods."""
    major, minor = map(int, platform.python_version_tuple()[:2])
    supported = (3, 11) <= (major, minor) < (3, 14)
    advice = "" if supported else ": 3.11 to 3.13 are supported"
    yield Finding("ok" if supported else "bad", "python", platform.python_version() + advice)
    for name in NEEDED:
        try:
            yield Finding("ok", name, version(name))
        except PackageNotFoundError:
            yield Finding("bad", name, "not installed: python -m pip install -e .")
    for name in OPTIONAL:
        try:
            advice = "not needed; one built for another torch breaks other packages"
            yield Finding("note", name, f"{version(name)}: {advice}")
        except PackageNotFoundError:
            pass
    for name, ref in registry.methods().items():
        if isinstance(ref, UsageError):
            yield Finding("bad", f"method {name}", str(ref).splitlines()[0])


def _hardware() -> Iterator[Finding]:
    """Check the hardware profile, processor, threads, load and GPUs of this machine."""
    machine, matching = probe(), declared.matching()
    if matching:
        yield Finding("ok", "profile", matching)
    else:
        yield Finding("note", "profile", "none matches: runs are 'undeclared', apart from all others")
    yield Finding("ok", "cpu", f"{machine['cpu']}, {machine['cpus']} threads usable")
    threads = os.environ.get("OMP_NUM_THREADS", "").strip()
    expected = declared.get(matching).threads if matching else None
    if threads and not threads.isdecimal():
        advice = f"not one whole number; export OMP_NUM_THREADS={expected or 1}, or unset it"
        yield Finding("note", "OMP_NUM_THREADS", f"{threads}: {advice}")
    elif threads and expected and int(threads) != expected:
        advice = f"{threads}: the profile declares {expected}, which runs will use"
        yield Finding("note", "OMP_NUM_THREADS", advice)
    load = os.getloadavg()[0]
    busy = load > BUSY_LOAD * machine["cpus"]
    advice = ": other programs are at work, and timings will show it" if busy else ""
    yield Finding("note" if busy else "ok", "load", f"{load:.1f}{advice}")
    gpus = ", ".join(f"{gpu['name']} (driver {gpu['driver']})" for gpu in machine["gpus"])
    yield Finding("ok", "gpu", gpus or "none")
    if gpus:
        import torch

        usable = torch.cuda.is_available()
        build = torch.version.cuda or "a build of torch without CUDA"
        yield Finding("ok" if usable else "bad", "torch.cuda", build)


def _folders(options: argparse.Namespace) -> Iterator[Finding]:
    """Check the folders of results and, if given, of data."""
    place = options.results
    while not place.exists():  # the nearest parent that exists
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    yield Finding("ok" if free > FREE_GB else "note", "disk", f"{free:.0f} GB free for results")
    if os.access(place, os.W_OK):
        try:
            with tempfile.NamedTemporaryFile("w", dir=place, prefix=".doctor-") as file:
                lock(file)
            yield Finding("ok", "results folder", "can be written and locked")
        except (UsageError, OSError) as error:
            yield Finding("bad", "results folder", str(error))
    else:
        yield Finding("bad", "results folder", f"{options.results} cannot be written: --results DIR")
    if options.data_dir is None:
        return
    if options.data_dir.is_dir():
        names = sorted(path.name for path in options.data_dir.iterdir() if path.is_dir())
        yield Finding("ok", "data folder", " ".join(names))
    else:
        yield Finding("bad", "data folder", f"{options.data_dir} is no folder")
