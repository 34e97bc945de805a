"""One sub-network on disk: ``model.safetensors`` with baked weights, ``architecture.json`` beside it.

The weights are float32, also of a network that is deployed in other precisions: its policy stands in
``architecture.json``, and ``deployed`` makes of both what runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from supernet.elastic import SuperNet, copy_buffers, tied
from supernet.families import from_spec
from supernet.model_family import Spec
from supernet.quantization.precisions import Policy, quantize
from supernet.space import ArchitectureLike
from supernet.weights import SharedSlices


class CorruptExportError(ValueError):
    """An exported sub-network that cannot be what it claims."""


def save(
    folder: Path,
    module: nn.Module,
    spec: Spec,
    architecture: ArchitectureLike,
    policy: Policy | None = None,
) -> str:
    """Write ``module`` to ``folder``, with the policy that it is to be deployed under; each file appears
    whole or not at all.

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
    """The exported float32 module in evaluation mode, and what ``architecture.json`` says of it; its
    ``policy`` is None where it is deployed as it is.

    Raises:
        CorruptExportError: a file is missing, truncated or altered.
    """
    try:
        about = json.loads((folder / "architecture.json").read_text(encoding="utf-8"))
        found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        if found != about["weights_sha256"]:
            raise CorruptExportError(
                f"{folder}: model.safetensors has sha256 {found}, not {about['weights_sha256']}"
            )
        family = from_spec(about["spec"])
        module = family.build(family.space.architecture(about["architecture"]))
        weights = load_file(folder / "model.safetensors")
        module.load_state_dict(tied(module, weights) | {name: weights[name] for name in persistent(module)})
    except CorruptExportError:
        raise
    except (OSError, KeyError, TypeError, ValueError, SafetensorError, RuntimeError) as error:
        raise CorruptExportError(f"{folder}: not an exported sub-network ({error})") from error
    return module.requires_grad_(False), {"policy": None, **about}


def deployed(folder: Path) -> nn.Module:
    """The exported sub-network as it runs in use, on the processor: under its policy, where it has one.

    Raises:
        CorruptExportError: a file is missing, truncated or altered.
        ValueError: the policy is none for this network, or this machine cannot run it.
    """
    module, about = load(folder)
    return quantize(module, about["policy"]) if about["policy"] else module


def network(module: nn.Module, about: Mapping[str, Any], device: str = "cpu") -> SuperNet:
    """What ``load`` gave as a network of that one architecture, to be trained on or exported again."""
    family = from_spec(about["spec"])
    architecture = family.space.architecture(about["architecture"])
    family = family.collapsed(architecture)
    source = SharedSlices(family, torch.Generator().manual_seed(0), device)
    source.load(dict(module.named_parameters()))
    net = SuperNet(family, source)
    copy_buffers(persistent(module), net.model)
    return net


def persistent(module: nn.Module) -> dict[str, Tensor]:
    """What a module keeps with its weights: statistics of batch norms."""
    state = module.state_dict()
    return {name: buffer for name, buffer in module.named_buffers() if name in state}


def write_atomically(path: Path, write: Any) -> None:
    """Have ``write`` fill a temporary file beside ``path``, then move it there."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(name)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
