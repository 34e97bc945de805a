"""Exported sub-networks as ONNX files that ONNX Runtime runs, in float32 or under a precision policy.

Encoders and classifiers are one file, ``model.onnx``. It returns logits of every position of text, of an
image, or of an image with a text, padded to its network's full length. A translator is two files,
``encoder.onnx`` and ``step.onnx``, described in ``supernet.quantization.onnx_translator``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from supernet import seq2seq, vision_language
from supernet.export import CorruptExportError
from supernet.interop.errors import require
from supernet.interop.huggingface.export import CLOSE, IMAGES, OutputMismatchError, sample
from supernet.quantization.calibration import stored_ranges
from supernet.quantization.onnx_runtime import DISABLED_OPTIMIZERS, imitate, on_this_machine
from supernet.quantization.onnx_trace import trace
from supernet.quantization.onnx_translator import encoder_and_step
from supernet.quantization.precisions import Policy, lowered, needs_ranges, quantize

AGREEING = 0.995
"""Least share of positions with the same largest logit, ties aside."""
TIE = 0.01
"""Deviations of a position's logits within which two of them tie: rounding in int8 moves each by more."""
FARTHEST = 0.1
"""Largest distance of low-precision logits, as a share of their norm: rounding gives some hundredths."""
ROWS = 64
"""Rows of the random inputs for the comparison."""


def write(
    module: nn.Module, folder: Path, policy: Policy | None = None, given: Sequence[Tensor] = ()
) -> dict[str, float]:
    """Write a network's files and compare ONNX Runtime's outputs with the network's under the same policy.

    Args:
        module: exported, float32.
        folder: for the files.
        policy: layer -> precision.
        given: inputs of the comparison: tokens, images, images and texts, or sources and beginnings of
            targets; random by default, on which networks in low precision may be undecided.

    Returns:
        ``apart``: largest difference of two logits; ``agreeing``: share of positions with the same
            largest logit, or another one that ties with it (``TIE``); ``identical``: share with the same one.

    Raises:
        OutputMismatchError: float32 logits differ by more than 1e-4, others by ``FARTHEST``, or more than 0.5
            % of the positions have another largest logit.
        MissingPackageError: onnx or onnxruntime is not installed.
        ValueError: the policy cannot be written.
    """
    require("onnxruntime", "onnx")
    random = sample(module, ROWS)
    names = tuple(random)[:1]
    if "decoder_input_ids" in random:
        names = ("input_ids", "decoder_input_ids")
    elif isinstance(module, vision_language.VisionLanguage):
        names = tuple(random)
    given = list(given) or [random[name] for name in names]
    if isinstance(module, seq2seq.Transformer):
        files = dict(zip(("encoder.onnx", "step.onnx"), encoder_and_step(module, policy), strict=True))
    else:
        files = {"model.onnx": _single_graph(module, given, policy)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    low = _deployed(module, policy)
    with torch.no_grad():
        if isinstance(module, seq2seq.Transformer):
            ours, theirs = _stepped(low, folder, *given)
        else:
            ours = low(*given)
            theirs = run(load(folder / "model.onnx"), given)[0]
    apart = float((theirs - ours).abs().max())
    agreeing = _agreeing(ours, theirs)
    distance = float((theirs - ours).norm() / ours.norm())
    near = distance <= FARTHEST if lowered(policy) else apart <= CLOSE
    if not (agreeing >= AGREEING and near):
        raise OutputMismatchError(
            f"ONNX Runtime's logits differ by {apart:.2g} from PyTorch's, the largest is the same one at"
            f" {agreeing:.2%} of positions"
        )
    identical = float((theirs.argmax(-1) == ours.argmax(-1)).float().mean())
    return {"apart": apart, "agreeing": agreeing, "identical": identical}


def _agreeing(ours: Tensor, theirs: Tensor) -> float:
    """Return the share of positions at which the largest of ``theirs`` is the largest of ``ours``, or ties.

    Args:
        ours, theirs: logits ``[..., V]``.
    """
    chosen = ours.gather(-1, theirs.argmax(-1, keepdim=True)).squeeze(-1)
    return float((ours.amax(-1) - chosen <= TIE * ours.std(-1)).float().mean())


def _single_graph(module: nn.Module, given: Sequence[Tensor], policy: Policy | None) -> bytes:
    """Return the ONNX file of a network that is not a translator."""
    names = ["tokens"]
    if isinstance(module, (*IMAGES, vision_language.VisionLanguage)):
        names = ["images", "texts"][: len(given)]
    axes = {name: {0: "batch"} for name in (*names, "logits")}
    if names == ["tokens"]:
        axes["tokens"][1] = "length"
    is_static = needs_ranges(policy)
    traced = trace(module, [x[:2] for x in given], names=(names, ["logits"]), axes=axes, fold=is_static)
    return traced.under(policy, on_this_machine(stored_ranges(module)) if is_static else None)


def _deployed(module: nn.Module, policy: Policy | None) -> nn.Module:
    """Return a network under a policy in torch, which has no kernel for static layers: they are imitated."""
    return imitate(module, policy) if policy and needs_ranges(policy) else quantize(module, policy)


def _stepped(module: Any, folder: Path, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits ``[N, V]`` of every next token of given targets: the network's and the files'."""
    encoder, step = load(folder / "encoder.onnx"), load(folder / "step.onnx")
    cache = module.decoder_cache(module.encode(source))
    asked = run(encoder, [source])
    kept = _empty_cache(step, len(source))
    ours, theirs = [], []
    for tokens in target.T:
        ours.append(module.step(tokens, cache))
        logits, *kept = run(step, [tokens.contiguous(), *asked, *kept])
        theirs.append(logits)
    real = target.T != seq2seq.PAD
    return torch.stack(ours)[real], torch.stack(theirs)[real]


def _empty_cache(step: Any, rows: int) -> list[Tensor]:
    """Return self-attention's keys and values before the first step, each ``[rows, heads, 0, width]``.

    Heads are those of the step's own inputs: attention to the source may have others.
    """
    own = [entry.shape for entry in step.get_inputs() if entry.name.startswith("own.")]
    return [torch.zeros(rows, shape[1], 0, shape[3]) for shape in own]


def forced_steps(folder: Path, source: Tensor, steps: int, beam: int, token: int = 4) -> Callable[[], Tensor]:
    """Return the latency workload of a translator's files, as ``supernet.decode.forced_steps``, on one
    thread.

    The returned function runs it and returns the last logits ``[beam, V]``.

    Raises:
        CorruptExportError: a file is missing, truncated or no model.
    """
    encoder, step = load(folder / "encoder.onnx"), load(folder / "step.onnx")
    tokens = torch.full((beam,), token)
    nothing = _empty_cache(step, beam)

    def served() -> Tensor:
        asked, kept = run(encoder, [source]), nothing
        for _ in range(steps):
            logits, *kept = run(step, [tokens, *asked, *kept])
        return logits

    return served


def load(path: Path, threads: int = 1) -> Any:
    """Open a session of ONNX Runtime on the processor.

    Raises:
        CorruptExportError: the file is missing, truncated or no model.
    """
    runtime = require("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMIZERS
        )
    except Exception as error:  # its classes are made at run time
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CorruptExportError(f"{path}: not a model of ONNX Runtime ({reason})") from error


def run(session: Any, given: Sequence[Tensor]) -> list[Tensor]:
    """Return all outputs for all inputs, both in the order of the file."""
    names = [entry.name for entry in session.get_inputs()]
    feed = {name: x.numpy() for name, x in zip(names, given, strict=True)}
    return [torch.from_numpy(y) for y in session.run(None, feed)]
