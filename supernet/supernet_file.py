"""A whole supernet on disk: one safetensors file, from which any sub-network can be exported.

Tensors are those of ``SharedSlices``, float32, by slot name; for families with batch norms also the inputs of
their recalibration, as ``seen.BATCH.INPUT``. Metadata: ``spec`` of the family, ``weights_sha256``,
``seen_tokens``, and the writer's own entries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from supernet.elastic import SuperNet
from supernet.export import CorruptExportError, write_atomically
from supernet.families import from_spec
from supernet.weights import SharedSlices, WeightSource

SEEN = "seen."
"""Prefix of the names of recalibration inputs."""


def digest(source: WeightSource) -> str:
    """Return the SHA-256 of all weights, in slot order."""
    return hashlib.sha256(source.flat.detach().cpu().numpy().tobytes()).hexdigest()


def save(path: Path, net: SuperNet, about: Mapping[str, str]) -> None:
    """Write a supernet with plain weight sharing, atomically.

    Args:
        about: further entries of the metadata.
    """
    tensors = {name: view.detach().cpu().contiguous() for name, (view, _) in net.source.master.views.items()}
    for i, (inputs, _) in enumerate(net.statistics_batches):
        tensors |= {f"{SEEN}{i}.{j}": x.cpu().contiguous() for j, x in enumerate(inputs)}
    metadata = {"spec": json.dumps(net.family.spec()), "weights_sha256": digest(net.source)}
    metadata["seen_tokens"] = json.dumps([tokens for _, tokens in net.statistics_batches])
    write_atomically(path, lambda name: save_file(tensors, name, dict(about) | metadata))


def load(path: Path, device: str = "cpu") -> tuple[SuperNet, dict[str, str]]:
    """Return the supernet that ``save`` wrote, and the file's metadata.

    Raises:
        CorruptExportError: no supernet file, a truncated one, or weights other than those of its digest.
    """
    try:
        with safe_open(path, "pt") as file:
            about: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        family = from_spec(json.loads(about["spec"]))
        source = SharedSlices(family, torch.Generator().manual_seed(0), device)
        source.load(tensors)
        net = SuperNet(family, source)
        for i, tokens in enumerate(json.loads(about["seen_tokens"])):
            parts = sorted(name for name in tensors if name.startswith(f"{SEEN}{i}."))
            net.statistics_batches.append((tuple(tensors[name].to(device) for name in parts), int(tokens)))
        if digest(source) != about["weights_sha256"]:
            raise CorruptExportError(f"{path}: the weights are not those that it names")
    except CorruptExportError:
        raise
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CorruptExportError(f"{path}: no supernet ({error})") from error
    return net, about
