"""``supernet-bench export``: a published row's network for another runtime, checked there."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.api import UsageError
from benchmarks.cli.arguments import PUBLISHED, add_data_dir, add_json, add_results, add_start_from
from benchmarks.cli.console import print_json
from benchmarks.cli.record_argument import find_record
from benchmarks.export import source as delivery
from benchmarks.export.source import Delivery
from benchmarks.hardware import profiles
from benchmarks.records import provenance, runtime_latencies, store
from benchmarks.records.store import write_text
from benchmarks.tasks.datasets import datasets

if TYPE_CHECKING:
    from torch import nn

    from benchmarks.export.model_card import Row
    from benchmarks.records.runtime_latencies import RuntimeLatency

SENTENCES = 200
"""Of the validation split, that a translator is compared on in both decoders."""
SAME_BLEU = 0.5
"""Largest difference of BLEU that the same weights may have in two decoders: they break ties differently."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    command.add_argument("record", metavar="RECORD", help="a file, or the id of a record")
    command.add_argument(
        "--to",
        required=True,
        choices=("onnx", "ctranslate2", "huggingface", "fairseq"),
        help="target runtime",
    )
    command.add_argument(
        "--candidate",
        type=int,
        metavar="N",
        help="index of a candidate (default: the best at the last target)",
    )
    command.add_argument(
        "--precision",
        choices=("fp32", "int8"),
        help="precision of linear layers (default: as the candidate is deployed)",
    )
    command.add_argument(
        "--time", action="store_true", help="time it there, in turns with PyTorch, on one thread each"
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="new folder (default: RESULTS/local/exports/...)"
    )
    add_results(command, PUBLISHED, "folder with records/ in it")
    add_data_dir(command, "folder of real data, for the vocabulary")
    add_start_from(command)
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Export one candidate of a record, into a folder that appears complete or not at all; return 0.

    Raises:
        UsageError: no such record or candidate, or the target format cannot represent the network.
    """
    local = store.load_all(options.results / "local", [])
    known = [*{r["id"]: r for r in [*store.load_all(options.results / "records", []), *local]}.values()]
    record, _ = find_record(options.record, known, options.results / "records")
    path = Path(options.record) if Path(options.record).is_file() else None
    found = delivery.find(record, options.candidate, path, options.results)
    out = options.out or options.results / "local" / "exports" / f"{found.label}.{options.to}"
    if out.exists():
        raise UsageError(f"{out} is there already: move it away, or name another folder: --out DIR")
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    began = _now()
    try:
        checks, told = _exported(options, found, fresh / "model")
        os.replace(fresh / "model", out)
    except (ValueError, ArithmeticError, OSError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"cannot be exported to {options.to}: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    kept = _stored(options, found, checks, told, began) if told else None
    checks += _rows(told) if told else []
    if options.json:
        listed = [{"what": name, "value": value, "signature": by} for name, value, by in checks]
        where = {"folder": str(out), "latency": kept and str(kept), "record": record["id"]}
        print_json(where | {"checks": listed})
    else:
        for name, value, by in checks:
            print(f" {name:34} {value}" + (f"   {by}" if by else ""))
        for path in (out, kept):
            if path is not None:
                print(f" written {os.path.relpath(path)}")
    return 0


def _exported(
    options: argparse.Namespace, found: Delivery, out: Path
) -> tuple[list[Row], RuntimeLatency | None]:
    """Write the folder of one runtime; what was found when it was checked, and its latency where timed."""
    from benchmarks.export.model_card import card
    from supernet import export

    module, about = export.load(found.folder)
    say: Callable[[str], None] = (lambda _: None) if options.json else print
    writer = {"huggingface": _huggingface, "ctranslate2": _ctranslate2, "onnx": _onnx, "fairseq": _fairseq}
    checks, auto, told = writer[options.to](options, found, module, about, out, say)
    text = card(found, options.to, [*checks, *(_rows(told) if told else ())], _licence(found), auto)
    write_text(out / "README.md", text)
    return checks, told


def _licence(found: Delivery) -> str:
    """What is known of the data's terms."""
    from benchmarks.tasks import get_task

    try:
        task = get_task(found.record["spec"]["task"])
    except UsageError:
        return "ask who brought the task"
    data = datasets().get(getattr(task, "dataset", None) or "")
    return data.note if data else f"what task {task.name} generates or brings"


Written: TypeAlias = "tuple[list[Row], str, RuntimeLatency | None]"
"""What was found, the class that reads the folder, and the latency there, if it was timed."""


def _low(options: argparse.Namespace, about: Any, module: nn.Module) -> dict[str, str]:
    """The precision policy to export under."""
    from supernet.quantization import precisions

    if options.precision == "int8":
        return precisions.uniform_int8(module)
    return dict(about["policy"] or {}) if options.precision is None else {}


def _huggingface(
    options: argparse.Namespace, found: Delivery, module: nn.Module, about: Any, out: Path, say: Any
) -> Written:
    from supernet.bert import Bert
    from supernet.interop.huggingface import export as huggingface
    from supernet.interop.huggingface import vocabularies
    from supernet.vision_language import VisionLanguage

    if _low(options, about, module):
        raise ValueError("transformers has no words for a policy of precisions: --precision fp32")
    model = huggingface.to_huggingface(module, about)
    apart = huggingface.save(model, module, out)
    if hasattr(module, "source_embedding") or isinstance(module, Bert):
        file, _, tier = delivery.vocabulary(
            found, options.results / "local", options.data_dir, say, options.start_from
        )
        save = vocabularies.save_word_pieces if isinstance(module, Bert) else vocabularies.save_subwords
        save(file, out, int(tier.model["max_positions"]))
    rows = [
        ("class", type(model).__name__, f"transformers-{version('transformers')}"),
        ("largest difference of two logits", f"{apart:.2g}", "read back from the folder, random inputs"),
    ]
    if isinstance(module, VisionLanguage):
        rows.append(("words", "by number, as the task has them: there is no tokenizer in this folder", ""))
    return rows, huggingface.auto_class(model), None


def _ctranslate2(
    options: argparse.Namespace, found: Delivery, module: nn.Module, about: Any, out: Path, say: Any
) -> Written:
    from benchmarks.measurement import latency
    from supernet.interop import ctranslate2
    from supernet.interop.errors import InexpressibleError
    from supernet.interop.huggingface import vocabularies
    from supernet.seq2seq import Transformer

    if not isinstance(module, Transformer):
        raise InexpressibleError("CTranslate2 translates, and this network does not")
    low = "int8" if _low(options, about, module) else ""
    file, prepared, tier = delivery.vocabulary(
        found, options.results / "local", options.data_dir, say, options.start_from
    )
    pieces = vocabularies.subwords(file)
    ctranslate2.convert(module, pieces, out, low)
    shutil.copyfile(file, out / "vocabulary.model")
    translator, runtime = ctranslate2.load(out), f"ctranslate2-{version('ctranslate2')}"
    theirs, ours, by = _bleu(found, module, translator, pieces, file, prepared, tier)
    if not low and abs(theirs - ours) > SAME_BLEU:
        raise ArithmeticError(
            f"BLEU {theirs:.2f} in CTranslate2 and {ours:.2f} here: that is not the same network"
        )
    by = f"{by}|first {SENTENCES} of valid|{runtime}|prec:{low or 'fp32'}"
    rows = [("BLEU in CTranslate2", f"{theirs:.2f}", by), ("BLEU in PyTorch, fp32", f"{ours:.2f}", by)]
    if not options.time:
        return rows, "", None
    words = [[pieces[4]] * (int(tier.workload["source_len"]) - 1)]  # it adds the end itself
    steps, beam = int(tier.workload["steps"]), int(tier.workload["beam"])
    told = latency.measure_runtime_latency(
        lambda: translator.translate_batch(
            words, beam_size=beam, min_decoding_length=steps, max_decoding_length=steps
        ),
        {"rt": runtime, "prec": low or "fp32", "search": "yes"},
        module,
        tier.workload,
        _here(),
    )
    return rows, "", told


def _bleu(
    found: Delivery, module: Any, translator: Any, pieces: Sequence[str], file: Path, prepared: Any, tier: Any
) -> tuple[float, float, str]:
    """BLEU of the same validation sentences in CTranslate2 and here, with the signature."""
    import numpy as np
    import sacrebleu

    from benchmarks.tasks import get_task
    from benchmarks.tasks.corpus import load_vocabulary
    from supernet.interop import ctranslate2

    task: Any = get_task(found.record["spec"]["task"])
    subwords, pairs = load_vocabulary(prepared.folder), task.validation(prepared)
    flat = ((pairs.source, pairs.source_start), (pairs.target, pairs.target_start))
    sides = [[s.tolist() for s in np.split(ids, starts[1:])[:SENTENCES]] for ids, starts in flat]
    references = subwords.decode(sides[1])
    ours = task.translate(module, sides[0], tier, "cpu", "fp32", subwords)
    rules = {k: v for k, v in tier.decode.items() if k in ("beam", "lenpen", "max_len_a", "max_len_b")}
    words = [[pieces[i] for i in ids] for ids in sides[0]]
    theirs = [subwords.decode(out) for out in ctranslate2.translate(translator, words, **rules)]
    metric = sacrebleu.BLEU()
    scores = [metric.corpus_score(list(x), [references]).score for x in (theirs, ours)]
    return scores[0], scores[1], str(metric.get_signature())


def _onnx(
    options: argparse.Namespace, found: Delivery, module: nn.Module, about: Any, out: Path, say: Any
) -> Written:
    from benchmarks.measurement import latency, serving
    from benchmarks.measurement.workload import Workload
    from benchmarks.tasks import get_task
    from supernet.interop import onnx
    from supernet.quantization import onnx_runtime, precisions

    policy = _low(options, about, module)
    given, by = _inputs(options, found, say)
    told = onnx.write(module, out, policy, given)
    precision = "+".join(sorted(set(precisions.precisions(precisions.quantize(module, policy)).values())))
    by = f"onnxruntime-{version('onnxruntime')}|prec:{precision}|{by}"
    rows = [
        ("largest difference of two logits", f"{told['apart']:.2g}", by),
        ("same largest logit", f"{told['agreeing']:.2%}", by),
    ]
    if not options.time:
        return rows, "", None
    spec = found.record["spec"]
    table = dict(get_task(spec["task"]).tier(spec["tier"], "cpu").workload) | {"runtime": "ort"}
    workload = Workload.of(table)
    source = workload.source("cpu")
    serve: Callable[[], Any]
    if workload.steps:
        serve = onnx.forced_steps(out, source, workload.steps, workload.beam)
        recipe = onnx_runtime.recipe(precisions.units(module), policy)
    else:
        # An encoder is timed up to its states: its head, and what the policy says of it, is not in the graph.
        body = {name: low for name, low in policy.items() if not name.startswith("head.") or workload.image}
        served: Any = serving.serve(module, body, workload, threads=1)
        serve, recipe = partial(workload.run, served, source), served.recipe()
    return rows, "", latency.measure_runtime_latency(serve, recipe, module, workload, _here())


def _inputs(options: argparse.Namespace, found: Delivery, say: Any) -> tuple[list[Any], str]:
    """What a copy is compared on, and what that is: the first rows of the validation split; none, for random
    ones, where the data are not here."""
    from benchmarks.runs.plan import Folders
    from benchmarks.tasks import get_task, prepare, starting
    from supernet.interop.onnx import ROWS

    spec = found.record["spec"]
    try:
        task = starting(get_task(spec["task"]), options.start_from)
        cache = Folders(options.results / "local", spec["suite"], spec["tier"]).cache
        prepared = prepare(task, task.tier(spec["tier"], "cpu"), cache, options.data_dir, say)
    except UsageError:
        return [], f"rows:{ROWS}|random inputs"
    held = task.validation(prepared)
    batch = task.validation_batches(held, "cpu", min(1.0, ROWS / len(held)))[0]
    # What comes after inputs of a row each says which places are asked for: all are, here.
    rows = len(batch.inputs[0])
    given = [x[:ROWS] for x in batch.inputs if x.dim() > 1 and len(x) == rows]
    return given, f"rows:{len(given[0])} of valid"


def _here() -> profiles.Profile:
    """The profile that this machine is, which need not be the record's."""
    return profiles.get(profiles.resolve("auto"))


def _rows(told: RuntimeLatency) -> list[Row]:
    """A latency as rows."""
    by = told["signature"]
    span = f"{told['p50']:.4g} [{told['p50_low']:.4g}, {told['p50_high']:.4g}]"
    rows = [("latency p50, ms, 95 %", span, by)]
    if told["p90"] is not None:
        rows.append(("latency p90, ms", f"{told['p90']:.4g}", by))
    ratio = f"{told['ratio']:.3g} [{told['ratio_low']:.3g}, {told['ratio_high']:.3g}]"
    rows.append(("times PyTorch's median, fp32, 95 %", f"{ratio} x {told['pytorch_p50']:.4g} ms", by))
    return rows


def _stored(
    options: argparse.Namespace, found: Delivery, checks: Sequence[Row], told: RuntimeLatency, began: str
) -> Path:
    """Write a latency beside the published records if it is of one of them, else beside the local ones."""
    published = store.relative_path(found.record)
    of_published = (options.results / "records" / published).is_file()
    home = options.results if of_published else options.results / "local"
    policy = options.precision or ("deployed" if found.candidate.get("policy") else "fp32")
    made = provenance.provenance(started=began, ended=_now())
    runtimes = {name: version(name) for name in ("onnxruntime", "ctranslate2") if _has(name)}
    made["versions"] = {**made["versions"], **runtimes}
    kept = runtime_latencies.to_attachment(
        found.record, found.candidate, policy, _here().name, told, checks, made
    )
    return runtime_latencies.LATENCIES.write(home, kept)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _has(package: str) -> bool:
    return find_spec(package) is not None


def _fairseq(
    options: argparse.Namespace, found: Delivery, module: nn.Module, about: Any, out: Path, say: Any
) -> Written:
    from supernet.interop.fairseq.checkpoint import to_fairseq

    out.mkdir(parents=True)
    to_fairseq(found.folder, out / "checkpoint.pt")
    return [("checkpoint", "checkpoint.pt", "fairseq 0.12.2 reads it")], "", None
