"""A trained translator for the runtimes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from supernet import seq2seq
from supernet.elastic import SuperNet
from supernet.weights import SharedSlices
from tests.unit.supernet.interop.networks import of, pair_family, pairs


@pytest.fixture(scope="module")
def translator():
    """A network that has learnt to say a sentence backwards in other words."""
    family = pair_family("all")
    architecture = of(family, 0, decoder_cross_source=[-1, -1])
    module = SuperNet(family, SharedSlices(family, torch.Generator().manual_seed(1))).export(architecture)
    module.requires_grad_(True)
    generator = torch.Generator().manual_seed(3)
    optimiser = torch.optim.Adam(module.parameters(), 2e-3)
    for _ in range(150):
        source, target = pairs(64, generator)
        logits = module(source, F.pad(target[:, :-1], (1, 0), value=seq2seq.EOS))
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=seq2seq.PAD)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return module.eval().requires_grad_(False)
