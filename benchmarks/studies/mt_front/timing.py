"""Timings of published translators in ONNX Runtime on one core, in turns with the reference network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from benchmarks.hardware.profiles import Profile
from benchmarks.records import selection
from benchmarks.records.record import Candidate, Record
from benchmarks.studies.mt_front.analysis import FrontPoint
from benchmarks.studies.published_winners import method_name, rebuild
from supernet.quantization.onnx_runtime import version

if TYPE_CHECKING:
    from torch import nn

    from benchmarks.measurement.interleaved import Percentiles
    from benchmarks.measurement.workload import Workload
    from benchmarks.tasks.tiers import Tier
    from supernet.seq2seq import Transformer

BUILDS, ROUNDS = 3, 64
"""Times that each network is built and timed, and inferences each time."""
CLOSE = 1e-3
"""Largest difference between ONNX Runtime's logits and torch's, of random weights."""


class Winner(NamedTuple):
    """Candidates of a run at one limit: the product, and the network with inherited weights before it."""

    product: Candidate
    inherited: Candidate | None


def select_winners(records: Sequence[Record]) -> Iterator[tuple[Record, float, Winner]]:
    """Yield the float32 headline candidate of each limit that has a test score."""
    for record in records:
        candidates = record["candidates"]
        for limit, product in selection.headline_candidates(candidates).items():
            if limit.rank == 1 and not product.get("policy") and bleu_of(product) is not None:
                same = [
                    candidate
                    for candidate in candidates
                    if candidate["origin"] == "inherited" != product["origin"]
                    and candidate["architecture"] == product["architecture"]
                    and bleu_of(candidate) is not None
                ]
                yield record, limit.value, Winner(product, same[0] if same else None)


def bleu_of(candidate: Candidate) -> float | None:
    """Return BLEU on the deciding test set; None if there is none."""
    scores = (candidate.get("test") or {}).get(selection.deciding_set(candidate) or "", {})
    return (scores.get("bleu") or {}).get("value")


def network_key(record: Record, candidate: Candidate) -> str:
    """Return the key of a network, equal for winners of one shape."""
    family, _, _ = rebuild(record, candidate)
    architecture = family.space.architecture(candidate["architecture"])
    return f"{record['spec']['task']} {family.space.name} {architecture.key()}"


@dataclass(frozen=True)
class TimedInTurns:
    """Timings of a network beside its reference, and the processors that other programs took meanwhile."""

    percentiles: Percentiles
    others_cpu: float


def time_network(record: Record, candidate: Candidate) -> TimedInTurns:
    """Build one winner in float32 and time it beside the reference network."""
    from benchmarks.measurement.workload import Workload

    family, reference, tier = rebuild(record, candidate)
    architecture = family.space.architecture(candidate["architecture"])
    networks = [family.build(architecture), reference.build(reference.space.largest())]
    return time_in_turns(networks, Workload.of(tier.workload))


def time_in_turns(networks: Sequence[nn.Module], workload: Workload) -> TimedInTurns:
    """Time a translator in turns with its reference, both in ONNX Runtime on one core.

    Raises:
        ArithmeticError: ONNX Runtime computes something else than torch.
    """
    import torch

    from benchmarks.measurement.interleaved import TimedRequest, summarize, time_interleaved
    from supernet.quantization.onnx_translator import OnnxTranslator

    source = workload.source("cpu")
    timed = []
    for network in networks:
        network.requires_grad_(False).eval()
        translator = OnnxTranslator(cast("Transformer", network))
        serve = partial(translator.forced_steps, source.numpy(), workload.steps, workload.beam)
        with torch.inference_mode():
            expected = workload.run(network, source).numpy()
        if not np.allclose(serve(), expected, atol=CLOSE):
            raise ArithmeticError("ONNX Runtime's logits of a winner are not torch's")
        timed.append(TimedRequest(serve))
    times, conditions = time_interleaved(timed, 1, min_n=ROUNDS, max_seconds=60.0)
    return TimedInTurns(summarize(times), conditions.others_cpu)


def summarize(
    record: Record, limit: float, winner: Winner, builds: Sequence[TimedInTurns], profile: Profile
) -> FrontPoint:
    """Return one winner with its timings over all builds."""
    from benchmarks.measurement import counted
    from benchmarks.measurement.workload import Workload
    from supernet.cost import cost

    candidate = winner.product
    family, reference, tier = rebuild(record, candidate)
    architecture = family.space.architecture(candidate["architecture"])
    workload, prices = Workload.of(tier.workload), counted.Prices.of(cast("Tier", tier).counted)
    sizes = [(family, architecture), (reference, reference.space.largest())]
    ours, largest = (
        counted.milliseconds(of_space, shape, workload, "cpu", prices) for of_space, shape in sizes
    )
    bleu = bleu_of(candidate)
    assert bleu is not None
    own, values = candidate.get("latency"), architecture.to_dict()
    ratios = [build.percentiles.ratio for build in builds]
    return FrontPoint(
        task=record["spec"]["task"],
        method=method_name(record),
        seed=record["spec"]["seed"],
        limit=limit,
        bleu=float(bleu),
        inherited_bleu=bleu_of(winner.inherited) if winner.inherited else None,
        counted=ours / largest,
        ratio=float(np.mean(ratios)),
        ratios=ratios,
        ms=float(np.median([build.percentiles.p50 for build in builds])),
        on_its_device=own["ratio"] if own else None,
        decoder_layers=int(values["decoder_layers"]),
        decoder_width=int(values["decoder_embed_dim"]),
        parameters=cost(family, architecture, source_len=1, target_len=1).params,
        others_cpu=max(build.others_cpu for build in builds),
        signature=f"rt:{version()}|thr:1|prec:fp32|prof:{profile.name}|n:{builds[0].percentiles.n}"
        f"|builds:{len(builds)}|len:{workload.source_len}|steps:{workload.steps}|beam:{workload.beam}|search:no",
    )
