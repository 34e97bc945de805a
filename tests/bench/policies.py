"""Policies a second by fake quantisation and by ONNX Runtime; how well a table predicts their latency.

``python -m tests.bench.policies``: Vision Transformers of width 256 over 32 x 32 pixels, policies of fp32,
int8 and w4, each evaluated on as many items as the tables have (1,000). Two questions, arms in turns:

- ``table_space``: all points of the tables' space of two to four layers (22,608 architectures with policies)
  by the walk that fills tables, against exporting, writing out, loading and asking some of them, drawn
  uniformly, item by item. The walk takes items in parts of equal work, one part after the other (32 on the
  processor, all of them elsewhere): each round times one part of other items, and seconds are those of as
  many parts as the items make, with what comes before the first.
- ``throughput``: random policies of one architecture of six layers, each layer's drawn on its own, which
  share next to nothing, against each written out by ``supernet.quantization.onnx_trace`` and run, and
  against each
  converted by ONNX Runtime's own ``quantize_dynamic`` (fp32 and int8 alone, which is all it does) and run.

Then latencies in turns with the fp32 network, and the error of ``supernet.quantization.latency_model`` on
those that it
was not fitted to. Where there is a GPU fake quantisation runs there, unless ``--device`` says otherwise, and
ONNX Runtime on one core beside it; without ONNX Runtime it is all that runs.

Wanted: twenty times the policies a second in the tables' space, and a median error of at most 8 %.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measurement import process_time
from benchmarks.measurement.serving import check_served
from supernet import allocator
from supernet.families import image_family
from supernet.quantization.fake_quantize import FakeQuantized
from supernet.quantization.latency_model import OperatorTable
from supernet.quantization.onnx_runtime import Ort, version
from supernet.quantization.onnx_trace import Traced, trace
from supernet.quantization.precisions import choices, units
from supernet.space import layered_space

ROUNDS = 3
PART = {"cpu": 32}
"""Items that a walk takes at once; elsewhere all."""
TIMED = 25
"""Rounds of the latencies."""
PRECISIONS = ("fp32", "int8", "w4")


def network() -> nn.Module:
    """A classifier of the size that the small tier searches."""
    torch.manual_seed(0)
    space = layered_space("bench", layers=(6,), heads=(4,), ffn=(512,), hidden=(256,), head_dim=64, patch=4)
    module: nn.Module = image_family(space, 10, image=32, channels=3).build(space.largest())
    return module.requires_grad_(False).eval()


def drawn(module: nn.Module, rng: np.random.Generator, among: tuple[str, ...] = PRECISIONS) -> dict[str, str]:
    """A random policy, each layer on its own."""
    shapes = units(module).items()
    return {name: str(rng.choice([p for p in choices(shape) if p in among])) for name, shape in shapes}


def stock(traced: Traced, x: Tensor) -> Callable[[dict[str, str]], None]:
    """Time a conversion by the runtime's own tool, which reads and writes files."""
    from onnxruntime import InferenceSession, SessionOptions
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = Path(tempfile.mkdtemp())
    (folder / "fp32.onnx").write_bytes(traced.under())

    def run(policy: dict[str, str]) -> None:
        nodes = [name for name, precision in policy.items() if precision == "int8"]
        quantize_dynamic(
            folder / "fp32.onnx",
            folder / "low.onnx",
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=nodes,
        )
        options = SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = InferenceSession(str(folder / "low.onnx"), options, providers=["CPUExecutionProvider"])
        for row in x.numpy():
            session.run(None, {"tokens": row[None]})

    return run


def throughput(module: nn.Module, items: int, policies: int, device: str) -> dict[str, Any]:
    """Seconds a policy of each arm: random policies of one architecture, the same in all arms."""
    rng = np.random.default_rng(0)
    x = torch.randn(items, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    some = [drawn(module, rng) for _ in range(policies)]
    fake, given = FakeQuantized(module.to(device)), x.to(device)
    arms: dict[str, Callable[[], Any]] = {"fake": lambda: fake(some, given).cpu()}
    if runs_here():
        traced = trace(module.cpu(), [x[:2]])
        theirs = stock(traced, x)
        arms["onnx_graph"] = lambda: torch.stack([Ort(traced, one).one_by_one()(x) for one in some])
        arms["quantize_dynamic"] = lambda: [theirs(one) for one in some]
    fake(some, given[:1]).cpu()
    times, said = in_turns(arms)
    found = compared({name: [one / policies for one in all_] for name, all_ in times.items()})
    if runs_here():
        faked, real = said["fake"], said["onnx_graph"]
        found["same_class"] = float((faked.argmax(-1) == real.argmax(-1)).float().mean())
        found["apart"] = float((faked - real).norm() / real.norm())
    return found | {"items": items, "policies": policies, "device": device}


def walked(items: int, real: int, device: str, depths: tuple[int, ...] = (2, 3, 4)) -> dict[str, Any]:
    """Seconds a point of a table's space by the walk over all of it, and one by one of ``real`` of them."""
    from simq.tabular.build import layer_space
    from simq.tabular.enumerate import enumerator
    from supernet.data.images import ImageBatch
    from supernet.elastic import SuperNet
    from supernet.weights import SharedSlices

    space = layered_space("bench", layers=depths, heads=(2, 4), ffn=(256, 1024), hidden=256, patch=4)
    family = image_family(space, 10, image=32, channels=3)
    generator = torch.Generator().manual_seed(0)
    net = SuperNet(family, SharedSlices(family, generator, device))
    x = torch.randn(items, 3, 32, 32, generator=generator)
    joint = layer_space(family)
    few = [joint.decode(genome) for genome in joint.sample(real, np.random.default_rng(0))]
    part = min(items, PART.get(device, items))
    parts = x.to(device).split(part)

    def one_part(i: int) -> float:
        """Sum the loss over all points; wait for the device."""
        said = parts[i % len(parts)]
        batch = ImageBatch(said, torch.zeros(len(said), dtype=torch.long, device=device), 65)
        return float(sum(figures[:, 0].sum() for _, figures in go(batch)))

    def one_by_one() -> None:
        for architecture, policy in few:
            module = net.export(architecture).cpu()
            Ort(trace(module, [x[:2]]), policy).one_by_one()(x)

    with torch.inference_mode():
        began = time.perf_counter()
        go = enumerator(net, joint)
        before = time.perf_counter() - began
        turns_taken = iter(range(ROUNDS))
        arms: dict[str, Callable[[], Any]] = {"walk": lambda: one_part(next(turns_taken))}
        if runs_here():
            arms["onnx_runtime"] = one_by_one
        times, _ = in_turns(arms)
    each = {"walk": [(before + one * items / part) / joint.size() for one in times["walk"]]}
    if runs_here():
        each["onnx_runtime"] = [one / real for one in times["onnx_runtime"]]
    told = {"points": joint.size(), "items": items, "items_at_once": part, "real": real, "device": device}
    return compared(each) | {"walk_before_s": before} | told


def runs_here() -> bool:
    """Return whether ONNX Runtime is installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def in_turns(arms: dict[str, Callable[[], Any]]) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of each round of each arm, and what it gave last."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    given = {}
    for _ in range(ROUNDS):
        for name, work in arms.items():
            began = time.perf_counter()
            given[name] = work()
            times[name].append(time.perf_counter() - began)
    return times, given


def compared(times: dict[str, list[float]]) -> dict[str, Any]:
    """Median seconds a policy of each arm, and how many times those of the first arm the others take: the
    median and the least of the rounds."""
    first, *others = times
    found: dict[str, Any] = {f"{name}_s": statistics.median(values) for name, values in times.items()}
    for name in others:
        ratios = [b / a for a, b in zip(times[first], times[name], strict=True)]
        found |= {f"times_{name}": statistics.median(ratios), f"times_{name}_least": min(ratios)}
    return found


def timed(module: nn.Module, policies: list[dict[str, str]]) -> list[float]:
    """Latency of each policy over that of fp32, as ``benchmarks.measurement.process_time`` has it:"
    " one thread on one core, the
    least of rounds that take all of them in turns, a new input each round."""
    traced, generator = trace(module, [torch.randn(2, 3, 32, 32)]), torch.Generator().manual_seed(0)
    served = [Ort(traced), *(Ort(traced, policy) for policy in policies)]
    for one in served:
        check_served(one, module, [[torch.randn(1, 3, 32, 32, generator=generator)]])
    found = process_time.time_networks(
        served, lambda _: [torch.randn(1, 3, 32, 32, generator=generator)], TIMED
    )
    return [float(ratio) for ratio in found.least()]


def table(module: nn.Module, fitted: int, held_out: int) -> dict[str, Any]:
    """The error of the table on policies that it has not seen, latencies as ratios to fp32."""
    rng = np.random.default_rng(1)
    layers = units(module)
    uniform = [{n: p for n, s in layers.items() if p in choices(s)} for p in ("int8", "w4")]
    policies = [drawn(module, rng) for _ in range(fitted + held_out)]
    ratios, again = timed(module, policies), timed(module, policies)
    made = OperatorTable([(layers, p, r) for p, r in zip(policies[:fitted], ratios[:fitted], strict=True)])
    errors = [abs(made(layers, p) / r - 1) for p, r in zip(policies[fitted:], ratios[fitted:], strict=True)]
    repeat = [abs(a / r - 1) for a, r in zip(again, ratios, strict=True)]
    return {
        "fitted": fitted,
        "held_out": held_out,
        "median_error": float(np.median(errors)),
        "largest_error": max(errors),
        "error_of_a_second_measurement": float(np.median(repeat)),
        "leave_one_out": made.error,
        "ratios_from": min(ratios),
        "ratios_to": max(ratios),
        "all_int8_and_w4": timed(module, uniform),
        "rounds": TIMED,
    }


def main() -> int:
    """Print the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    there = "cuda" if torch.cuda.is_available() else "cpu"
    options.add_argument("--device", default=there, help=f"of fake quantisation (default here: {there})")
    options.add_argument("--items", type=int, default=1000, help="samples a policy (default: 1000)")
    options.add_argument("--policies", type=int, default=4, help="of one architecture (default: 4)")
    options.add_argument("--real", type=int, default=4, help="points run one by one a round (default: 4)")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    allocator.keep_freed()
    module, device = network(), chosen.device
    found: dict[str, Any] = {
        "recipe": f"vit|w:256|img:3x32|thr:1|torch:{torch.__version__}",
        "table_space": walked(chosen.items, chosen.real, device),
        "throughput": throughput(module, chosen.items, chosen.policies, device),
    }
    if runs_here():
        found["recipe"] += f"|rt:{version()}"
        found["table"] = table(module.cpu(), 24, 16)
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
