"""Candidates: exported to disk, read back from there, and validated."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from benchmarks.api import Measurement, Window
from benchmarks.measurement.serving import scoring_module
from benchmarks.measurement.workload import Workload
from supernet import export
from supernet.elastic import SuperNet
from supernet.quantization.precisions import Policy
from supernet.space import Architecture


class ContractViolationError(Exception):
    """The method broke its contract; the message states how."""


class StoredMeasurement(TypedDict):
    """A validation evaluation as the journal holds it; ``loss`` in the task's unit."""

    loss: float
    metrics: Mapping[str, float]


class WrittenCandidate(TypedDict):
    """Digest of the exported weights, and their validation."""

    weights_sha256: str
    valid: StoredMeasurement


def write_candidate(
    folder: Path,
    net: SuperNet,
    module: nn.Module,
    architecture: Architecture,
    policy: Policy | None,
    device: str,
    evaluate: Callable[[nn.Module, str], Measurement],
    workload: Workload,
) -> WrittenCandidate:
    """Write one sub-network, and validate the exported files rather than the supernet.

    Args:
        folder: folder of the export; its content is replaced.
        net: the supernet.
        module: its sub-network of ``architecture``.
        architecture: the sub-network's architecture.
        policy: precision of each layer in which it is deployed and validated; None for float32.
        device: ``cpu`` or ``cuda``. A quantised network is validated on the processor, which has its kernels.
        evaluate: ``(network, device)`` -> validation.
        workload: one inference; its runtime serves the network.

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
    export.save(folder, module, net.family.spec(), architecture, policy)
    module, about = export.load(folder)
    if policy or (workload.runtime != "torch" and device == "cpu"):
        try:
            module, device = scoring_module(module, policy, workload), "cpu"
        except ValueError as error:
            raise ContractViolationError(f"candidate {folder.name}: {error}") from None
    measured = evaluate(module.to(device), device)
    if not math.isfinite(measured.loss):
        raise ContractViolationError(f"candidate {folder.name}: its validation loss is {measured.loss}")
    valid: StoredMeasurement = {"loss": float(measured.loss), "metrics": dict(measured.metrics)}
    return {"weights_sha256": about["weights_sha256"], "valid": valid}


def is_intact(folder: Path, sha256: str) -> bool:
    """Return True if the export in a folder is readable and has the weights of this digest."""
    try:
        _, about = export.load(folder)
    except export.CorruptExportError:
        return False
    return bool(about["weights_sha256"] == sha256)


@contextmanager
def untouched_random_state(device: str) -> Iterator[None]:
    """Restore the global random state of torch on exit.

    For the harness's own work, which a resumed run skips: it must move no state that the method draws from.
    """
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


def load_inherited(folder: Path, sha256: str, family: Any, device: str) -> SuperNet:
    """Return the sub-network that another run exported, as a network to train on.

    Args:
        folder: folder of the export.
        sha256: digest of its weights in that run's record.
        family: model family of the task.
        device: ``cpu`` or ``cuda``.

    Raises:
        ContractViolationError: its weights are not those of that run's record, or its vocabulary is not the
            one of ``family``.
    """
    module, about = export.load(folder)
    if about["weights_sha256"] != sha256:
        raise ContractViolationError(f"{folder}: these are not the weights that its record names")
    net = export.network(module, about, device)
    theirs, ours = (getattr(f.config, "vocab", None) for f in (net.family, family))
    if theirs != ours:
        raise ContractViolationError(
            f"{folder}: a network over {theirs} pieces, and this task has {ours}: take weights of a run on"
            " the same task and tier"
        )
    return net


def initialise_from_parent(net: SuperNet, parent: SuperNet) -> None:
    """Copy the weights of the tier's parent, a plain encoder, into the supernet ``net``.

    Raises:
        ContractViolationError: the supernet cannot start from them.
    """
    from supernet.interop.bert_start import Parent, start_from

    try:
        start_from(net, Parent.of(parent))
    except ValueError as error:
        raise ContractViolationError(f"this space cannot start from the tier's parent: {error}") from None


def initialise_from(net: SuperNet, folder: Path) -> None:
    """Copy the weights of the pre-trained model that all of the run's networks start from into ``net``.

    Raises:
        ContractViolationError: the network cannot start from them.
    """
    from supernet.interop.huggingface.warm_start import initialise

    try:
        initialise(net, folder)
    except ValueError as error:
        raise ContractViolationError(f"--start-from: {error}") from None
