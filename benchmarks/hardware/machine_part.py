"""Part of a machine that a process is confined to: its cores and its GPUs. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

Part = Mapping[str, Sequence[object]]
"""``cores`` and ``gpus``, by number or name."""


def machine_part() -> dict[str, list[int] | list[str]]:
    """Return the cores that this process may run on, and the GPUs that ``CUDA_VISIBLE_DEVICES`` leaves it.

    Without that variable it may use all GPUs, and none is named.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpus = [name for name in map(str.strip, visible.split(",")) if name]
    return {"cores": sorted(os.sched_getaffinity(0)), "gpus": gpus}


def cores_apart() -> tuple[int, ...]:
    """Return the cores of a process that is confined to some of them and to GPUs; empty for all others.

    What runs on other cores does not disturb timings on its GPUs, but would disturb timings on processors.
    """
    cores, gpus = machine_part().values()
    return tuple(map(int, cores)) if gpus and len(cores) < (os.cpu_count() or 0) else ()


def are_apart(part: Part, other: Part) -> bool:
    """Return whether two parts name GPUs in the same way and have none, and no core, in common.

    An index and a UUID may name one GPU. Parts without GPUs share the memory that their timings depend on.
    """
    (cores, gpus), (other_cores, other_gpus) = (
        ({str(core) for core in each.get("cores", ())}, {str(gpu) for gpu in each.get("gpus", ())})
        for each in (part, other)
    )
    named_alike = len({gpu.isdigit() for gpu in gpus | other_gpus}) == 1
    present = all((cores, gpus, other_cores, other_gpus))
    return present and named_alike and not (cores & other_cores or gpus & other_gpus)
