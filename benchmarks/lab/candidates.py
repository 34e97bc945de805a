"""Exported candidates: written, read back, and validated as they are on disk."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.api import Measurement, Window
from benchmarks.measurement.serving import scoring_module
from benchmarks.measurement.workload import Workload
from supernet import export
from supernet.elastic import SuperNet
from supernet.quantization.precisions import Policy


class ContractViolationError(Exception):
    """The method broke its contract; the message says how."""


def write_candidate(
    folder: Path,
    module: nn.Module,
    spec: Mapping[str, Any],
    architecture: Mapping[str, Any],
    policy: Policy | None,
    device: str,
    evaluate: Callable[[nn.Module, str], Measurement],
    workload: Workload,
) -> dict[str, Any]:
    """Write one sub-network and validate what was written, not what the supernet claims.

    Args:
        policy: under which it is deployed; what is validated is then the quantised network.
        device: where it runs; with a policy, which needs the processor's kernels, that is the processor.
        evaluate: validates a network on a device.
        workload: says which runtime serves it.

    Returns:
        ``weights_sha256`` and ``valid`` (``loss``, ``metrics``).

    Raises:
        ContractViolationError: weights or validation loss are not finite, or the policy does not fit this
            network.
    """
    bad = [name for name, p in module.named_parameters() if not torch.isfinite(p).all()]
    if bad:
        raise ContractViolationError(
            f"candidate {folder.name}: weights that are not finite numbers (NaN or infinite) in {bad[0]}"
        )
    shutil.rmtree(folder, ignore_errors=True)
    export.save(folder, module, spec, architecture, policy)
    module, about = export.load(folder)
    if policy or (workload.runtime != "torch" and device == "cpu"):
        try:
            module, device = scoring_module(module, policy, workload), "cpu"
        except ValueError as error:
            raise ContractViolationError(f"candidate {folder.name}: {error}") from None
    found = evaluate(module.to(device), device)
    if not math.isfinite(found.loss):
        raise ContractViolationError(f"candidate {folder.name}: its validation loss is {found.loss}")
    valid = {"loss": float(found.loss), "metrics": dict(found.metrics)}
    return {"weights_sha256": about["weights_sha256"], "valid": valid}


def intact(folder: Path, sha256: str) -> bool:
    """Whether a candidate that an earlier session wrote is still what it was."""
    try:
        _, about = export.load(folder)
    except export.CorruptExportError:
        return False
    return bool(about["weights_sha256"] == sha256)


@contextmanager
def untouched_random_state(device: str) -> Iterator[None]:
    """Work of the harness's own inside: a resumed run skips it, so it must draw from nobody's state."""
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def check_size(module: nn.Module, window: Window) -> None:
    """Refuse an exported network outside the window of sizes that it was searched for.

    Raises:
        ContractViolationError: its parameters are fewer or more than the window allows.
    """
    count = sum(p.numel() for p in module.parameters())
    if not window.low <= count <= window.high:
        raise ContractViolationError(
            f"a candidate for the window of {window} parameters has {count / 1e6:.3f} M: see lab.fits"
        )


def inherited(folder: Path, sha256: str, family: Any, device: str) -> SuperNet:
    """What another run exported, as a network to go on with.

    Raises:
        ContractViolationError: its weights are not those of that run's record, or its vocabulary is not the
            one of ``family``.
    """
    module, about = export.load(folder)
    if about["weights_sha256"] != sha256:
        raise ContractViolationError(f"{folder}: these are not the weights that its record names")
    net = export.network(module, about, device)
    theirs, ours = (getattr(one.config, "vocab", None) for one in (net.family, family))
    if theirs != ours:
        raise ContractViolationError(
            f"{folder}: a network over {theirs} pieces, and this task has {ours}: take weights of a run on"
            " the same task and tier"
        )
    return net


def started(net: SuperNet, folder: Path) -> None:
    """Give a network the weights of the pre-trained model that all of the run's networks start from.

    Raises:
        ContractViolationError: it cannot start from them.
    """
    from supernet.interop.huggingface.warm_start import initialise

    try:
        initialise(net, folder)
    except ValueError as error:
        raise ContractViolationError(f"--start-from: {error}") from None
