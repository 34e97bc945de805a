"""Threads of torch as a profile declares them, and the profile that this process was given."""

from __future__ import annotations

import torch

from benchmarks.api import ProfileMismatchError
from benchmarks.hardware.profiles import UNDECLARED, Profile, get


def apply(profile: Profile, jobs: int = 1) -> int:
    """Give torch the declared number of threads; once a process, before its first parallel work.

    Args:
        profile: declares the threads. A timing uses all of them.
        jobs: processes that share the threads. Each waits at every product for its own slowest thread, so
            more threads than processors slow all of them down many times over.

    Returns:
        The number of threads that torch uses now.

    Raises:
        ProfileMismatchError: the profile's device is a GPU and this torch cannot use one.
    """
    if profile.device == "cuda" and not torch.cuda.is_available():
        raise ProfileMismatchError(
            f"profile {profile.name} runs on a GPU, which torch {torch.__version__} here cannot use\n"
            "install a CUDA build of torch, or run on the processor: --profile cpu-2core-avx512.v1"
        )
    _applied.append(profile)
    threads = max(1, (profile.threads or torch.get_num_threads()) // jobs)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


_applied: list[Profile] = []


def applied() -> Profile:
    """Return the profile of the last ``apply`` in this process; ``undeclared`` before the first."""
    return _applied[-1] if _applied else get(UNDECLARED)


def declared() -> int | None:
    """Return the number of threads for timing, whatever training uses; None: torch's own number."""
    return applied().threads
