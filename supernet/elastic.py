"""Supernets: a model family together with the source of its sub-networks' weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from supernet.model_family import ModelFamily
from supernet.quantization.calibration import METHODS, calibrate, count_passes, store_ranges
from supernet.quantization.precisions import STATIC
from supernet.space import Architecture, ArchitectureLike
from supernet.weights import SharedSlices, WeightSource

FORWARD_COST = 1 / 3
"""Cost of a forward pass, in forward-backward passes."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Name of a compute precision -> torch dtype."""


class SuperNet:
    """All sub-networks of a family at once.

    Args:
        family: such as :class:`supernet.seq2seq.Seq2SeqFamily`.
        source: the weights; their device is the supernet's.

    Attributes:
        meter: called with the target tokens of every training pass over a batch beyond those for which the
            batch was drawn; the harness charges them. None: nothing is charged.
        statistics_batches: inputs and tokens of the last training batches, kept for batch-norm
            recalibration and for the calibration of static int8.
        ranges: rule of the activation ranges of static int8, of ``calibration.METHODS``.
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
        """The last training batches, inputs and tokens, where statistics or ranges are estimated on them."""
        self.ranges = METHODS[0]
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
        """Bind one architecture's weights into the skeleton and return it; valid until the next call."""
        self.family.configure(self.model, architecture)
        for name, weight in self.source.bind(architecture).items():
            parameters, key = self._sites[name]
            parameters[key] = weight
        if self.statistics_batch_count:
            self._recalibrate()
        return self.model

    @property
    def statistics_batch_count(self) -> int:
        """Training batches of a batch-norm recalibration; 0 without batch norms, or if they keep running
        averages."""
        count = self.family.statistics_batch_count
        return 0 if count and self.family.single else count

    def keep_batches(self, batches: Iterable[Any], most: int | None = None) -> None:
        """Keep the last ``most`` of these training batches; by default ``statistics_batch_count``.

        Networks without batch norms need them for ``calibrate`` alone.
        """
        most = self.statistics_batch_count if most is None else most
        if most:
            # In the layout in which a checkpoint gives them back: by layout, kernels differ in the last bits.
            for batch in batches:
                inputs = tuple(x.clone(memory_format=torch.contiguous_format) for x in batch.inputs)
                self.statistics_batches = [*self.statistics_batches, (inputs, batch.tokens)][-most:]

    @property
    def statistics_cost(self) -> float:
        """Cost of one batch-norm recalibration in tokens: the forward passes over ``statistics_batches``.

        It is charged each time that a sub-network is bound or exported outside training. 0 without batch
        norms.
        """
        return self._pass_cost if self.statistics_batch_count else 0.0

    @property
    def calibration_cost(self) -> float:
        """Cost of one ``calibrate`` in tokens: the forward passes over ``statistics_batches``, one for
        min-max and two for the other rules."""
        return self._pass_cost * count_passes(self.ranges)

    @property
    def _pass_cost(self) -> float:
        return FORWARD_COST * sum(tokens for _, tokens in self.statistics_batches)

    def calibrate(self, module: nn.Module) -> None:
        """Store the activation ranges of an exported sub-network over ``statistics_batches`` (static int8).

        It is charged as the forward passes that it takes.

        Raises:
            ValueError: no batches are kept.
        """
        if not self.statistics_batches:
            raise ValueError(
                f"{STATIC} needs training batches for its activation ranges, and this network keeps none:"
                " call net.keep_batches(lab.train_batches(share), most=4)"
            )
        if self.meter:
            self.meter(self.calibration_cost)
        batches = [inputs for inputs, _ in self.statistics_batches]
        store_ranges(module, calibrate(module, batches, self.ranges))

    def _recalibrate(self) -> None:
        """Estimate the batch-norm statistics of the bound sub-network."""
        self.family.reset_statistics(self.model)
        if self.statistics_batches and not self.model.training:
            if self.meter:
                self.meter(self.statistics_cost)
            self.family.recalibrate(self.model, [inputs for inputs, _ in self.statistics_batches])

    def bind_all(self) -> nn.Module:
        """Bind every tensor at its full size and return the skeleton; valid until the next ``activate``.

        For families in which candidate operations have weights of their own.
        """
        for name, slot in self.family.slots().items():
            parameters, key = self._sites[name]
            parameters[key] = self.source.home(name).leaf(name, slot.shape)
        return self.model

    def export(self, architecture: ArchitectureLike) -> nn.Module:
        """Build one sub-network as plain modules with baked float32 weights, in evaluation mode.

        Its outputs are the supernet's (float32: at most 1e-5 apart). It holds no other weights, no router and
        no reference to the supernet.
        """
        with torch.device("meta"):
            module: nn.Module = self.family.build(architecture)
        weights = self.family.merge(self.source.bake(architecture), architecture)
        module.load_state_dict(tied(module, weights), assign=True, strict=False)
        copy_buffers(self.buffers(architecture), module)
        return module.requires_grad_(False)

    def buffers(self, architecture: ArchitectureLike) -> dict[str, torch.Tensor]:
        """Return the buffers of a sub-network, such as batch-norm statistics, by name."""
        if self.statistics_batch_count:
            training = self.model.training
            self.model.eval()
            self.activate(architecture)
            self.model.train(training)
        return dict(self.model.named_buffers())

    def collapse(self, architecture: Architecture) -> SuperNet:
        """Return a trainable network of this one architecture with the weights that it has here."""
        family = self.family.collapsed(architecture)
        source = SharedSlices(family, torch.Generator().manual_seed(0), str(self.device))
        source.load(self.family.merge(self.source.bake(architecture), architecture))
        net = SuperNet(family, source)
        copy_buffers(self.buffers(architecture), net.model)
        net.meter = self.meter
        return net


def copy_buffers(buffers: Mapping[str, torch.Tensor], module: nn.Module) -> None:
    """Copy each buffer that ``module`` also has, onto that buffer's device."""
    for name, own in list(module.named_buffers()):
        if name in buffers:
            parent, _, key = name.rpartition(".")
            copied = buffers[name].clone()
            module.get_submodule(parent)._buffers[key] = copied if own.is_meta else copied.to(own.device)


def tied(module: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return ``weights`` (one name a tensor) under every name that ``module`` has for a tensor."""
    names: dict[int, str] = {id(p): name for name, p in module.named_parameters()}
    return {name: weights[names[id(p)]] for name, p in module.named_parameters(remove_duplicate=False)}
