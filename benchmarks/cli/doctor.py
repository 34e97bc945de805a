"""``supernet-bench profiles``, ``doctor`` and ``cost``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import registry
from benchmarks.api import UsageError
from benchmarks.cli.list import profiles as declared_rows
from benchmarks.cli.list import table
from benchmarks.hardware import profiles as declared

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
OPTIONAL = ("torchvision", "timm")
FREE_GB = 5


def profiles(options: argparse.Namespace) -> int:
    """Declared profiles, this machine and, with data, the latency predictors of table profiles."""
    rows = declared_rows()
    machine = declared.probe()
    from benchmarks.latency_tables import evaluation

    left_out: list[str] = []
    evaluated = evaluation.evaluate_tables(options.data_dir, say=left_out.append) if options.data_dir else []
    if options.json:
        shown = [row.to_dict() for row in evaluated]
        print(json.dumps({"profiles": rows, "machine": machine, "tables": shown}, indent=1))
        return 0
    table(("name", "device", "threads", "this_machine", "summary"), rows)
    gpus = ", ".join(gpu["name"] for gpu in machine["gpus"]) or "none"
    own = f"{machine['cpu']}, {machine['cpus']} threads, {machine['memory_gib']} GiB, GPU {gpus}"
    print(f"\nthis machine: {own}")
    if evaluated:
        print()
        cells = evaluation.as_text(evaluated)
        table(evaluation.HEADER, [dict(zip(evaluation.HEADER, row, strict=True)) for row in cells])
        print("\n".join([evaluation.FOOTNOTE, *left_out]))
    else:
        print("predictors' errors on table profiles: --data-dir FOLDER with published/*_latency_*.csv.gz")
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Check the environment; 1 where something must be mended."""
    checks = [*_software(), *_hardware(), *_places(options)]
    bad = [c for c in checks if c["verdict"] == "bad"]
    if options.json:
        print(json.dumps({"ok": not bad, "checks": checks}, indent=1))
    else:
        table(("verdict", "what", "found"), checks)
    return 1 if bad else 0


def _check(verdict: str, what: str, found: str) -> dict[str, str]:
    return {"verdict": verdict, "what": what, "found": found}


def _software() -> Sequence[dict[str, str]]:
    checks = []
    major, minor = map(int, platform.python_version_tuple()[:2])
    fine = (3, 11) <= (major, minor) < (3, 14)
    checks.append(
        _check(
            "ok" if fine else "bad",
            "python",
            platform.python_version() + ("" if fine else ": 3.11 to 3.13 are supported"),
        )
    )
    for name in NEEDED:
        try:
            checks.append(_check("ok", name, version(name)))
        except PackageNotFoundError:
            checks.append(_check("bad", name, "not installed: python -m pip install -e ."))
    for name in OPTIONAL:
        try:
            checks.append(
                _check(
                    "note",
                    name,
                    f"{version(name)}: not needed; one built for another torch breaks other packages",
                )
            )
        except PackageNotFoundError:
            pass
    for name, ref in registry.methods().items():
        if isinstance(ref, UsageError):
            checks.append(_check("bad", f"method {name}", str(ref).splitlines()[0]))
    return checks


def _hardware() -> Sequence[dict[str, str]]:
    machine = declared.probe()
    here = declared.matching()
    named = (
        _check("ok", "profile", here)
        if here
        else _check("note", "profile", "none matches: runs are 'undeclared', apart from all others")
    )
    checks = [named, _check("ok", "cpu", f"{machine['cpu']}, {machine['cpus']} threads usable")]
    threads = os.environ.get("OMP_NUM_THREADS")
    want = declared.get(here).threads if here else None
    if threads and want and int(threads) != want:
        checks.append(
            _check("note", "OMP_NUM_THREADS", f"{threads}: the profile declares {want}, which runs will use")
        )
    load = os.getloadavg()[0]
    busy = load > 0.5 * machine["cpus"]
    checks.append(
        _check(
            "note" if busy else "ok",
            "load",
            f"{load:.1f}" + (": others are at work, timings will show it" if busy else ""),
        )
    )
    gpus = ", ".join(f"{gpu['name']} (driver {gpu['driver']})" for gpu in machine["gpus"])
    checks.append(_check("ok", "gpu", gpus or "none"))
    if gpus:
        import torch

        usable = torch.cuda.is_available()
        checks.append(
            _check(
                "ok" if usable else "bad", "torch.cuda", torch.version.cuda or "a build of torch without CUDA"
            )
        )
    return checks


def _places(options: argparse.Namespace) -> Sequence[dict[str, str]]:
    place = options.results
    while not place.exists():
        place = place.parent if place.parent != place else Path(".")
    free = shutil.disk_usage(place).free / 1e9
    writable = os.access(place, os.W_OK)
    checks = [
        _check("ok" if free > FREE_GB else "note", "disk", f"{free:.0f} GB free for results"),
        _check(
            "ok" if writable else "bad",
            "results folder",
            "can be written" if writable else f"{options.results} cannot be written: --results DIR",
        ),
    ]
    if options.data_dir is not None:
        there = options.data_dir.is_dir()
        names = sorted(p.name for p in options.data_dir.iterdir() if p.is_dir()) if there else []
        checks.append(
            _check(
                "ok" if there else "bad",
                "data folder",
                " ".join(names) if there else f"{options.data_dir} is no folder",
            )
        )
    return checks


def cost(options: argparse.Namespace) -> int:
    """Print what one architecture costs, by the one accounting of the project."""
    from supernet.space import SPACES, from_hat, get_space

    if options.space not in SPACES:
        raise registry.unknown("space", options.space, SPACES, "one of the spaces above: --space NAME")
    if len(options.vocab) > 2:
        raise UsageError(f"--vocab takes one size (shared) or two (source, target), not {len(options.vocab)}")
    try:
        values = json.loads(options.architecture.read_text())
        if not isinstance(values, dict):
            raise UsageError(
                f"{options.architecture}: expected an object of field -> value, found {type(values).__name__}"
            )
        values = values.get("architecture", values)  # an exported sub-network's file is fine as well
        space = get_space(options.space)
        architecture = from_hat(space, values)
    except OSError as error:
        raise UsageError(f"cannot read '{options.architecture}': {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise UsageError(f"{options.architecture}: {error}") from None
    from supernet.cost import cost as count
    from supernet.families import family_of

    try:
        family = family_of(space, options.vocab)
    except ValueError as error:
        raise UsageError(f"{error}: --vocab {options.vocab[0]}") from None
    found: dict[str, Any] = count(
        family, architecture, source_len=options.source_len, target_len=options.target_len
    ).to_dict()
    if options.json:
        print(json.dumps({"space": options.space, "architecture": architecture.to_dict(), **found}, indent=1))
        return 0
    print(f"space       {options.space}")
    print(f"key         {architecture.key()}")
    body = "without embedding tables and output layer"
    print(f"parameters  {found['params']:,} ({found['params_body']:,} {body})")
    print(f"MACs        {found['macs']:,} ({found['macs_body']:,} without output layer)")
    print(f"            at {options.source_len} source and {options.target_len} target tokens")
    print(f"bytes       {found['bytes']:,} (fp32)")
    return 0
