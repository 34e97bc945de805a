"""Quantities of records and tables: unit, range and scale of each, declared once.

An interval is computed on the scale of its quantity, so that no end of it leaves the range; ``trespass``
names a figure that lies outside. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """A measured or counted quantity with its range; bounds belong to it."""

    name: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    counted: bool = False
    """Counted exactly: it has no interval."""
    higher_is_better: bool = False

    def holds(self, value: float) -> bool:
        """Return whether a value lies within the range, rounding apart."""
        return self.low - 1e-9 <= value <= self.high * (1 + 1e-9)

    @property
    def span(self) -> str:
        """The range in words."""
        if math.isinf(self.high):
            return "any number" if math.isinf(self.low) else f"not below {self.low:g}"
        return f"{self.low:g} to {self.high:g}"

    def trespass(self, *values: float | None) -> str:
        """Return a message about the first figure that is out of range; empty if none is."""
        for value in values:
            if value is not None and not math.isnan(value) and not self.holds(value):
                unit = f" {self.unit}" if self.unit else ""
                return f"{value:g}{unit} is impossible: {self.name} is {self.span}{unit}"
        return ""


def _positive(name: str, unit: str = "", *, counted: bool = False) -> Quantity:
    return Quantity(name, unit, 0.0, counted=counted)


def _percent(name: str) -> Quantity:
    return Quantity(name, "", 0.0, 100.0, higher_is_better=True)


def _correlation(name: str) -> Quantity:
    return Quantity(name, "", -100.0, 100.0, higher_is_better=True)


def _allowance(name: str) -> Quantity:
    return Quantity(name, "of the allowance", 0.0, 1.0, counted=True)


METRICS: Mapping[str, Quantity] = {
    "bleu": _percent("BLEU"),
    "chrf": _percent("chrF"),
    "bleu_tok_lc": _percent("BLEU (tokenised, lower-cased)"),
    "ter": Quantity("TER", "", 0.0),
    "spbleu": _percent("spBLEU"),
    "comet": Quantity("COMET x 100", higher_is_better=True),
    "mlm_accuracy": _percent("MLM accuracy %"),
    "effective_rank": Quantity("effective rank of states", "", 1.0, higher_is_better=True),
    "below_frequencies": Quantity("loss below that of word frequencies", "nats", higher_is_better=True),
    "accuracy": _percent("accuracy %"),
    "f1": _percent("F1 %"),
    "mcc": _correlation("MCC x 100"),
    "spearman": _correlation("Spearman x 100"),
    "pearson": _correlation("Pearson x 100"),
}
"""Name of a metric in a record -> its quantity."""

FIGURES: Mapping[str, Quantity] = {
    "valid_loss": _positive("validation loss", "nats"),
    "p50": _positive("median latency", "ms"),
    "p90": _positive("p90 latency", "ms"),
    "ratio": _positive("latency ratio"),
    "reference_p50": _positive("the reference's median latency", "ms"),
    "limit_ms": _positive("latency limit", "ms"),
    "limit_share": _positive("latency limit"),
    "peak_bytes": _positive("peak memory", "bytes"),
    "params": _positive("parameters", counted=True),
    "macs": _positive("MACs", counted=True),
    "bytes": _positive("size", "bytes", counted=True),
    "tokens": _allowance("tokens"),
    "evaluations": _allowance("evaluations"),
    "probes": _allowance("probes"),
    "seconds": _positive("seconds", "s"),
    "joules": _positive("energy", "J"),
    "volume": Quantity("hypervolume", low=0.0, higher_is_better=True),
}
"""Name of a figure in tables -> its quantity; the deciding figure, ``quality``, is its metric's."""

PROBABILITY = Quantity("p", "", 0.0, 1.0)
DIFFERENCE = Quantity("a difference")
"""Difference of two figures: any number, with Student's interval; none if no pair differs from another."""


def of_metric(name: str) -> Quantity:
    """Return a metric's quantity; a metric that nobody declared may take any value, more being better."""
    return METRICS.get(name) or Quantity(name, higher_is_better=True)


def of_column(name: str, quality: Quantity) -> Quantity:
    """Return the quantity of a table's column; ``quality`` is that of the deciding metric."""
    return quality if name == "quality" else FIGURES.get(name) or of_metric(name)
