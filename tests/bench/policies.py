"""Policies a second by fake quantisation and by ONNX Runtime; how well a table predicts their latency.

``python -m tests.bench.policies``: a Vision Transformer of width 256 over 32 x 32 pixels, random policies of
fp32, int8 and w4. Three arms in turns: fake quantisation of many policies at once; each policy written out by
``supernet.onnx_graph`` and run sample by sample; each converted by ONNX Runtime's own ``quantize_dynamic``
(fp32 and int8 alone, which is all it does) and run likewise. Then the space of a table, all of whose
architectures and policies are walked, against converting and running some of them. Then latencies in turns
with the fp32 network, and the error of ``supernet.operator_table`` on those that it was not fitted to.

With ``--device cuda`` fake quantisation runs there; without ONNX Runtime it is all that runs.

Wanted: twenty times the policies a second, and a median error of at most 8 %.
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

from benchmarks import turns
from benchmarks.runtimes import check_served
from supernet.fakequant import FakeQuantized
from supernet.families import image_family
from supernet.onnx_graph import Traced, trace
from supernet.operator_table import OperatorTable
from supernet.ort import Ort, version
from supernet.quantize import choices, units
from supernet.space import layered_space

ROUNDS = 3
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
    """What converting with the runtime's own tool costs: it reads and writes files."""
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


def throughput(module: nn.Module, items: int, policies: int, real: int, device: str) -> dict[str, Any]:
    """Seconds a policy of each arm: random policies of one architecture, which share next to nothing."""
    rng = np.random.default_rng(0)
    x = torch.randn(items, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    many, few = [drawn(module, rng) for _ in range(policies)], [drawn(module, rng) for _ in range(real)]
    fake, given = FakeQuantized(module.to(device)), x.to(device)

    def faked() -> None:
        fake(many, given).cpu()

    arms: dict[str, tuple[int, Callable[[], Any]]] = {"fake": (policies, faked)}
    if runs_here():
        traced = trace(module.cpu(), [x[:2]])
        theirs = stock(traced, x)
        arms |= {
            "onnx_graph": (real, lambda: [Ort(traced, policy).one_by_one()(x) for policy in few]),
            "quantize_dynamic": (real, lambda: [theirs(policy) for policy in few]),
        }
    faked()
    found = in_turns(arms)
    if runs_here():
        said = fake(few, given).cpu()
        true = torch.stack([Ort(traced, policy).one_by_one()(x) for policy in few])
        found["same_class"] = float((said.argmax(-1) == true.argmax(-1)).float().mean())
        found["apart"] = float((said - true).norm() / true.norm())
    return found | {"items": items, "policies": policies, "real": real, "device": device}


def walked(items: int, real: int, device: str, depths: tuple[int, ...]) -> dict[str, Any]:
    """Seconds a point of a table's space: every architecture and policy of it on the same items, by the walk
    that shares what begins alike, against exporting, writing out, loading and asking some of them."""
    from simq.tabulate import layer_space
    from simq.walks import walk
    from supernet.elastic import SuperNet
    from supernet.images import ImageBatch
    from supernet.weights import SharedSlices

    space = layered_space("bench", layers=depths, heads=(2, 4), ffn=(256, 1024), hidden=256, patch=4)
    family = image_family(space, 10, image=32, channels=3)
    generator = torch.Generator().manual_seed(0)
    net = SuperNet(family, SharedSlices(family, generator, device))
    x = torch.randn(items, 3, 32, 32, generator=generator)
    labels = torch.zeros(items, dtype=torch.long)
    joint = layer_space(family)
    few = [joint.decode(genome) for genome in joint.sample(real, np.random.default_rng(0))]

    def all_of_them() -> None:
        batch = ImageBatch(x.to(device), labels.to(device), 65)
        with torch.inference_mode():
            for _, figures in walk(net, joint)(batch):
                last = figures
        last.cpu()

    def one_by_one() -> None:
        for architecture, policy in few:
            module = net.export(architecture).cpu()
            Ort(trace(module, [x[:2]]), policy).one_by_one()(x)

    arms: dict[str, tuple[int, Callable[[], Any]]] = {"walk": (joint.size(), all_of_them)}
    if runs_here():
        arms["onnx_runtime"] = (real, one_by_one)
    return in_turns(arms) | {"points": joint.size(), "items": items, "real": real, "device": device}


def runs_here() -> bool:
    """Whether ONNX Runtime is installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def in_turns(arms: dict[str, tuple[int, Callable[[], Any]]]) -> dict[str, Any]:
    """Median seconds a policy of each arm, and how many times those of the first arm the others take."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(ROUNDS):
        for name, (count, work) in arms.items():
            began = time.perf_counter()
            work()
            times[name].append((time.perf_counter() - began) / count)
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = next(iter(medians))
    found: dict[str, Any] = {f"{name}_s": value for name, value in medians.items()}
    return found | {f"times_{name}": medians[name] / medians[first] for name in medians if name != first}


def timed(module: nn.Module, policies: list[dict[str, str]]) -> list[float]:
    """Latency of each policy over that of fp32, as ``benchmarks.turns`` has it: one thread on one core, the
    least of rounds that take all of them in turns, a new input each round."""
    traced, generator = trace(module, [torch.randn(2, 3, 32, 32)]), torch.Generator().manual_seed(0)
    served = [Ort(traced), *(Ort(traced, policy) for policy in policies)]
    for one in served:
        check_served(one, module, [[torch.randn(1, 3, 32, 32, generator=generator)]])
    found = turns.in_turns(served, lambda _: [torch.randn(1, 3, 32, 32, generator=generator)], TIMED)
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
    options.add_argument("--device", default="cpu", help="of fake quantisation (default: cpu)")
    options.add_argument("--items", type=int, default=32, help="samples a policy (default: 32)")
    options.add_argument("--policies", type=int, default=24, help="faked in one round (default: 24)")
    options.add_argument("--real", type=int, default=4, help="converted in one round (default: 4)")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    module, device = network(), chosen.device
    found: dict[str, Any] = {
        "recipe": f"vit|w:256|l:6|ffn:512|img:3x32|thr:1|torch:{torch.__version__}",
        "throughput": throughput(module, chosen.items, chosen.policies, chosen.real, device),
        "table_space": walked(chosen.items, chosen.real, device, (2, 3) if device == "cpu" else (2, 3, 4)),
    }
    if runs_here():
        found["recipe"] += f"|rt:{version()}"
        found["table"] = table(module.cpu(), 24, 16)
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
