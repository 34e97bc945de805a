"""One sub-network on disk: ``model.safetensors`` with baked weights, ``architecture.json`` beside it.

The weights are float32 even if the network is deployed in other precisions: its policy is in
``architecture.json``, and ``load_deployed`` builds the network under it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from supernet.elastic import SuperNet, copy_buffers, tied
from supernet.families import from_spec
from supernet.model_family import Spec
from supernet.quantization.calibration import RANGE, LayerRange, store_ranges
from supernet.quantization.precisions import STATIC, Policy, quantize, units
from supernet.space import ArchitectureLike
from supernet.weights import SharedSlices


class CorruptExportError(ValueError):
    """An exported sub-network with a missing, truncated or altered file."""


def save(
    folder: Path,
    module: nn.Module,
    spec: Spec,
    architecture: ArchitectureLike,
    policy: Policy | None = None,
) -> str:
    """Write ``module`` to ``folder``, with its precision policy for deployment; each file is written
    atomically.

    Returns:
        sha256 of the weights file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = dict(module.named_parameters()) | persistent(module)
    weights = {name: tensor.detach().contiguous().cpu() for name, tensor in kept.items()}
    write_atomically(folder / "model.safetensors", lambda path: save_file(weights, path))
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    plain = {k: list(v) if isinstance(v, (tuple, list)) else v for k, v in architecture.items()}
    about = {"spec": dict(spec), "architecture": plain, "weights_sha256": digest}
    about |= {"policy": dict(policy)} if policy else {}
    text = json.dumps(about, indent=1, sort_keys=True)
    write_atomically(folder / "architecture.json", lambda path: Path(path).write_text(text, encoding="utf-8"))
    return digest


def load(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the exported float32 module in evaluation mode, and the content of ``architecture.json``.

    Its ``policy`` is None if the network is deployed in float32.

    Raises:
        CorruptExportError: a file is missing, truncated or altered.
    """
    try:
        about = json.loads((folder / "architecture.json").read_text(encoding="utf-8"))
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        if digest != about["weights_sha256"]:
            raise CorruptExportError(
                f"{folder}: model.safetensors has sha256 {digest}, not {about['weights_sha256']}"
            )
        family = from_spec(about["spec"])
        module = family.build(family.space.architecture(about["architecture"]))
        weights = load_file(folder / "model.safetensors")
        module.load_state_dict(tied(module, weights) | {name: weights[name] for name in persistent(module)})
        store_ranges(module, _ranges(weights, units(module), about.get("policy") or {}))
    except CorruptExportError:
        raise
    except (OSError, KeyError, TypeError, ValueError, AttributeError, SafetensorError, RuntimeError) as error:
        raise CorruptExportError(f"{folder}: not an exported sub-network ({error})") from error
    return module.requires_grad_(False), {"policy": None, **about}


def load_deployed(folder: Path) -> nn.Module:
    """Load the exported sub-network as it is deployed, on the processor, under its policy if it has one.

    Raises:
        CorruptExportError: a file is missing, truncated or altered.
        ValueError: the policy is none for this network, or this machine cannot run it.
    """
    module, about = load(folder)
    return quantize(module, about["policy"]) if about["policy"] else module


def network(module: nn.Module, about: Mapping[str, Any], device: str = "cpu") -> SuperNet:
    """Build a ``SuperNet`` of one architecture from the result of ``load``, to be trained on or exported
    again."""
    family = from_spec(about["spec"])
    architecture = family.space.architecture(about["architecture"])
    family = family.collapsed(architecture)
    source = SharedSlices(family, torch.Generator().manual_seed(0), device)
    source.load(dict(module.named_parameters()))
    net = SuperNet(family, source)
    copy_buffers(persistent(module), net.model)
    return net


def persistent(module: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that a module stores with its weights: statistics of batch norms, and ranges."""
    state = module.state_dict()
    return {name: buffer for name, buffer in module.named_buffers() if name in state}


def _ranges(weights: Mapping[str, Tensor], layers: Collection[str], policy: Policy) -> dict[str, LayerRange]:
    """Return the activation ranges among exported tensors; empty without static int8.

    Raises:
        ValueError: one is of no layer or no range, or a static layer has none.
    """
    ranges = {}
    for name, tensor in weights.items():
        layer, _, part = name.rpartition(".")
        if part != RANGE:
            continue
        if layer not in layers:
            raise ValueError(f"{name}: the network has no such layer")
        if tensor.shape != (4,) or tensor.dtype != torch.float32:
            raise ValueError(f"{name}: a range has four numbers in float32")
        ranges[layer] = LayerRange(*tensor.tolist())
        if not ranges[layer].is_valid:
            raise ValueError(f"{name}: {tensor.tolist()} are no two ranges of finite numbers")
    for layer, precision in policy.items():
        if precision == STATIC and layer not in ranges:
            raise ValueError(f"layer {layer!r} is in {STATIC} and has no activation range")
    return ranges


def write_atomically(path: Path, write: Callable[[str], object]) -> None:
    """Call ``write`` with a temporary path beside ``path``, then move the file to ``path``."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(name)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
