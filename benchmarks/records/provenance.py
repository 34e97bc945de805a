"""Provenance of a result: code, versions, machine and command. Imports no torch.

It holds no path of a disk and no name of a user.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from benchmarks.hardware.probe import probe
from benchmarks.records.canonical import JsonObject
from benchmarks.records.record import Gpu, Machine, MethodOrigin, Provenance
from benchmarks.records.text import without_folders
from benchmarks.registry import MethodRef

COMMIT_VARIABLE = "SUPERNET_BENCH_COMMIT"
"""Environment variable with the commit of a tree without its history; recorded as given."""

DISTRIBUTION = "supernet-bench"
PACKAGES = (
    DISTRIBUTION,
    "torch",
    "numpy",
    "sacrebleu",
    "sentencepiece",
    "safetensors",
    "scikit-learn",
    "scipy",
    "codecarbon",
    "nvidia-ml-py",
    "triton",
)
ENVIRONMENT = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTHONHASHSEED",
)
GIT_SECONDS = 30
LARGEST_HASHED = 2**26
"""Bytes. Of a larger untracked file only name and size enter the digest."""


def provenance(
    *,
    data: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
    started: str = "",
    ended: str = "",
) -> Provenance:
    """Return the record's ``provenance``.

    Args:
        data: sha256 of every data file by name.
        command: as typed; this process's own by default. Paths are cut to their last part.
        started: ISO time.
        ended: ISO time.
    """
    commit, dirty = source_state()
    package, changed = released() if commit is None else (None, None)
    origin: JsonObject = {
        "commit": commit,
        "dirty_sha256": dirty or changed,
        **({"package": package} if package else {}),
        "versions": versions(),
        "data": dict(data or {}),
        "machine": machine(),
        "command": without_folders(sys.argv if command is None else command),
        "env": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "started": started,
        "ended": ended,
    }
    return cast(Provenance, origin)


def source_state(folder: Path | None = None) -> tuple[str | None, str | None]:
    """Return the commit of the running code, and a digest of its uncommitted changes.

    Returns:
        ``(commit, None)`` for a clean tree; ``(commit, sha256)`` where tracked files differ from
        the commit or there are untracked ones (the digest is over both); ``(None, None)`` outside a
        checkout or without git. ``SUPERNET_BENCH_COMMIT`` comes before all of it.
    """
    stated = os.environ.get(COMMIT_VARIABLE, "").strip()
    if stated:
        return stated, None
    root = Path(__file__).resolve().parents[2] if folder is None else folder
    top = _git(root, "rev-parse", "--show-toplevel")
    # An installed package may lie inside somebody else's checkout.
    if top is None or Path(os.fsdecode(top).strip()).resolve() != root.resolve():
        return None, None
    head = _git(root, "rev-parse", "--verify", "HEAD")
    commit = head.decode().strip() if head else None
    # Results are products of the code, not part of it.
    ours = ("--", ".", ":(exclude)results")
    changed = _git(root, "diff", "--no-ext-diff", "--binary", "HEAD", *ours) if head else b""
    others = _git(root, "ls-files", "--others", "--exclude-standard", "-z", *ours)
    new = sorted(name for name in (others or b"").split(b"\0") if name)
    if not changed and not new and changed is not None:
        return commit, None
    digest = hashlib.sha256(changed or b"")
    for name in new:
        digest.update(b"\0" + name + b"\0")
        path = root / os.fsdecode(name)
        if path.is_file():
            size = path.stat().st_size
            small = size <= LARGEST_HASHED
            digest.update(hashlib.sha256(path.read_bytes()).digest() if small else b"%d" % size)
    return commit, digest.hexdigest()


def released(name: str = DISTRIBUTION) -> tuple[dict[str, str] | None, str | None]:
    """Return name and version of the running installed release, and a digest of its changed files.

    Returns:
        ``(None, None)`` if the running code is no installed release, such as an editable install.
    """
    try:
        about = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None, None
    hashed = [file for file in about.files or () if file.hash is not None and file.suffix == ".py"]
    here = Path(__file__).resolve()
    if here not in {Path(str(file.locate())).resolve() for file in hashed if file.name == here.name}:
        return None, None
    changed = hashlib.sha256()
    differs = False
    for file in sorted(hashed, key=str):
        try:
            actual = hashlib.sha256(file.read_binary()).digest()
        except OSError:
            actual = b""
        stated = file.hash
        if stated is not None and base64.urlsafe_b64encode(actual).decode().rstrip("=") != stated.value:
            differs = True
            changed.update(str(file).encode() + b"\0" + actual)
    return {"name": name, "version": about.version}, changed.hexdigest() if differs else None


def method(ref: MethodRef) -> MethodOrigin:
    """Return the origin of a method: its package and version, its place in a repository, or its address.

    ``word`` is what stands after ``--methods``; a file's path there is cut to its last part.
    """
    origin: MethodOrigin = {"word": _word(ref)}
    where, _, class_name = ref.source.rpartition(":")
    if not where.endswith(".py"):
        try:
            return origin | {"package": ref.origin, "version": importlib.metadata.version(ref.origin)}
        except importlib.metadata.PackageNotFoundError:
            return origin
    file = Path(where)
    if ref.url:
        origin["url"] = ref.url
    top = _git(file.parent, "rev-parse", "--show-toplevel")
    if top is None:
        return origin
    root = Path(os.fsdecode(top).strip())
    place = file.resolve().relative_to(root.resolve()).as_posix()
    if root.resolve() == Path(__file__).resolve().parents[2]:
        return origin | {"path": place, "word": f"./{place}:{class_name}"}
    head = _git(root, "rev-parse", "--verify", "HEAD")
    clean = _git(root, "ls-files", "--error-unmatch", "--", place) is not None and (
        _git(root, "diff", "--quiet", "HEAD", "--", place) is not None
    )
    address = _git(root, "remote", "get-url", "origin")
    if head and clean and address:
        bare = re.sub(r"^(\w+://)[^/@]*@", r"\1", os.fsdecode(address).strip())  # without credentials
        if "://" in bare or re.match(r"[\w.-]+@[\w.-]+:", bare):  # no path of this machine
            origin |= {"path": place, "repository": bare, "commit": head.decode().strip()}
    return origin


def _word(ref: MethodRef) -> str:
    """Return the word after ``--methods`` that selects a method."""
    where, _, class_name = ref.source.rpartition(":")
    own = f"./{Path(where).name}:{class_name}" if where.endswith(".py") else ref.name.rpartition("+")[2]
    return f"{_word(ref.leader)}+{own}" if ref.leader is not None else own


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Return the output of git; None if it fails, hangs or does not exist."""
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        # Another owner's checkout, as in containers, is refused otherwise; its code is running already.
        command = ["git", "-c", f"safe.directory={folder}", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, timeout=GIT_SECONDS, env=env, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the version of each package that is installed, and of Python."""
    installed = {"python": platform.python_version()}
    for name in packages:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def machine() -> Machine:
    """Return the hardware of this machine, without its owner.

    ``fingerprint`` is a digest over the parts that machines alike share: processor, threads, flags, memory
    and GPUs, not the kernel and driver. ``boot`` distinguishes one of them from the others until it is
    started anew; None if the system states none.
    """
    probed = probe()
    flags = hashlib.sha256(" ".join(probed["isa"]).encode()).hexdigest()[:16]
    gpus: list[Gpu] = [{"name": g["name"], "memory_gib": g["memory_gib"]} for g in probed["gpus"]]
    fixed: Machine = {
        "cpu": probed["cpu"],
        "arch": probed["arch"],
        "cpus": probed["cpus"],
        "flags_sha256": flags,
        "memory_gib": probed["memory_gib"],
        "gpus": gpus,
    }
    return {
        "fingerprint": hashlib.sha256(repr(sorted(fixed.items())).encode()).hexdigest()[:16],
        **fixed,
        "boot": _boot(),
        "driver": probed["gpus"][0]["driver"] if probed["gpus"] else None,
        "kernel": platform.release(),
        "system": platform.system(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
    }


def _boot() -> str | None:
    """Return a digest of the number that the system drew at its start."""
    try:
        return hashlib.sha256(Path("/proc/sys/kernel/random/boot_id").read_bytes()).hexdigest()[:16]
    except OSError:
        return None
