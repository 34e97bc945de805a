"""A supernet: a model family and the source its sub-networks' weights come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from supernet.model_family import ModelFamily
from supernet.space import Architecture, ArchitectureLike
from supernet.weights import SharedSlices, WeightSource

FORWARD_COST = 1 / 3
"""A forward pass, in forward-backward passes."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class SuperNet:
    """All sub-networks of a family at once.

    Args:
        family: such as :class:`supernet.seq2seq.Seq2SeqFamily`.
        source: the weights; it decides the device.

    Attributes:
        meter: called with the number of target tokens of every training pass over a batch beyond
            those its batch was drawn for; the harness charges them.
    """

    def __init__(self, family: ModelFamily, source: WeightSource) -> None:
        self.family, self.source = family, source
        self.space = family.space
        self.device = source.flat.device
        if self.device.type == "cuda":
            # cuDNN's attention plans every new shape anew, 24 ms each on an H200; shapes never repeat here.
            torch.backends.cuda.enable_cudnn_sdp(False)
        self.meter: Callable[[float], None] | None = None
        self.statistics_batches: list[tuple[tuple[torch.Tensor, ...], int]] = []
        """The last training batches, inputs and tokens, where statistics are estimated on them."""
        self.model: nn.Module = family.skeleton(self.device)
        self._sites: dict[str, tuple[dict[str, Any], str]] = {}
        for name, module in self.model.named_modules():
            for key in module._parameters:
                self._sites[f"{name}.{key}"] = (module._parameters, key)

    def precision(self, name: str) -> None:
        """Compute in ``fp32``, ``bf16`` or ``fp16``; master weights stay float32."""
        if name not in PRECISIONS:
            raise ValueError(f"precision {name!r}: choose one of {', '.join(PRECISIONS)}")
        self.source.precision(PRECISIONS[name])

    def activate(self, architecture: ArchitectureLike) -> nn.Module:
        """The skeleton with this architecture's weights bound. It stands until the next call."""
        self.family.configure(self.model, architecture)
        for name, weight in self.source.bind(architecture).items():
            parameters, key = self._sites[name]
            parameters[key] = weight
        if self.statistics_batch_count:
            self._recalibrate()
        return self.model

    @property
    def statistics_batch_count(self) -> int:
        """How many training batches a sub-network's statistics are estimated on; 0: it has none, or keeps
        running averages."""
        count = self.family.statistics_batch_count
        return 0 if count and self.family.single else count

    def keep_batches(self, batches: Iterable[Any]) -> None:
        """Keep training batches for ``statistics_batch_count``, as many as it takes."""
        if most := self.statistics_batch_count:
            # In the layout in which a checkpoint gives them back: by layout, kernels differ in the last bits.
            for batch in batches:
                inputs = tuple(x.clone(memory_format=torch.contiguous_format) for x in batch.inputs)
                self.statistics_batches = [*self.statistics_batches, (inputs, batch.tokens)][-most:]

    @property
    def statistics_cost(self) -> float:
        """What estimating the statistics of a sub-network is charged, each time that one is bound or exported
        outside training: the forward passes that it takes, in tokens."""
        return FORWARD_COST * sum(tokens for _, tokens in self.statistics_batches)

    def _recalibrate(self) -> None:
        """Give the bound sub-network its statistics."""
        self.family.reset_statistics(self.model)
        if self.statistics_batches and not self.model.training:
            if self.meter:
                self.meter(self.statistics_cost)
            self.family.recalibrate(self.model, [inputs for inputs, _ in self.statistics_batches])

    def bind_all(self) -> nn.Module:
        """The skeleton with every tensor bound at its full size, for families whose candidate operations
        have weights of their own. It stands until the next ``activate``."""
        for name, slot in self.family.slots().items():
            parameters, key = self._sites[name]
            parameters[key] = self.source.home(name).leaf(name, slot.shape)
        return self.model

    def export(self, architecture: ArchitectureLike) -> nn.Module:
        """One sub-network as plain modules with baked float32 weights, in evaluation mode.

        Its outputs are the supernet's (float32: at most 1e-5 apart); it holds no other weights,
        no router and no reference to the supernet.
        """
        with torch.device("meta"):
            module: nn.Module = self.family.build(architecture)
        weights = self.family.merge(self.source.bake(architecture), architecture)
        module.load_state_dict(tied(module, weights), assign=True, strict=False)
        copy_buffers(self.buffers(architecture), module)
        return module.requires_grad_(False)

    def buffers(self, architecture: ArchitectureLike) -> dict[str, torch.Tensor]:
        """What a sub-network has besides weights, by name."""
        if self.statistics_batch_count:
            training = self.model.training
            self.model.eval()
            self.activate(architecture)
            self.model.train(training)
        return dict(self.model.named_buffers())

    def collapse(self, architecture: Architecture) -> SuperNet:
        """A network of this one architecture with the weights it has here, to go on training."""
        family = self.family.collapsed(architecture)
        source = SharedSlices(family, torch.Generator().manual_seed(0), str(self.device))
        source.load(self.family.merge(self.source.bake(architecture), architecture))
        net = SuperNet(family, source)
        copy_buffers(self.buffers(architecture), net.model)
        net.meter = self.meter
        return net


def copy_buffers(buffers: Mapping[str, torch.Tensor], module: nn.Module) -> None:
    """Give ``module`` copies of those that it has, too, where its own are, if anywhere."""
    for name, own in list(module.named_buffers()):
        if name in buffers:
            parent, _, key = name.rpartition(".")
            found = buffers[name].clone()
            module.get_submodule(parent)._buffers[key] = found if own.is_meta else found.to(own.device)


def tied(module: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``weights`` (one name a tensor) under every name ``module`` knows it by."""
    names: dict[int, str] = {id(p): name for name, p in module.named_parameters()}
    return {name: weights[names[id(p)]] for name, p in module.named_parameters(remove_duplicate=False)}
