"""Figures of the joint searches in results/FINDINGS.md are those of the studies' files."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from benchmarks.studies.simq_fronts import report
from tests import ROOT


def study(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "results" / "studies" / f"{name}.json").read_text("utf-8"))


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def signed(ends: list[float]) -> str:
    mean, low, high = (f"{100 * value:+.1f}" for value in ends)
    return f"{mean} [{low}, {high}]"


def comparison(search: dict[str, Any], ours: str, theirs: str) -> str:
    (found,) = [
        one
        for one in search["supernets"]["all"]["comparisons"]
        if (one["ours"], one["theirs"]) == (ours, theirs)
    ]
    return signed(found["difference"])


def means(search: dict[str, Any], arm: str) -> str:
    first, second, third = (percent(ends[0]) for ends in search["supernets"]["all"]["means"][arm])
    return f"{first}, {second} and {third} %"


def of_searches(search: dict[str, Any]) -> dict[str, str]:
    tables = [one for one in search["tables"] if one["objectives"] == ["loss", "bytes"]]
    paper = [one["uniform"]["int8"] for one in tables if set(one["alphabet"]) == {"fp32", "int8"}]
    ours = {one["table"]["name"]: max(one["uniform"].values()) for one in tables if "w4" in one["alphabet"]}
    left = [1 - share for share in ours.values()]
    latency = [one["uniform"]["int8"] for one in search["tables"] if one["objectives"] == ["loss", "latency"]]
    return {
        "seeds": f"{search['seeds']} search seeds",
        "paper": f"{percent(min(paper))} to {100 * max(paper):.0f} %",
        "ours": f"{percent(min(left))} to {percent(max(left))} points",
        "latency": f"{percent(min(latency))} to {percent(max(latency))} %",
        "counted": means(search, "linas"),
        "predicted": means(search, "linas, bytes predicted"),
        "bayes": means(search, "bayes-joint"),
        "ten": comparison(search, "linas", "nsga2-joint, population 10"),
        "fifty": comparison(search, "linas", "nsga2-joint, population 50"),
        "small": comparison(search, "nsga2-joint, population 10", "nsga2-joint, population 50"),
        "evolution": comparison(search, "nsga2-joint, population 50", "random-joint"),
        "mended": comparison(search, "linas, batches of 50", "linas-as-published"),
        "faults": comparison(search, "linas, bytes predicted, batches of 50", "linas-as-published"),
        "arch": comparison(search, "linas", "arch-then-quant"),
        "quant": comparison(search, "linas", "quant-then-arch"),
    }


def of_fronts(name: str) -> dict[str, str]:
    found = study(name)
    answers = {one["table"]["name"].removeprefix("simq-"): one["answers"] for one in found["tables"]}
    ceilings = {one["table"]["name"].removeprefix("simq-"): one["ceilings"] for one in found["tables"]}
    named: dict[str, str] = {}
    for table, axes in answers.items():
        for axis, answer in axes.items():
            named[f"{table} {axis}"] = f"{answer['estimate']:.2f}"
    fast = [values["faster"][1] for table, values in ceilings.items() if table != "resnet"]
    named["ceiling faster"] = f"{min(fast):.1f} to {max(fast):.1f}"
    small = [values["smaller"][0] for table, values in ceilings.items() if table != "text"]
    named["ceiling smaller"] = f"{min(small):.1f} to {max(small):.1f}"
    return named


def fragments() -> dict[str, str]:
    """Name -> words that FINDINGS.md must have."""
    found = {f"search {key}": value for key, value in of_searches(study("simq-search")).items()}
    loss, error = of_fronts("simq-fronts"), of_fronts("simq-fronts-accuracy")
    found["loss"] = (
        f"text {loss['text faster']} times faster, images with text {loss['vl faster']} times faster and"
        f" {loss['vl smaller']} smaller, ResNet {loss['resnet smaller']} smaller, ViT neither"
    )
    found["error"] = (
        f"text {error['text faster']}, images with text {error['vl faster']} and ViT {error['vit faster']}"
        f" times faster, the last two {error['vl smaller']} and {error['vit smaller']} times smaller"
    )
    found["ceiling faster"] = f"{loss['ceiling faster']} times"
    found["ceiling smaller"] = f"{loss['ceiling smaller']} times"
    d = report.DISCORDANT
    found["resolves"] = (
        f"5,000 items resolve {100 * report.resolution(5000, d):.1f} points, 1,000 items"
        f" {100 * report.resolution(1000, d):.1f}; half a point takes {report.items_needed(d):,}"
    )
    return found


@pytest.mark.parametrize("name", list(fragments()))
def test_findings_have_the_figure(name: str) -> None:
    text = " ".join((ROOT / "results/FINDINGS.md").read_text("utf-8").split())
    assert fragments()[name] in text


def test_losslessness_is_stated_only_where_it_is_shown() -> None:
    text = " ".join((ROOT / "results/FINDINGS.md").read_text("utf-8").split())
    shown = [
        candidate
        for name in ("simq-fronts", "simq-fronts-accuracy")
        for one in study(name)["tables"]
        for axis, answer in one["answers"].items()
        if not answer["withdrawn"]
        for candidate in answer["candidates"]
        if candidate["verdict"] == "at no loss"
    ]
    assert bool(shown) != ("No network is shown to be faster or smaller than INT8" in text)
    assert not re.search(r"INT8 is no baseline(?!\")", text)
