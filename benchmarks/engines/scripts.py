"""Texts that start workers, for people to submit: sbatch scripts and Kubernetes manifests."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.api import UsageError
from benchmarks.engines.parallel_config import ARRAY, WorkerGroup
from benchmarks.records.canonical import JsonObject

SIGNAL_S = 120
"""Seconds before its end at which Slurm asks a worker to save."""
NEEDED = {"image": "registry/supernet-bench:1", "claim": "results", "mount": "/results"}
"""Keys that a manifest needs, with examples."""
NOT_DIRECTIVES = ("setup", "array_parallelism", "additional_parameters", "time")
"""``slurm_*`` keys that are no option of sbatch of the same name."""


def command(study: Path, group: WorkerGroup) -> str:
    """Return the shell command of one worker."""
    return shlex.join(["supernet-bench", "work", str(study.absolute()), *group.arguments])


def sbatch(study: Path, group: WorkerGroup) -> list[str]:
    """Return sbatch scripts for a group; several where one job array would be too large.

    Raises:
        UsageError: a folder whose name would end a directive's line.
    """
    if len(f"{study.absolute()}.".splitlines()) > 1:
        raise UsageError(f"{str(study.absolute())!r}: a line break in a name; --results names another folder")
    size = int(group.config.other.get("max_array_size", ARRAY))
    scripts = []
    for number in range(math.ceil(group.count / size)):
        count = min(size, group.count - number * size)
        scripts.append(_sbatch(study, group, count))
    return scripts


def _sbatch(study: Path, group: WorkerGroup, count: int) -> str:
    slurm = group.config.slurm
    limit = f"%{group.config.parallelism}" if group.config.parallelism else ""
    minutes = round(group.config.hours * 60)
    own = {
        "job-name": "supernet-bench",
        "array": f"0-{count - 1}{limit}",
        "time": f"{minutes // 60:02d}:{minutes % 60:02d}:00",
        "signal": f"B:USR1@{SIGNAL_S}",
        "output": f"{study.absolute().parent}/slurm-%A_%a.txt",
    }
    given = {k.replace("_", "-"): v for k, v in slurm.items() if k not in NOT_DIRECTIVES}
    extra = slurm.get("additional_parameters", {})
    options = {**own, **given, **{k.replace("_", "-"): v for k, v in extra.items()}}
    lines = ["#!/bin/bash"]
    for name, value in options.items():
        lines.append(f"#SBATCH --{name}" if value is True else f"#SBATCH --{name}={value}")
    lines += ["#SBATCH --requeue", *slurm.get("setup", ())]
    return "\n".join(
        [
            *lines,
            f"{command(study, group)} &",
            "worker=$!",
            "trap 'kill -USR1 $worker' USR1 TERM",
            # A signal interrupts a wait, and the worker goes on; the last wait returns its own exit code.
            "while kill -0 $worker 2>/dev/null; do wait $worker; done",
            "wait $worker",
            "",
        ]
    )


def kubernetes(study: Path, groups: Sequence[WorkerGroup]) -> str:
    """Return a manifest with one Indexed Job for each group.

    Raises:
        UsageError: the configuration names no image or no volume claim.
    """
    return "---\n".join(
        yaml.safe_dump(_job(study, group, number), sort_keys=False) for number, group in enumerate(groups)
    )


def _job(study: Path, group: WorkerGroup, number: int) -> JsonObject:
    config = group.config
    for name, example in (
        ("image", "registry/supernet-bench:1"),
        ("claim", "results"),
        ("mount", "/results"),
    ):
        if name not in config.other:
            raise UsageError(f"{config.path}: no {name}: write  {name}: {example}")
    limits: JsonObject = {}
    for name, key in (("cpus", "cpu"), ("memory", "memory"), ("gpus", "nvidia.com/gpu")):
        if name in config.other:
            limits[key] = config.other[name]
    worker = {
        "name": "worker",
        "image": config.other["image"],
        "command": ["supernet-bench", "work", str(study), *group.arguments],
        "resources": {"limits": limits, "requests": dict(limits)},
        "volumeMounts": [{"name": "results", "mountPath": config.other["mount"]}],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": SIGNAL_S,
        "containers": [worker],
        "volumes": [{"name": "results", "persistentVolumeClaim": {"claimName": config.other["claim"]}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"supernet-bench-{number}"},
        "spec": {
            "completionMode": "Indexed",
            "completions": group.count,
            "parallelism": config.parallelism or group.count,
            "backoffLimitPerIndex": 4,
            # An evicted pod costs no attempt: its runs are saved, and the next one goes on.
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
                ]
            },
            "template": {"spec": pod},
        },
    }
