"""A profile of the user's own machine: written from the probe, read from a file after ``--profile``."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.hardware import profiles
from benchmarks.hardware.probe import ProbedMachine

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")
"""Form of a profile's name, which is its file's without ``.toml``."""
DECISIVE_FLAGS = (
    "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16",
    "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
"""Processor flags that decide the speed of kernels, of x86-64 and of ARM."""
WATTS_A_THREAD, RAM_WATTS = 4.0, (20.0, 40.0)
"""Watts of a hardware thread at full load, and of little and much memory: codecarbon's defaults."""
MANY_GIB = 128


def is_file_word(word: str) -> bool:
    """Return whether a word after ``--profile`` is a file."""
    return word.endswith(".toml") or "/" in word


def declare_file(word: str) -> str:
    """Declare the profile of a file in this process; return its name.

    Raises:
        UsageError: the file is no profile, or has the name of one that is declared here.
    """
    path = Path(word).expanduser()
    if not path.is_file():
        raise UsageError(
            f"--profile {word}: no such file\nwrite one of this machine: supernet-bench profiles new"
        )
    name = path.name.removesuffix(".toml")
    if not NAME.fullmatch(name):
        raise UsageError(
            f"--profile {word}: its file is its name: lower-case letters, digits, points and hyphens,"
            " such as mine.v1.toml"
        )
    profile = profiles.read(path)
    if name in profiles.names() or name == profiles.UNDECLARED:
        raise UsageError(f"--profile {word}: '{name}' is declared here already: rename the file")
    profiles.declare(profile)
    return name


def suggested_name(machine: ProbedMachine) -> str:
    """Return a name for this machine's profile, version included."""
    gpus = machine["gpus"]
    model = gpus[0]["name"] if gpus else machine["cpu"] or machine["arch"]
    model = re.sub(r"\((r|tm)\)|\bcpu\b|\bprocessor\b|@.*", " ", model.lower())
    words = re.sub(r"[^a-z0-9]+", "-", model).strip("-")[:40].strip("-")
    return f"{words or 'machine'}-{len(gpus) or machine['cpus']}{'x' if gpus else 'threads'}.v1"


def text_of(machine: ProbedMachine) -> str:
    """Return the TOML of a profile that this machine fits."""
    gpus, cpus = machine["gpus"], machine["cpus"]
    kinds = {gpu["name"] for gpu in gpus}
    usable = gpus if len(kinds) == 1 else []
    flags = [flag for flag in DECISIVE_FLAGS if flag in machine["isa"]]
    cpu = machine["cpu"] or machine["arch"]
    what = f"{len(usable)} {usable[0]['name']} and " if usable else ""
    lines = [
        "# This machine, as supernet-bench saw it. Its name is this file's: it stands in every record.",
        "# A profile never changes once results under it exist: what must change gets the next version.",
        f"summary = {_quoted(f'{what}{cpus} hardware threads of {cpu}')}",
        f'device = "{"cuda" if usable else "cpu"}"',
        f"threads = {cpus}   # that torch uses inside an operator",
        "",
        "[machine]   # what a machine must have to run under this profile; leave out what may differ",
        f"arch = {_quoted(machine['arch'])}",
        f"cpus = {cpus}   # hardware threads that this process may use (affinity and container quota)",
        *([f"cpu = {_quoted(machine['cpu'])}"] if machine["cpu"] else []),
        f"isa = {json.dumps(flags)}",
    ]
    if usable:
        least = min(gpu["memory_gib"] or 0.0 for gpu in usable)
        lines += [f"gpu = {_quoted(usable[0]['name'])}", f"gpus = {len(usable)}"]
        lines += [f"gpu_memory_gib = {int(least * 0.95)}   # at least"] if least else []
    ram = RAM_WATTS[machine["memory_gib"] >= MANY_GIB]
    lines += [
        "",
        "# Watts that stand for a machine without energy counters (RAPL): codecarbon's defaults. Put in",
        "# what a meter shows, if you have one.",
        "[energy]",
        f"cpu_watts = {WATTS_A_THREAD * cpus}",
        f"ram_watts = {ram}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return a TOML string; JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
