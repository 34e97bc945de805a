"""Fine-tuning of exported encoders, several copies at once.

A small network leaves a device idle between two kernels, and every figure needs several seeds. So all copies
(seeds, or points of a grid) are one stack: each tensor has a leading dimension ``C``, and one pass trains all
of them. Copies are independent: each has its own learning rate, order of examples and initial head, and
reaches the result of a run by itself.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import skip_init

from supernet.bert import PAD, Bert
from supernet.gpu.recorded_step import record_graph
from supernet.layers import dropout

BETAS, EPS = (0.9, 0.999), 1e-6
"""AdamW's coefficients in BERT's fine-tuning."""
CLASS_SEED = 0
"""Seed of the order of length classes, which all copies share."""

Pause = Callable[[Callable[[], object]], object]
"""Called between two steps with a function that waits for the device."""


@dataclass(frozen=True)
class Examples:
    """Encoded sentences or pairs of one length.

    ``tokens`` ``[N, T]`` begin with ``[CLS]`` and end in padding; ``segments`` ``[N, T]`` are 0 for the first
    sentence and 1 for the second; ``labels`` ``[N]`` are classes (int64) or targets of a regression
    (float32).
    """

    tokens: Tensor
    segments: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Examples:
        """Copy the examples to another device."""
        return Examples(self.tokens.to(device), self.segments.to(device), self.labels.to(device))

    def at(self, index: Tensor | slice) -> Examples:
        """Select examples; the shape of ``index`` replaces ``N``."""
        return Examples(self.tokens[index], self.segments[index], self.labels[index])

    def first(self, tokens: int) -> Examples:
        """Cut all examples to their first tokens."""
        return Examples(self.tokens[..., :tokens], self.segments[..., :tokens], self.labels)


def length_classes(
    examples: Examples, lengths: Sequence[int], least: int = 1
) -> list[tuple[int, NDArray[np.int64]]]:
    """Divide examples by their numbers of tokens.

    Args:
        examples: to be divided.
        lengths: most tokens of each class but the last, whose examples have any number.
        least: examples of a class; one with fewer is part of the next longer one, the last of the one before.

    Returns:
        Tokens that examples of a class are cut to without loss, and the numbers of these examples; nothing
        where all together are fewer than ``least``.
    """
    longest = examples.tokens.shape[1]
    own = (examples.tokens != PAD).sum(1).cpu().numpy()
    classes: list[tuple[int, NDArray[np.int64]]] = []
    rest = np.arange(0)
    shorter = 0
    for most in (*(n for n in lengths if n < longest), longest):
        rest = np.union1d(rest, np.flatnonzero((own > shorter) & (own <= most)))
        shorter = most
        if len(rest) >= max(1, least):
            classes.append((most, rest))
            rest = np.arange(0)
    if len(rest) and classes:
        _, before = classes.pop()
        classes.append((longest, np.union1d(before, rest)))
    return classes


@dataclass(frozen=True)
class Copy:
    """Hyper-parameters of one copy; ``seed`` decides its head, its order and its dropout."""

    learning_rate: float
    """Peak of the schedule."""
    seed: int


@dataclass(frozen=True)
class FineTuneRecipe:
    """Hyper-parameters common to all copies.

    The rate rises over the share ``warmup`` of the steps, then falls to zero. ``precision`` is ``fp32`` or
    ``bf16`` (autocast); weights and moments stay in fp32. Matrices decay, biases and norms do not.

    With ``lengths``, a batch holds examples of one class of lengths and is no longer than the class: examples
    of at most ``lengths[0]`` tokens, of more and at most ``lengths[1]``, and so on. All copies have the same
    order of classes.
    """

    epochs: int = 3
    batch: int = 32
    warmup: float = 0.1
    weight_decay: float = 0.01
    precision: str = "fp32"
    lengths: Sequence[int] = ()

    def __post_init__(self) -> None:
        if list(self.lengths) != sorted({n for n in self.lengths if n > 0}):
            raise ValueError(f"lengths {list(self.lengths)}: numbers of tokens, each larger than the last")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision {self.precision!r}: choose fp32 or bf16")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup {self.warmup}: a share of training from 0 to below 1")
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(f"{self.epochs} epochs of batches of {self.batch}: at least 1 of each")

    def factors(self, steps: int) -> list[float]:
        """Return the share of the peak rate at each of ``steps`` updates; none is zero."""
        rise = math.ceil(self.warmup * steps)
        return [(i + 1) / rise if i < rise else (steps - i) / (steps - rise) for i in range(steps)]


class StackedProduct(torch.autograd.Function):
    """Linear layers of all copies in one product, which adds the bias; in the precision of autocast.

    Torch's rule for a stack multiplies, scales the bias and adds it in three kernels, the sum in fp32 and its
    gradient of a weight is transposed.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Multiply ``[C, ..., in]`` by ``[C, out, in]`` and add ``[C, out]``."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        rows = x.flatten(1, -2).to(dtype)
        weight = weight.to(dtype)
        ctx.save_for_backward(rows, weight)
        ctx.shape, ctx.kind = x.shape, x.dtype
        y = torch.baddbmm(bias.to(dtype).unsqueeze(1), rows, weight.mT)
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *flows: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Return the gradients of the input in its own precision, of weight and bias in fp32."""
        rows, weight = ctx.saved_tensors
        flow = flows[0].flatten(1, -2).to(rows.dtype)
        wide = {"out_dtype": torch.float32} if flow.is_cuda and flow.dtype != torch.float32 else {}
        slope = torch.bmm(flow.mT, rows, **wide).float()
        return torch.bmm(flow, weight).view(ctx.shape).to(ctx.kind), slope, flow.sum(1, dtype=torch.float32)


class LinearOfCopies(torch.autograd.Function):
    """A linear layer that becomes a ``StackedProduct`` under ``vmap``."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Apply one layer."""
        return F.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep nothing: stacks alone are differentiated."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, int, int], x: Tensor, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, int]:
        """Apply the layers of a stack, whose dimensions ``in_dims`` count the copies."""
        stacks = [tensor.movedim(at, 0) for tensor, at in zip((x, weight, bias), in_dims, strict=True)]
        return StackedProduct.apply(*stacks), 0  # type: ignore[no-untyped-call]


class StackableLinear(nn.Linear):
    """Linear layer of a classifier: on a GPU all copies are one product."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        if x.is_cuda and torch._C._are_functorch_transforms_active():
            return LinearOfCopies.apply(x, self.weight, self.bias)  # type: ignore[no-any-return, no-untyped-call]
        return super().forward(x)


class StackableConv1d(nn.Conv1d):
    """Convolution in the precision of its weight: under ``vmap`` autocast converts the input and no bias."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return super().forward(x.to(self.weight.dtype))


STACKABLE: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: StackableLinear, nn.Conv1d: StackableConv1d}
"""Layer of an encoder -> the same layer of a stack."""


class Classifier(nn.Module):
    """The encoder, a tanh pooler over the first token's state, a linear layer.

    Args:
        bert: copied; its masked-language-model head is left out.
        outputs: classes; 1 for a regression.
        seed: of the two new layers.
    """

    def __init__(self, bert: Bert, outputs: int, seed: int) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(bert)
        del self.encoder.head
        width = bert.plan.out
        # Drawn on the CPU: equal on every device.
        generator = torch.Generator().manual_seed(seed)
        # Torch's own initialisation would draw from its global generator.
        self.pooler = skip_init(nn.Linear, width, width)
        self.out = skip_init(nn.Linear, width, outputs)
        for layer in (self.pooler, self.out):
            nn.init.normal_(layer.weight, std=0.02, generator=generator)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            # Packed text has one kind of segment: the others' embeddings have never been trained.
            segment = self.encoder.embedding.segment.weight
            segment.copy_(segment[0].expand_as(segment).clone())
        for module in self.modules():
            if type(module) in STACKABLE:
                module.__class__ = STACKABLE[type(module)]

    def forward(self, tokens: Tensor, segments: Tensor) -> Tensor:
        """Classify ``[B, T]`` ids: ``[B, outputs]``; attention ignores padding."""
        first = self.encoder.encode(tokens, segments, padded=True)[:, 0]
        pooled = torch.tanh(self.pooler(first))
        logits: Tensor = self.out(dropout(pooled, self.encoder.config.dropout, self.training))
        return logits


class Stack:
    """Copies of one encoder, with a classifier each, on one device.

    Args:
        bert: initial encoder of all copies; it is not changed.
        outputs: classes; 1 for a regression.
        copies: hyper-parameters of each.
        device: of the training.
    """

    def __init__(
        self, bert: Bert, outputs: int, copies: Sequence[Copy], device: torch.device | str = "cpu"
    ) -> None:
        self.copies, self.device, self.outputs = tuple(copies), torch.device(device), outputs
        classifiers = [Classifier(bert, outputs, copy_.seed).requires_grad_(True) for copy_ in self.copies]
        self.model = copy.deepcopy(classifiers[0]).to("meta")
        stacked, _ = stack_module_state(classifiers)  # type: ignore[arg-type]
        # Matrices, which decay, come first.
        stacked = dict(sorted(stacked.items(), key=lambda item: item[1].dim() <= 2))
        self.decaying = sum(tensor.numel() for tensor in stacked.values() if tensor.dim() > 2)
        self.flat, self.parameters = _flattened(stacked, self.device)
        config = bert.config
        self.random = config.dropout > 0 or config.attention_dropout > 0

    def forward(self, weights: dict[str, Tensor], tokens: Tensor, segments: Tensor) -> Tensor:
        """Apply each copy to its batch: ``[C, B, T]`` ids to ``[C, B, outputs]``."""

        def single(weights: dict[str, Tensor], tokens: Tensor, segments: Tensor) -> Tensor:
            outputs: Tensor = functional_call(self.model, weights, (tokens, segments))
            return outputs

        shared = None if tokens.dim() == 2 else 0
        many = vmap(single, (0, shared, shared), randomness="different" if self.model.training else "error")
        # Fused attention cannot be stacked: torch would run it copy after copy.
        with sdpa_kernel(SDPBackend.MATH):
            return many(weights, tokens, segments)  # type: ignore[no-any-return]

    def fit(self, examples: Examples, recipe: FineTuneRecipe, pause: Pause | None = None) -> Stack:
        """Train all copies on ``examples``.

        On a GPU a step is recorded once for each class of lengths and replayed, unless dropout makes each
        different. Of each epoch the incomplete last batch of a class is left out.

        Raises:
            ValueError: there are fewer examples than a batch.
        """
        training = _Training(self, examples.to(self.device), recipe)
        self.model.train(self.random)
        cuda = [self.device] if self.device.type == "cuda" else []
        wait = torch.cuda.synchronize if cuda else (lambda: None)
        try:
            with torch.random.fork_rng(devices=cuda):
                seeds = [copy_.seed for copy_ in self.copies]
                torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
                steps: list[Callable[[], object]] = [
                    partial(training.step, tokens) for tokens, _ in training.classes
                ]
                if cuda and not self.random:
                    steps = [record_graph(step, training.changed) for step in steps]
                for number in range(training.updates_in_all):
                    if pause is not None:
                        pause(wait)
                    steps[training.load(number)]()
        finally:
            self.model.eval()
        return self

    def predict(self, examples: Examples, batch: int = 256, lengths: Sequence[int] = ()) -> Tensor:
        """Return the outputs of each copy in fp32, by classes of lengths: ``[C, N, outputs]`` on the CPU."""
        on_device = examples.to(self.device)
        outputs = torch.empty(len(self.copies), len(examples), self.outputs)
        with torch.no_grad():
            for tokens, numbers in length_classes(examples, lengths):
                for start in range(0, len(numbers), batch):
                    chosen = torch.from_numpy(numbers[start : start + batch])
                    part = on_device.at(chosen.to(self.device)).first(tokens)
                    logits = self.forward(self.parameters, part.tokens, part.segments)
                    outputs[:, chosen] = logits.float().cpu()
        return outputs

    def state(self, number: int) -> dict[str, Tensor]:
        """Return the weights of one copy, by name."""
        return {name: stacked[number].detach().clone() for name, stacked in self.parameters.items()}


def _flattened(
    stacked: dict[str, Any], device: torch.device, like: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return tensors ``[C, ...]`` as views of one vector, each a leaf; zeros of their shapes with
    ``like``."""
    flat = torch.zeros(sum(tensor.numel() for tensor in stacked.values()), device=device)
    views, at = {}, 0
    for name, tensor in stacked.items():
        view = flat[at : at + tensor.numel()].view(tensor.shape)
        at += tensor.numel()
        if not like:
            view.copy_(tensor.detach())
            view.requires_grad_()
        views[name] = view
    return flat, views


class _Training:
    """AdamW over a stack.

    A step reads from buffers at fixed addresses, so that it can be recorded as a CUDA graph.
    """

    def __init__(self, stack: Stack, examples: Examples, recipe: FineTuneRecipe) -> None:
        self.stack, self.examples, self.recipe = stack, examples, recipe
        count, device = len(stack.copies), stack.device
        self.classes = length_classes(examples, recipe.lengths, recipe.batch)
        self.each = [len(numbers) // recipe.batch for _, numbers in self.classes]
        """Updates of each class in an epoch."""
        self.schedule = np.zeros(sum(self.each), dtype=np.int64)
        """Class of each update of the epoch."""
        self.updates_in_all = recipe.epochs * len(self.schedule)
        if not self.updates_in_all:
            raise ValueError(f"{len(examples)} examples do not fill a batch of {recipe.batch}")
        shares = torch.tensor(recipe.factors(self.updates_in_all), dtype=torch.float64)
        powers = torch.arange(1, self.updates_in_all + 1, dtype=torch.float64)
        table = torch.stack([shares, *(1 - beta**powers for beta in BETAS)], 1)
        self.table = table.to(device, torch.float32)
        self.index = torch.zeros(count, recipe.batch, dtype=torch.long, device=device)
        peak = torch.tensor([copy_.learning_rate for copy_ in stack.copies])
        self.peak, peaks = _flattened(stack.parameters, device, like=True)
        with torch.no_grad():
            for view in peaks.values():
                view.copy_(peak.view(-1, *[1] * (view.dim() - 1)))
        self.numbers = torch.zeros(3, device=device)
        """Share of the peak rate, and the bias corrections of the two moments."""
        self.order = torch.empty(0)
        self.weights = stack.flat.detach()
        self.slope, slopes = _flattened(stack.parameters, device, like=True)
        self.slopes = list(slopes.values())
        self.update = torch.zeros_like(self.weights)
        self.first, self.second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)

    def load(self, number: int) -> int:
        """Copy the examples and the rate of update ``number`` to their buffers; return its class."""
        epoch, at = divmod(number, len(self.schedule))
        if at == 0:
            self.schedule = np.repeat(np.arange(len(self.classes)), self.each)
            np.random.default_rng([CLASS_SEED, epoch]).shuffle(self.schedule)
            orders = [self.order_of(copy_.seed, epoch) for copy_ in self.stack.copies]
            self.order = torch.from_numpy(np.stack(orders)).to(self.stack.device)
        self.index.copy_(self.order[:, at])
        self.numbers.copy_(self.table[number])
        return int(self.schedule[at])

    def order_of(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the examples ``[steps, batch]`` of an epoch of the copy with this seed."""
        size, rng = self.recipe.batch, np.random.default_rng([seed, epoch])
        order = np.empty((len(self.schedule), size), dtype=np.int64)
        for which, (_, numbers) in enumerate(self.classes):
            drawn = numbers[rng.permutation(len(numbers))][: self.each[which] * size]
            order[self.schedule == which] = drawn.reshape(-1, size)
        return order

    def changed(self) -> tuple[Tensor, ...]:
        """Return the tensors that a step changes and that the next one depends on."""
        return self.weights, self.first, self.second

    def step(self, tokens: int) -> None:
        """Update every copy once, on the first ``tokens`` of its examples."""
        batch = self.examples.at(self.index).first(tokens)
        enabled = self.recipe.precision == "bf16"
        with torch.autocast(self.stack.device.type, torch.bfloat16, enabled=enabled):
            outputs = self.stack.forward(self.stack.parameters, batch.tokens, batch.segments)
        # The sum over copies: gradients do not depend on how many there are.
        loss = mean_loss(outputs.float(), batch.labels).sum()
        with torch.no_grad():
            torch._foreach_copy_(self.slopes, torch.autograd.grad(loss, list(self.stack.parameters.values())))
            self.first.lerp_(self.slope, 1 - BETAS[0])
            self.second.mul_(BETAS[1]).addcmul_(self.slope, self.slope, value=1 - BETAS[1])
            share, *corrections = self.numbers
            torch.div(self.second, corrections[1], out=self.update)
            torch.div(self.first, self.update.sqrt_().add_(EPS), out=self.update)
            self.update.div_(corrections[0])
            decaying = self.stack.decaying
            self.update[:decaying].add_(self.weights[:decaying], alpha=self.recipe.weight_decay)
            self.weights.addcmul_(self.update, self.peak * -share)


def mean_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return each copy's mean loss over examples ``[C]``.

    Cross-entropy of ``[C, B, outputs]`` against classes ``[C, B]``, or squared error against numbers.
    """
    if labels.is_floating_point():
        return (outputs.squeeze(-1) - labels).square().mean(-1)
    return F.cross_entropy(outputs.transpose(1, 2), labels, reduction="none").mean(-1)
