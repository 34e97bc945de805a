"""Exported sub-networks as ONNX files that ONNX Runtime runs, in float32 or under a precision policy.

One file says what the network's forward pass says: logits of every position of text, of an image, or of every
next word given a source and the target so far. Decoding step by step is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from supernet import bert, seq2seq, vit
from supernet.export import CorruptExport, replace
from supernet.interop.huggingface import CLOSE, Unequal, sample
from supernet.interop.runtimes import Inexpressible, require
from supernet.onnx_graph import to_onnx, trace
from supernet.quantize import Policy, lowered, quantize

AGREEING = 0.995
"""Share of positions whose largest logit must be the same one."""
ROWS = 64
"""Of the random inputs that a file is compared on."""


def inputs(module: nn.Module, rows: int = ROWS) -> dict[str, Tensor]:
    """Random inputs by the names that they have in the file."""
    given = sample(module, rows)
    if isinstance(module, vit.ViT):
        return {"images": given["pixel_values"]}
    if isinstance(module, seq2seq.Transformer):
        return {"source": given["input_ids"], "target": given["decoder_input_ids"]}
    if isinstance(module, bert.Bert):
        return {"tokens": given["input_ids"]}
    raise Inexpressible(f"no inputs are known for a {type(module).__name__}")


def write(module: nn.Module, path: Path, policy: Policy | None = None) -> dict[str, float]:
    """Write ``path`` and compare what ONNX Runtime makes of it with the network, under the same policy.

    Returns:
        ``apart``: largest difference of two logits; ``agreeing``: share of positions where the largest logit
        is the same one.

    Raises:
        Unequal: logits in float32 differ by more than 1e-4, or under any policy more than 0.5 % of the
            largest ones are others.
        Missing: onnx or onnxruntime is not installed.
        ValueError: the policy cannot be written.
    """
    require("onnxruntime", "onnx")
    given = inputs(module)
    axes = {name: {0: "batch"} | ({} if name == "images" else {1: f"{name}_length"}) for name in given}
    axes["logits"] = {0: "batch"}
    how: dict[str, Any] = {"names": (list(given), ["logits"]), "axes": axes}
    data = to_onnx(module, list(given.values()), policy, **how)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, lambda name: Path(name).write_bytes(data))
    with torch.no_grad():
        ours = quantize(module, policy)(*given.values())
    theirs = torch.from_numpy(run(load(path), given))
    apart = float((theirs - ours).abs().max())
    agreeing = float((theirs.argmax(-1) == ours.argmax(-1)).float().mean())
    if not (agreeing >= AGREEING and (lowered(policy) or apart <= CLOSE)):
        path.unlink()
        raise Unequal(
            f"ONNX Runtime's logits differ by {apart:.2g} from PyTorch's, the largest is the same one at"
            f" {agreeing:.2%} of positions: {path.name} is not written"
        )
    return {"apart": apart, "agreeing": agreeing}


def load(path: Path, threads: int = 1) -> Any:
    """A session of ONNX Runtime on the processor.

    Raises:
        CorruptExport: the file is missing, truncated or no model.
    """
    runtime = require("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes are made at run time
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CorruptExport(f"{path}: not a model of ONNX Runtime ({said})") from error


def run(session: Any, given: Mapping[str, Tensor]) -> np.ndarray:
    """The first output."""
    found: np.ndarray = session.run(None, {name: tensor.numpy() for name, tensor in given.items()})[0]
    return found


def serving(
    module: nn.Module, call: Callable[..., Tensor], given: Tensor, policy: Policy | None, threads: int
) -> Callable[[], np.ndarray]:
    """One request, ``call(module, given)``, as ONNX Runtime serves it: to be timed."""
    runtime = require("onnxruntime", "onnx")
    # Tracing needs two of everything, to tell axes of size one from others.
    two = given.repeat(2, *[1] * (given.dim() - 1))
    traced = trace(module, [two], call=call, names=(["given"], ["output"]))
    # A request need not come by every layer: an encoder's leaves out the head.
    data = traced.under({name: low for name, low in (policy or {}).items() if name in traced.layers})
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    feed = {"given": given.numpy()}
    return lambda: session.run(None, feed)[0]  # type: ignore[no-any-return]
