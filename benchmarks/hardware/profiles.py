"""Declared hardware: profiles, and their comparison with this machine. Imports no torch.

A profile is one file of ``declared/``. Results are compared inside one profile only, so a run under a
profile that does not fit the machine is refused. ``undeclared`` stands for no profile: any machine may
run under it, and its results are compared among themselves only.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypedDict

from benchmarks.api import ProfileMismatchError, UsageError
from benchmarks.hardware.probe import ProbedGpu, ProbedMachine, probe

FOLDER = Path(__file__).parent / "declared"
UNDECLARED = "undeclared"
FieldType = type | UnionType
FIELDS: Mapping[str, FieldType] = {
    "summary": str, "device": str, "threads": int, "machine": Mapping, "energy": Mapping,
}  # fmt: skip
"""Field of a profile -> its type."""
MACHINE_FIELDS: Mapping[str, FieldType] = {
    "arch": str, "cpus": int, "cpu": str, "isa": list | tuple, "lacks": list | tuple, "gpu": str, "gpus": int,
    "gpu_memory_gib": int | float,
}  # fmt: skip
"""Field of a profile's machine -> its type."""
REQUIRED = ("summary", "device", "threads", "machine", "machine.arch", "machine.cpus")
"""Fields that every profile needs."""
EXAMPLES: Mapping[FieldType, str] = {
    str: "text", int: "whole number", Mapping: "table", list | tuple: "list", int | float: "number",
}  # fmt: skip
"""Type -> its name in a message."""
MOST_THREADS = 1024


class MachineRequirement(TypedDict, total=False):
    """Hardware that a machine must have; absent fields are free.

    ``isa`` and ``lacks`` are processor flags that it must and must not have; ``gpus`` is the number of GPUs
    and ``gpu_memory_gib`` the least memory of each. ``cpu`` is the model's name.
    """

    arch: str
    cpus: int
    cpu: str
    isa: Sequence[str]
    lacks: Sequence[str]
    gpu: str
    gpus: int
    gpu_memory_gib: float


@dataclass(frozen=True)
class Profile:
    """One declared kind of machine.

    Attributes:
        device: of the networks, ``cpu`` or ``cuda``.
        threads: number of torch's threads; None leaves torch's own number (``undeclared`` only).
        machine: hardware that the machine must have.
        energy: ``cpu_watts`` and ``ram_watts`` for the energy model of a machine without counters.
    """

    name: str
    device: str
    threads: int | None
    summary: str = ""
    machine: MachineRequirement = field(default_factory=MachineRequirement)
    energy: Mapping[str, float] = field(default_factory=dict)


_DECLARED: dict[str, Profile] = {}


def declare(profile: Profile) -> None:
    """Make a profile of the user's known to this process under its name."""
    _DECLARED[profile.name] = profile


def withdraw(name: str) -> None:
    """Forget a profile of the user's; nothing happens where none has this name."""
    _DECLARED.pop(name, None)


def declared() -> tuple[Profile, ...]:
    """Return all profiles that the user declared in this process."""
    return tuple(_DECLARED.values())


def names() -> list[str]:
    """Return the names of the declared profiles, sorted; without ``undeclared``."""
    return list(_names())


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(path.name.removesuffix(".toml") for path in FOLDER.glob("*.toml")))


def is_known(name: str) -> bool:
    """Return whether a profile of this name is declared, by this project or by the user."""
    return name in _DECLARED or name in names()


def get(name: str) -> Profile:
    """Return the profile called ``name``; ``undeclared`` has the device of this machine.

    Raises:
        UsageError: there is none of that name.
    """
    if name == UNDECLARED:
        return Profile(UNDECLARED, "cuda" if probe()["gpus"] else "cpu", None, "this machine, undeclared")
    if name in _DECLARED:
        return _DECLARED[name]
    if name not in names():
        known = [*names(), UNDECLARED]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"no profile {name!r}.{hint}\nknown: {' '.join(known)}\n"
            "list their requirements: supernet-bench profiles"
        )
    return read(FOLDER / f"{name}.toml")


@cache
def read(path: Path) -> Profile:
    """Return the profile in a file.

    Raises:
        UsageError: the file is no profile.
    """
    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read '{path}': {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"'{path}' is not TOML: {error}\nsee an example: supernet-bench profiles new"
        ) from None
    return checked(path.name.removesuffix(".toml"), table, f"'{path}'")


def checked(name: str, table: Mapping[str, Any], where: str) -> Profile:
    """Return the profile that a table declares.

    Args:
        name: of the profile.
        table: content of its file.
        where: place of the table, for messages.

    Raises:
        UsageError: a field is unknown, missing or of another type; names it.
    """
    machine = table.get("machine", {})
    if not isinstance(machine, Mapping):
        raise UsageError(f"{where}: machine = {machine!r}: a table is needed, [machine]")
    unknown = [key for key in table if key not in FIELDS]
    unknown += [f"machine.{key}" for key in machine if key not in MACHINE_FIELDS]
    if unknown:
        known = ", ".join((*FIELDS, *(f"machine.{key}" for key in MACHINE_FIELDS)))
        raise UsageError(f"{where}: unknown fields {', '.join(map(str, unknown))}\nknown: {known}")
    fields = [(key, table.get(key), kinds) for key, kinds in FIELDS.items()]
    fields += [(f"machine.{key}", machine.get(key), kinds) for key, kinds in MACHINE_FIELDS.items()]
    for key, value, kinds in fields:
        if value is None and key not in REQUIRED:
            continue
        if not isinstance(value, kinds) or isinstance(value, bool):
            state = "missing" if value is None else f"{value!r}"
            raise UsageError(f"{where}: {key} is {state}: a {EXAMPLES[kinds]} is needed")
        if isinstance(value, list) and not all(isinstance(flag, str) for flag in value):
            raise UsageError(f"{where}: {key} is {value!r}: a list of texts is needed")
    if table["device"] not in ("cpu", "cuda"):
        raise UsageError(f"{where}: device {table['device']!r}, choose cpu or cuda")
    threads, energy = table["threads"], table.get("energy", {})
    if not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"{where}: threads {threads}, from 1 to {MOST_THREADS}")
    if table["device"] == "cuda" and not (machine.get("gpu") and machine.get("gpus")):
        raise UsageError(f"{where}: a profile of device cuda needs machine.gpu and machine.gpus")
    if not all(isinstance(w, int | float) and not isinstance(w, bool) and w > 0 for w in energy.values()):
        raise UsageError(f"{where}: energy {dict(energy)}: cpu_watts and ram_watts are numbers above zero")
    if energy and set(energy) != {"cpu_watts", "ram_watts"}:
        raise UsageError(f"{where}: energy has {', '.join(energy)}: cpu_watts and ram_watts are needed")
    requirement: MachineRequirement = dict(machine)  # type: ignore[assignment]
    return Profile(name, table["device"], threads, table["summary"], requirement, energy)


def matching(machine: ProbedMachine | None = None) -> str | None:
    """Return the declared profile that fits this machine, with a GPU before without; None if none fits."""
    machine = probe() if machine is None else machine
    fits = [profile for profile in map(get, names()) if not differences(profile, machine)]
    fits.sort(key=lambda profile: (profile.device != "cuda", profile.name))
    return fits[0].name if fits else None


def resolve(name: str) -> str:
    """Return ``auto`` as the profile that fits this machine, or ``undeclared``; check other names."""
    if name == "auto":
        return matching() or UNDECLARED
    return get(name).name


def enforce(name: str, machine: ProbedMachine | None = None) -> Profile:
    """Return the profile called ``name`` if it fits this machine.

    Raises:
        UsageError: there is no such profile.
        ProfileMismatchError: with a line for every difference.
    """
    profile = get(name)
    machine = probe() if machine is None else machine
    differing = differences(profile, machine)
    if not differing:
        return profile
    rows = [f"  {part:<10}{'declared ' + declared:<31}found {actual}" for part, declared, actual in differing]
    here = matching(machine)
    way = (
        f"run on what this machine is: --profile {here}, or measure it apart from all others:"
        if here
        else "this machine is none of the declared profiles; write one of it: supernet-bench profiles new,"
        " or measure it apart from all others:"
    )
    lines = [f"this machine is not {name}", *rows, f"{way} --profile {UNDECLARED}"]
    raise ProfileMismatchError("\n".join(lines))


def differences(profile: Profile, machine: ProbedMachine) -> list[tuple[str, str, str]]:
    """Return part, declared and actual value of every difference between ``machine`` and ``profile``."""
    want, out = profile.machine, []
    gpus = machine["gpus"]
    if "gpu" in want:
        usable = [g for g in gpus if g["name"] == want["gpu"]]
        if len(usable) != want["gpus"] or len(gpus) != want["gpus"]:
            out.append(("gpu", f"{want['gpu']} x{want['gpus']}", _gpu_text(gpus)))
        elif any((g["memory_gib"] or 0) < want.get("gpu_memory_gib", 0) for g in usable):
            least = ", ".join(f"{g['memory_gib'] or 0:.0f} GiB" for g in usable)
            out.append(("gpu memory", f"{want['gpu_memory_gib']} GiB or more", least))
    if "arch" in want and machine["arch"] != want["arch"]:
        out.append(("arch", want["arch"], machine["arch"]))
    if "cpu" in want and machine["cpu"] != want["cpu"]:
        out.append(("processor", want["cpu"], machine["cpu"] or "not stated"))
    if "cpus" in want and machine["cpus"] != want["cpus"]:
        out.append(("threads", str(want["cpus"]), str(machine["cpus"])))
    missing = [flag for flag in want.get("isa", ()) if flag not in machine["isa"]]
    if missing:
        out.append(("isa", " ".join(missing), "none of these"))
    beyond = [flag for flag in want.get("lacks", ()) if flag in machine["isa"]]
    if beyond:
        out.append(("isa", "no " + " ".join(beyond), "there"))
    return out


def _gpu_text(gpus: Sequence[ProbedGpu]) -> str:
    kinds = [g["name"] for g in gpus]
    return ", ".join(f"{name} x{kinds.count(name)}" for name in dict.fromkeys(kinds)) or "none"
