"""LiteTransformerSearch (Javaheripi et al., NeurIPS 2022): decoder parameters as the score, no supernet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from benchmarks.api import Candidate, Lab, Method, Need, Option
from supernet.cost import CountedFamily, exported_sizes
from supernet.pipeline import Limit, find_by_evolution, limit_tests, reachable_limits, train
from supernet.predict import MINIMUM_SAMPLES
from supernet.space import Architecture
from supernet.train import SinglePath

DECODER = "decoder."
"""Prefix of the names of a decoder's layers."""


class LTS(Method):
    """Evolution under each target with the number of parameters as the score; nothing is trained for it.

    Section 3: among decoders the parameter count ranks architectures as training them does. So the search
    costs latency probes alone, and all tokens train the winners, on an even split. The paper searches
    decoder-only networks. Of an encoder-decoder the decoder's layers count by default.
    """

    name = "lts"
    summary = "LiteTransformerSearch: most decoder parameters under the limit, all tokens to the winner"
    options = (
        Option(
            "count",
            str,
            "decoder",
            choices=("decoder", "body"),
            help="parameters that count: the decoder's layers, or all but embeddings and output layer",
        ),
    )
    needs = (Need("probes", MINIMUM_SAMPLES, timed=True, why="the samples of its latency predictor"),)

    def search(self, lab: Lab) -> Iterable[Candidate]:
        family = lab.supernet().family
        count = parameter_count(family, lab.options["count"])
        limits = reachable_limits(lab, lab.space)
        allowed_under = limit_tests(lab, lab.space)
        settings = lab.task.settings
        size = settings["parents"] + settings["mutants"] + settings["crossovers"]
        winners: list[tuple[Limit, Architecture]] = []
        for limit in limits:
            with lab.phase("search"):
                best = find_by_evolution(
                    lab, lambda a: -count(a), allowed_under(limit), size * settings["generations"], {}
                )
                winners.append((limit, best))
        for i, (limit, best) in enumerate(winners):
            with lab.phase("train"):
                net = train(lab, lab.supernet(only=best), SinglePath(), 1 / len(winners), f"train-{i}")
                yield lab.candidate(net, best, origin="scratch", target=limit)


def parameter_count(family: CountedFamily, which: str) -> Callable[[Architecture], float]:
    """Return the function that counts an architecture's parameters: those of the decoder's layers, or of the
    body.

    A family without a decoder, such as an encoder, counts its body.
    """

    def count(architecture: Architecture) -> float:
        sizes: Mapping[str, int] = exported_sizes(family, architecture)
        decoder = {name: n for name, n in sizes.items() if name.startswith(DECODER)}
        if which == "decoder" and decoder:
            return float(sum(decoder.values()))
        return float(sum(n for name, n in sizes.items() if not name.startswith(family.outside)))

    return count
