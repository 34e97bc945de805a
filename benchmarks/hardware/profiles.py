"""Declared hardware: what a profile says, what this machine is, and what differs. Imports no torch.

A profile is one file of ``profiles/``. Results are compared inside one profile only, so a run under a
profile that the machine is not is refused. ``undeclared`` is the name of no profile: any machine may
run under it, and its results stay among themselves.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.api import ProfileMismatch, UsageError
from benchmarks.hardware.probe import probe

__all__ = [
    "UNDECLARED",
    "Profile",
    "ProfileMismatch",
    "differences",
    "enforce",
    "get",
    "matching",
    "names",
    "probe",
    "resolve",
]

FOLDER = Path(__file__).parent / "declared"
UNDECLARED = "undeclared"
_KEYS = {"summary", "device", "threads", "machine", "energy"}
_MACHINE_KEYS = {"arch", "cpus", "isa", "lacks", "gpu", "gpus", "gpu_memory_gib"}


@dataclass(frozen=True)
class Profile:
    """One declared kind of machine.

    Attributes:
        device: where networks run, ``cpu`` or ``cuda``.
        threads: of torch; None leaves torch's own number (``undeclared`` only).
        machine: what the machine must be: ``arch``, ``cpus``, ``isa`` flags, ``gpu`` name, number of
            ``gpus``, least ``gpu_memory_gib``; what is absent is free.
        energy: ``cpu_watts`` and ``ram_watts`` for the energy model of a machine without counters.
    """

    name: str
    device: str
    threads: int | None
    summary: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    energy: Mapping[str, float] = field(default_factory=dict)


def names() -> list[str]:
    """The declared profiles, sorted; without ``undeclared``."""
    return sorted(path.name.removesuffix(".toml") for path in FOLDER.glob("*.toml"))


def get(name: str) -> Profile:
    """The profile called ``name``; ``undeclared`` has the device that was found.

    Raises:
        UsageError: there is none of that name.
    """
    if name == UNDECLARED:
        return Profile(UNDECLARED, "cuda" if probe()["gpus"] else "cpu", None, "this machine, whatever it is")
    if name not in names():
        known = [*names(), UNDECLARED]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"no profile {name!r}.{hint}\nknown: {' '.join(known)}\n"
            "see what each asks for: supernet-bench profiles"
        )
    return _read(FOLDER / f"{name}.toml")


@cache
def _read(path: Path) -> Profile:
    text = tomllib.loads(path.read_text("utf-8"))
    unknown = [key for key in text if key not in _KEYS]
    unknown += [f"machine.{key}" for key in text.get("machine", {}) if key not in _MACHINE_KEYS]
    if unknown:
        raise UsageError(f"{path.name}: unknown fields {', '.join(unknown)}")
    if text.get("device") not in ("cpu", "cuda"):
        raise UsageError(f"{path.name}: device {text.get('device')!r}, choose cpu or cuda")
    return Profile(
        path.name.removesuffix(".toml"),
        text["device"],
        int(text["threads"]),
        text["summary"],
        text["machine"],
        text.get("energy", {}),
    )


def matching(machine: Mapping[str, Any] | None = None) -> str | None:
    """The declared profile that this machine is, one with a GPU before one without; None for none."""
    machine = probe() if machine is None else machine
    fits = [profile for profile in map(get, names()) if not differences(profile, machine)]
    fits.sort(key=lambda profile: (profile.device != "cuda", profile.name))
    return fits[0].name if fits else None


def resolve(name: str) -> str:
    """``auto`` as the profile that matches this machine, or ``undeclared``; other names checked."""
    if name == "auto":
        return matching() or UNDECLARED
    return get(name).name


def enforce(name: str, machine: Mapping[str, Any] | None = None) -> Profile:
    """The profile called ``name``, if this machine is one.

    Raises:
        UsageError: there is no such profile.
        ProfileMismatch: with a line for everything that differs.
    """
    profile = get(name)
    machine = probe() if machine is None else machine
    found = differences(profile, machine)
    if not found:
        return profile
    rows = [f"  {what:<10}{'declared ' + declared:<31}found {is_}" for what, declared, is_ in found]
    here = matching(machine)
    way = (
        f"run on what this machine is: --profile {here}, or measure it apart from all others:"
        if here
        else "this machine is none of the declared profiles; measure it apart from all others:"
    )
    raise ProfileMismatch("\n".join([f"this machine is not {name}", *rows, f"{way} --profile {UNDECLARED}"]))


def differences(profile: Profile, machine: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """``(what, declared, found)`` for everything in which ``machine`` (see ``probe``) is not ``profile``."""
    want, out = profile.machine, []
    gpus: list[Mapping[str, Any]] = machine["gpus"]
    if "gpu" in want:
        usable = [g for g in gpus if g["name"] == want["gpu"]]
        if len(usable) != want["gpus"] or len(gpus) != want["gpus"]:
            out.append(("gpu", f"{want['gpu']} x{want['gpus']}", _gpu_text(gpus)))
        elif any((g["memory_gib"] or 0) < want.get("gpu_memory_gib", 0) for g in usable):
            least = ", ".join(f"{g['memory_gib'] or 0:.0f} GiB" for g in usable)
            out.append(("gpu memory", f"{want['gpu_memory_gib']} GiB or more", least))
    if "arch" in want and machine["arch"] != want["arch"]:
        out.append(("arch", want["arch"], machine["arch"]))
    if "cpus" in want and machine["cpus"] != want["cpus"]:
        out.append(("threads", str(want["cpus"]), str(machine["cpus"])))
    missing = [flag for flag in want.get("isa", ()) if flag not in machine["isa"]]
    if missing:
        out.append(("isa", " ".join(missing), "none of these"))
    beyond = [flag for flag in want.get("lacks", ()) if flag in machine["isa"]]
    if beyond:
        out.append(("isa", "no " + " ".join(beyond), "there"))
    return out


def _gpu_text(gpus: list[Mapping[str, Any]]) -> str:
    kinds = [g["name"] for g in gpus]
    return ", ".join(f"{name} x{kinds.count(name)}" for name in dict.fromkeys(kinds)) or "none"
