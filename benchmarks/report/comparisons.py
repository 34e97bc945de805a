"""Methods against one another: hypervolume of each run, and differences paired over seeds."""

from __future__ import annotations

from typing import Any

import pandas as pd

from benchmarks import stats
from benchmarks.report import rows


def volumes_of(lines: pd.DataFrame, task: str) -> pd.DataFrame:
    """Hypervolume of each run's headline candidates: test quality up, latency ratio down."""
    point, found = rows.reference_point(task), []
    for (method, seed), part in lines.groupby(["method", "seed"], sort=True):
        there = part.dropna(subset=["quality", "ratio"])
        pairs = list(zip(there["quality"], there["ratio"], strict=True))
        found.append({"method": method, "seed": seed, "volume": stats.hypervolume(pairs, point)})
    return pd.DataFrame(found, columns=["method", "seed", "volume"]).astype({"volume": "float64"})


def compare(lines: pd.DataFrame, volumes: pd.DataFrame, baseline: str | None) -> pd.DataFrame:
    """Every method against the baseline, paired over seeds; Holm over all lines of the table."""
    measured = [("quality", limit, part) for limit, part in lines.groupby("limit", sort=True)]
    series = [
        (what, str(limit), part.set_index(["method", "seed"])["quality"]) for what, limit, part in measured
    ]
    series.append(("hypervolume", "all", volumes.set_index(["method", "seed"])["volume"]))
    found: list[dict[str, Any]] = []
    for what, limit, values in series:
        values = values.dropna()
        by_method = {m: part.droplevel("method") for m, part in values.groupby(level="method", sort=True)}
        if baseline is None or baseline not in by_method:
            continue
        for method, ours in by_method.items():
            seeds = sorted(set(ours.index) & set(by_method[baseline].index))
            if method == baseline or not seeds:
                continue
            a, b = [float(ours[s]) for s in seeds], [float(by_method[baseline][s]) for s in seeds]
            interval = stats.t_interval([x - y for x, y in zip(a, b, strict=True)])
            tested = stats.SIGNIFICANT_FROM <= len(seeds) <= 20
            p = stats.sign_flip(a, b) if tested else None
            found.append(
                {"method": method, "baseline": baseline, "what": what, "limit": limit, "pairs": len(seeds)}
                | {"difference": interval.mean, "low": interval.low, "high": interval.high, "p": p}
            )
    adjusted = stats.holm({str(i): line["p"] for i, line in enumerate(found) if line["p"] is not None})
    for i, line in enumerate(found):
        line["p_holm"] = adjusted.get(str(i))
        line["verdict"] = stats.verdict(line["p_holm"], line["pairs"], len(adjusted))
    columns = [
        "method",
        "baseline",
        "what",
        "limit",
        "pairs",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
        "verdict",
    ]
    frame = pd.DataFrame(found, columns=columns)
    return frame.astype(dict.fromkeys(("difference", "low", "high", "p", "p_holm"), "float64"))
