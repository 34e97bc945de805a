"""Figures of the joint searches in results/FINDINGS.md are those of the studies' files."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from benchmarks.claims import hypotheses, judge
from benchmarks.records import study_files
from benchmarks.stats.intervals import t_interval
from benchmarks.studies.simq_fronts import report
from tests import ROOT


def study(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "results" / "studies" / f"{name}.json").read_text("utf-8"))


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def signed(ends: list[float]) -> str:
    mean, low, high = (f"{100 * value:+.1f}" for value in ends)
    return f"{mean} [{low}, {high}]"


def comparison(search: dict[str, Any], ours: str, theirs: str, figure: str = "difference") -> str:
    (found,) = [
        one
        for one in search["supernets"]["all"]["comparisons"]
        if (one["ours"], one["theirs"]) == (ours, theirs)
    ]
    return signed(found[figure])


def exploratory(search: dict[str, Any], ours: str, theirs: str, budget: int) -> str:
    """A difference that the rule does not name."""
    (paired,) = [
        entry
        for entry in search["supernets"]["all"]["exploratory"]
        if (entry["ours"], entry["theirs"], entry["budget"]) == (ours, theirs, budget)
    ]
    return signed(paired["difference"])


def lacking_held_out(search: dict[str, Any]) -> str:
    """Held-out share of the true front minus the best uniform precision's, in each table's own alphabet."""
    tables: dict[str, Any] = {}
    for entry in search["tables"]:
        name = entry["table"]["name"]
        if entry["objectives"] == ["loss", "bytes"] and len(entry["alphabet"]) > len(
            tables.get(name, {"alphabet": ()})["alphabet"]
        ):
            tables[name] = entry
    assert len(tables) == 7
    gains = [
        t["held_front"] - t["held_uniform"][max(t["uniform"], key=t["uniform"].get)] for t in tables.values()
    ]
    interval = t_interval(gains)
    return signed([interval.mean, interval.low, interval.high])  # type: ignore[list-item]


def means(search: dict[str, Any], arm: str) -> str:
    first, second, third = (percent(ends[0]) for ends in search["supernets"]["all"]["means"][arm])
    return f"{first}, {second} and {third} %"


def of_searches(search: dict[str, Any]) -> dict[str, str]:
    tables = [one for one in search["tables"] if one["objectives"] == ["loss", "bytes"]]
    paper = [one["uniform"]["int8"] for one in tables if set(one["alphabet"]) == {"fp32", "int8"}]
    ours = {one["table"]["name"]: max(one["uniform"].values()) for one in tables if "w4" in one["alphabet"]}
    left = [1 - share for share in ours.values()]
    return {
        "seeds": f"{search['seeds']} search seeds",
        "paper": f"{percent(min(paper))} to {100 * max(paper):.0f} %",
        "ours": f"{percent(min(left))} to {percent(max(left))} points",
        "counted": means(search, "linas"),
        "predicted": means(search, "linas, bytes predicted"),
        "bayes": means(search, "bayes-joint"),
        "ten": comparison(search, "linas", "nsga2-joint, population 10"),
        "fifty": comparison(search, "linas", "nsga2-joint, population 50"),
        "small": comparison(search, "nsga2-joint, population 10", "nsga2-joint, population 50"),
        "evolution": comparison(search, "nsga2-joint, population 50", "random-joint"),
        "mended": comparison(search, "linas, batches of 50", "linas-as-published"),
        "faults": comparison(search, "linas, bytes predicted, batches of 50", "linas-as-published"),
        "integer programme": comparison(search, "linas", "sensitivity-ilp"),
        "early": f"({means(search, 'sensitivity-ilp').partition(',')[0]} %)",
        "pruned": comparison(search, "linas", "pruned-joint"),
        "fifty held out": f"held out {comparison(search, 'linas', 'nsga2-joint, population 50', 'held_out')}",
        "ten held out": f"held out {comparison(search, 'linas', 'nsga2-joint, population 10', 'held_out')}",
        "evolution held out": "held out "
        + comparison(search, "nsga2-joint, population 50", "random-joint", "held_out"),
        "published": exploratory(search, "linas-as-published", "nsga2-joint, population 10", 200),
        "programme early": exploratory(search, "linas", "sensitivity-ilp", 50),
        "arch early": exploratory(search, "linas", "arch-then-quant", 100),
        "quant early": exploratory(search, "linas", "quant-then-arch", 100),
        "counting": comparison(search, "linas", "linas, bytes predicted"),
        "perfect held out": f"on held-out items, it is {lacking_held_out(search)} over all seven tables",
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
    timed = [measured_ceiling(entry) for entry in found["tables"] if "resnet" not in entry["table"]["name"]]
    named["measured ceiling"] = f"{min(timed):.1f} to {max(timed):.1f}"
    small = [values["smaller"][0] for table, values in ceilings.items() if table != "text"]
    named["ceiling smaller"] = f"{min(small):.1f} to {max(small):.1f}"
    return named


def measured_ceiling(facts: Any) -> float:
    """Latency of the largest network in INT8 over that of the space's cheapest one, both measured."""
    points = {point["place"]: point["ratio"][0] for point in facts["points"]}
    return float(points[facts["largest"]["int8"]] / points[facts["cheapest"]["faster"][1]])


def differing(name: str, *tables: str) -> str:
    """Share of items that two networks answer differently, where answers were kept."""
    shares = [
        100 * (error**2 * entry["items"] + mean**2)
        for entry in study(name)["tables"]
        if entry["table"]["name"].removeprefix("simq-") in tables
        for mean, error in (point["accuracy_above_int8"] for point in entry["points"])
        if error
    ]
    return f"{min(shares):.1f} to {max(shares):.1f} %"


def mixed() -> tuple[int, int]:
    """Best estimates above 1 that are published: in uniform INT8, and with another precision."""
    policies = []
    for name in ("simq-fronts", "simq-fronts-accuracy"):
        for entry in study(name)["tables"]:
            points = {point["place"]: set(point["policy"].values()) for point in entry["points"]}
            for answer in entry["answers"].values():
                best = [c["place"] for c in answer["candidates"] if c["times"] == answer["estimate"]]
                policies += [points[best[0]]] if best and not answer["withdrawn"] else []
    return sum(p == {"int8"} for p in policies), sum("w4" in p for p in policies)


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
    found["ceiling faster"] = (
        f"{loss['ceiling faster']} times in latency as the tables predict it,"
        f" {loss['measured ceiling']} as measured"
    )
    uniform, with_w4 = mixed()
    found["mixed"] = f"{uniform} of these {uniform + with_w4} networks are in uniform INT8"
    found["differing"] = (
        f"differ on {differing('simq-fronts', 'resnet', 'vl')} of 5,000 items, for which fewer do, ViT's on"
        f" {differing('simq-fronts-accuracy', 'vit')};"
    )
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


def test_the_comparison_of_searches_that_is_significant_is_the_one_that_is_named() -> None:
    compared = study("simq-search")["supernets"]["all"]["comparisons"]
    assert len(compared) == 15
    significant = [(c["ours"], c["theirs"]) for c in compared if c["verdict"] != "no difference shown"]
    assert significant == [("nsga2-joint, population 50", "random-joint")]
    (fifty,) = (c for c in compared if (c["ours"], c["theirs"]) == ("linas", "nsga2-joint, population 50"))
    assert f"{fifty['p_holm']:.3f}" == "0.053"


def test_every_figure_on_deployed_sizes_follows_from_the_study() -> None:
    text = " ".join((ROOT / "results/FINDINGS.md").read_text("utf-8").split())
    start = text.index("* **At the sizes that people deploy, static INT8 in OpenVINO has the least median**")
    text = text[start : text.index("* **On an H200, in torch's compiler")]
    timed = [t for t in study("deployed-sizes")["timed"] if not t["failed"]]
    ratio = {(t["runtime"].partition("-")[0], t["precision"], t["network"]): t["ratio"] for t in timed}
    names = ["ResNet-50", "ViT-B/16", "BERT-base"]

    taken = {(t["runtime"].partition("-")[0], t["precision"], t["network"]): t["ms"] for t in timed}

    def static(runtime: str) -> tuple[list[str], list[str]]:
        keys = [(runtime, "int8s", name) for name in names]
        return [f"{taken[key]:.1f}" for key in keys], [f"{ratio[key]:.2f}" for key in keys]

    for name in names:
        fastest = min((t for t in timed if t["network"] == name), key=lambda t: t["ms"])
        assert (fastest["runtime"].partition("-")[0], fastest["precision"]) == ("openvino", "int8s")
    openvino, inductor, ort = map(static, ("openvino", "inductor", "ort"))
    dynamic = [f"{taken['ort', 'int8', name]:.1f}" for name in names[1:]]
    assert all(taken["ort", "int8", name] < taken["ort", "int8s", name] for name in names[1:])
    assert {runtime for runtime, precision, _ in taken if precision == "int8"} == {"ort"}
    bf16 = sorted(value for (_, precision, _), value in ratio.items() if precision == "bf16")
    assert len({runtime for runtime, precision, _ in taken if precision == "bf16"}) == 3
    four = [f"{ratio['ort', 'w4', name]:.2f}" for name in names[1:]]
    assert bf16[0] > 1 and min(t["low"] for t in timed if t["precision"] in ("bf16", "w4")) > 1
    small = [
        entry["bf16_in_torch"]["times_fp32"]
        for name in ("simq-fronts", "simq-fronts-accuracy")
        for entry in study(name)["tables"]
    ]
    expected = (
        "takes {} ms (ResNet-50), {} ms (ViT-B/16) and {} ms (BERT-base)".format(*openvino[0]),
        "is {}, {} and {} of float32's time there".format(*openvino[1]),
        "compiler takes {}, {} and {} ms".format(*inductor[0]) + " ({}, {} and {})".format(*inductor[1]),
        "Runtime {}, {} and {} ms".format(*ort[0]) + " ({}, {} and {})".format(*ort[1]),
        f"takes {dynamic[0]} and {dynamic[1]} ms on the two Transformers",
        f"{ratio['ort', 'int8', names[0]]:.2f} times",
        f"({bf16[0]:.2f} to {bf16[-1]:.2f})",
        f"({four[0]} and {four[1]})",
        f"are {min(small):.2f} to {max(small):.2f} times faster in torch's bf16",
    )
    for figures in expected:
        assert figures in text, figures


def test_every_figure_on_precisions_of_a_gpu_follows_from_the_study() -> None:
    text = " ".join((ROOT / "results/FINDINGS.md").read_text("utf-8").split())
    start = text.index("* **On an H200, in torch's compiler")
    text = text[start : text.index("* CIFAR-10 runs through the harness on two cores", start)]
    (kept,) = study("gpu-precision")["gpus"]
    timed = [t for t in kept["networks"] + kept["stacks"] if not t["failed"]]
    found = {(t["network"], t["batch"], t["precision"]): t["ratio"] for t in timed}
    networks = {t["network"] for t in kept["networks"]}
    stacks = {t["network"] for t in kept["stacks"]}
    failed = {(t["network"], t["precision"]) for t in kept["networks"] + kept["stacks"] if t["failed"]}
    assert failed == {("ResNet-50", "int8"), ("ResNet-50", "fp8")} and len(networks) == 3 and len(stacks) == 6

    def span(names: set[str], batch: tuple[int, ...], *precisions: str) -> str:
        values = [v for (n, b, p), v in found.items() if n in names and b in batch and p in precisions]
        return f"{min(values):.2f} to {max(values):.2f}"

    slow = [v for (n, _, p), v in found.items() if n in networks and p == "fp32"]
    wide = [f"{found[f'linear {w}', 8192, 'fp8']:.2f}" for w in (256, 512, 768, 1024, 2048, 4096)]
    expected = (
        f"takes {min(slow):.1f} to {max(slow):.1f} times its time",
        f"takes {span(networks, (1,), 'int8')} times at batch 1",
        f"and {span(networks, (64,), 'int8')} at batch 64",
        f"FP8 {span(networks, (1,), 'fp8')} and {span(networks, (64,), 'fp8')}.",
        "takes {}, {}, {}, {}, {} and {} of bfloat16's time".format(*wide),
        f"INT8 takes {span(stacks, (8192,), 'int8')},",
        f"128 rows both take {span(stacks, (128,), 'int8', 'fp8')}",
    )
    for figures in expected:
        assert figures in text, figures
    slower = [t["low"] for t in timed if t["precision"] == "int8"]
    slower += [t["low"] for t in timed if t["precision"] == "fp8" and t["batch"] == 128]
    assert min(slower) > 1


def test_evolution_that_is_ahead_on_its_own_items_alone_has_a_remark() -> None:
    compared = study("simq-search")["supernets"]["all"]["comparisons"]
    (evolution,) = [c for c in compared if c["theirs"] == "random-joint"]
    _, low, high = evolution["held_out"]
    remark = next(c.remark for c in hypotheses.claims() if c.id == "simq-evolution")
    assert ("holds 0" in remark) == (low < 0 < high)


def test_verdicts_on_simq_are_counted() -> None:
    judged = judge.judge([], studies=study_files.load_all(ROOT / "results"))
    ours = [v for v in judged if v.claim.paper == "simq"]
    names = {
        kind: [v.claim.id for v in ours if v.verdict == kind]
        for kind in ("supported", "refuted", "undecided")
    }
    assert (names["supported"], names["refuted"]) == (["simq-evolution"], [])
    text = " ".join((ROOT / "results/FINDINGS.md").read_text("utf-8").split())
    rest = len(ours) - 1 - len(names["undecided"])
    assert f"Of SimQ's {len(ours)} claims `simq-evolution` is supported" in text
    assert f"{len(names['undecided'])} are undecided and {rest} not tested" in text


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
