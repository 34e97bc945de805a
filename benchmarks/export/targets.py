"""Export targets: one writer for each runtime, which also checks the copy against the original.

Every writer has one shape: ``(request, module, about, out) -> Written``. Runtimes and torch are imported when
a writer runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.api import UsageError
from benchmarks.export.request import ExportRequest, Row, Written
from benchmarks.export.source import Vocabulary
from benchmarks.export.translations import DifferentTranslationsError, TranslationCheck, translation_check
from benchmarks.hardware import profiles
from benchmarks.hardware.probe import probe
from benchmarks.records.canonical import JsonView
from benchmarks.records.folders import local_results
from benchmarks.records.record import Record

if TYPE_CHECKING:
    from torch import Tensor, nn

SAME_RULES = 0.95
"""Share of equal translations from which a stock class of transformers decodes by the rules of the record."""


@dataclass(frozen=True)
class Target:
    """One runtime to export to.

    Attributes:
        library: its library, as model hubs call it.
        loading: Markdown that shows how to load the folder; ``{auto}`` stands for the auto class.
        write: writes a folder that does not exist yet, and checks it.
    """

    library: str
    loading: str
    write: Callable[[ExportRequest, nn.Module, JsonView, Path], Written]


def profile_here(record: Record) -> profiles.Profile:
    """Return the profile of a timing here: the record's if this machine fits it, else this machine's own."""
    own = record["spec"]["profile"]
    fits = own != profiles.UNDECLARED and profiles.is_known(own)
    if fits and not profiles.differences(profiles.get(own), probe()):
        return profiles.get(own)
    return profiles.get(profiles.resolve("auto"))


def write_huggingface(request: ExportRequest, module: nn.Module, about: JsonView, out: Path) -> Written:
    """Write a folder for transformers, with a tokenizer if the network reads text.

    A translator's ``generate`` decodes as its record did. A stock class has one limit of length for all
    sentences; where that changes translations, a class of our own is written instead.

    Raises:
        ValueError: transformers cannot represent the network.
        DifferentTranslationsError: translations of ``generate`` score otherwise.
        UsageError: the network's vocabulary is not here.
    """
    from supernet.bert import Bert
    from supernet.interop.huggingface import export as huggingface
    from supernet.interop.huggingface import vocabularies
    from supernet.seq2seq import Transformer
    from supernet.vision_language import VisionLanguage

    if request.policy(about, module):
        raise ValueError("transformers cannot represent a policy of precisions: --precision fp32")
    model, vocabulary = huggingface.to_huggingface(module, about), None
    translations: list[Row] = []
    if isinstance(module, Transformer):
        vocabulary = request.vocabulary()
        check = translation_check(request.stored, module, vocabulary)
        try:
            distance, translations = _save_translator(model, module, vocabulary, check, out)
        except DifferentTranslationsError:
            if huggingface.is_registered(model):
                raise
            shutil.rmtree(out)
            model = huggingface.registered(module, about)
            distance, translations = _save_translator(model, module, vocabulary, check, out)
    else:
        distance = huggingface.save(model, module, out)
    if isinstance(module, Transformer | Bert):
        vocabulary = vocabulary or request.vocabulary()
        save = vocabularies.save_word_pieces if isinstance(module, Bert) else vocabularies.save_subwords
        save(vocabulary.file, out, int(vocabulary.tier.model["max_positions"]))
    checks = [
        ("class", type(model).__name__, f"transformers-{version('transformers')}"),
        ("largest difference of two logits", f"{distance:.2g}", "read back from the folder, random inputs"),
        *translations,
    ]
    if isinstance(module, VisionLanguage):
        checks.append(("words", "by number, as the task has them: there is no tokenizer in this folder", ""))
    return Written(checks, auto_class=huggingface.auto_class(model))


def _save_translator(
    model: Any, module: nn.Module, vocabulary: Vocabulary, check: TranslationCheck, out: Path
) -> tuple[float, list[Row]]:
    """Write a translator with its rules of decoding; return the largest difference of logits, and checks."""
    from supernet.interop.huggingface import export as huggingface
    from supernet.interop.huggingface import generation

    rules = ("beam", "lenpen", "max_len_a", "max_len_b", "min_len")
    generation.configure(model, **{k: v for k, v in vocabulary.tier.decode.items() if k in rules})
    distance = huggingface.save(model, module, out)
    decode = partial(generation.generate, huggingface.reload(model, out))
    # Another decoder of the same rules differs in ties alone; the limits of a stock class are other rules.
    least = 0.0 if huggingface.is_registered(model) else SAME_RULES
    return distance, check.compare(decode, f"transformers-{version('transformers')}", same=least)


def write_ctranslate2(request: ExportRequest, module: nn.Module, about: JsonView, out: Path) -> Written:
    """Write a folder for CTranslate2, and compare BLEU on validation sentences.

    Raises:
        InexpressibleError: CTranslate2 cannot represent the network.
        DifferentTranslationsError: its translations score otherwise.
        UsageError: the network's vocabulary is not here.
    """
    from benchmarks.measurement import latency
    from supernet.interop import ctranslate2
    from supernet.interop.errors import InexpressibleError
    from supernet.interop.huggingface import vocabularies
    from supernet.seq2seq import Transformer

    if not isinstance(module, Transformer):
        raise InexpressibleError("CTranslate2 translates, and this network does not")
    low = "int8" if request.policy(about, module) else ""
    vocabulary = request.vocabulary()
    pieces = vocabularies.subwords(vocabulary.file)
    ctranslate2.convert(module, pieces, out, low)
    shutil.copyfile(vocabulary.file, out / "vocabulary.model")
    translator, runtime = ctranslate2.load(out), f"ctranslate2-{version('ctranslate2')}"
    tier = vocabulary.tier
    rules = {k: v for k, v in tier.decode.items() if k in ("beam", "lenpen", "max_len_a", "max_len_b")}
    numbers = {piece: i for i, piece in enumerate(pieces)}

    def decode(sources: list[list[int]]) -> list[list[int]]:
        words = [[pieces[i] for i in ids] for ids in sources]
        translated = ctranslate2.translate(translator, words, **rules)
        return [[numbers[piece] for piece in sentence] for sentence in translated]

    checks = translation_check(request.stored, module, vocabulary).compare(decode, runtime, low or "fp32")
    if not request.time:
        return Written(checks)
    workload = vocabulary.tier.workload
    words = [[pieces[4]] * (int(workload["source_len"]) - 1)]  # it adds the end itself
    steps, beam = int(workload["steps"]), int(workload["beam"])
    timing = latency.measure_runtime_latency(
        lambda: translator.translate_batch(
            words, beam_size=beam, min_decoding_length=steps, max_decoding_length=steps
        ),
        {"rt": runtime, "prec": low or "fp32", "search": "yes"},
        module,
        workload,
        profile_here(request.stored.record),
    )
    return Written(checks, latency=timing)


def write_onnx(request: ExportRequest, module: nn.Module, about: JsonView, out: Path) -> Written:
    """Write ONNX files, and compare logits in ONNX Runtime.

    Raises:
        ValueError: ONNX cannot represent the network, or the copy differs too much.
    """
    from benchmarks.measurement import latency, serving
    from benchmarks.measurement.workload import Workload
    from benchmarks.tasks import get_task
    from supernet.interop import onnx
    from supernet.quantization import onnx_runtime, precisions

    policy = request.policy(about, module)
    inputs, origin = _comparison_inputs(request)
    compared = onnx.write(module, out, policy, inputs)
    precision = onnx_runtime.recipe(precisions.units(module), policy)["prec"]
    signature = f"onnxruntime-{version('onnxruntime')}|prec:{precision}|{origin}"
    checks = [
        ("largest difference of two logits", f"{compared['apart']:.2g}", signature),
        ("same largest logit", f"{compared['agreeing']:.2%}", f"{signature}|ties:{onnx.TIE:g}sd"),
        ("same largest logit, no ties", f"{compared['identical']:.2%}", signature),
    ]
    if not request.time:
        return Written(checks)
    spec = request.stored.record["spec"]
    table = dict(get_task(spec["task"]).tier(spec["tier"], "cpu").workload) | {"runtime": "ort"}
    workload = Workload.of(table)
    source = workload.source("cpu")
    serve: Callable[[], object]
    if workload.steps:
        serve = onnx.forced_steps(out, source, workload.steps, workload.beam)
        recipe = onnx_runtime.recipe(precisions.units(module), policy)
    else:
        # An encoder is timed up to its states, so the graph has no head, nor precisions of one.
        body = {name: low for name, low in policy.items() if not name.startswith("head.") or workload.image}
        graph: Any = serving.serve(module, body, workload, threads=1)
        serve, recipe = partial(workload.run, graph, source), graph.recipe()
    here = profile_here(request.stored.record)
    timing = latency.measure_runtime_latency(serve, recipe, module, workload, here)
    return Written(checks, latency=timing)


def _comparison_inputs(request: ExportRequest) -> tuple[list[Tensor], str]:
    """Return the inputs on which a copy is compared, and their origin for a signature.

    They are the first rows of the validation split. Without the data here the list is empty, which stands for
    random inputs.
    """
    from benchmarks.runs.plan import Folders
    from benchmarks.tasks import get_task, prepare, starting
    from supernet.interop.onnx import ROWS

    spec = request.stored.record["spec"]
    try:
        task = starting(get_task(spec["task"]), request.start)
        cache = Folders(local_results(request.results), spec["suite"], spec["tier"]).cache
        prepared = prepare(task, task.tier(spec["tier"], "cpu"), cache, request.data_dir, request.say)
    except UsageError:
        return [], f"rows:{ROWS}|random inputs"
    held = task.validation(prepared)
    batch = task.validation_batches(held, "cpu", min(1.0, ROWS / len(held)))[0]
    # Inputs that do not have one row a sample select positions; the copy is compared on all positions.
    rows = len(batch.inputs[0])
    inputs = [x[:ROWS] for x in batch.inputs if x.dim() > 1 and len(x) == rows]
    return inputs, f"rows:{len(inputs[0])} of valid"


def write_fairseq(request: ExportRequest, module: nn.Module, about: JsonView, out: Path) -> Written:
    """Write a checkpoint of fairseq.

    Raises:
        InexpressibleError: fairseq cannot represent the network.
    """
    from supernet.interop.fairseq.checkpoint import to_fairseq

    out.mkdir(parents=True)
    to_fairseq(request.stored.folder, out / "checkpoint.pt")
    return Written([("checkpoint", "checkpoint.pt", "fairseq 0.12.2 reads it")])


TARGETS = {
    "onnx": Target(
        library="onnxruntime",
        loading="""\
```python
import onnxruntime

# Of a translator: encoder.onnx, step.onnx. The optimiser that is left out quantises float32 layers by itself.
session = onnxruntime.InferenceSession("model.onnx", disabled_optimizers=["WeightBiasQuantization"])
[(x.name, x.shape) for x in session.get_inputs()]
```""",
        write=write_onnx,
    ),
    "ctranslate2": Target(
        library="ctranslate2",
        loading="""\
```python
from pathlib import Path
from sentencepiece import SentencePieceProcessor
from supernet.interop import ctranslate2

subwords = SentencePieceProcessor(model_file="vocabulary.model")
translator = ctranslate2.load(Path("."))
ctranslate2.translate(translator, [subwords.encode("a sentence", out_type=str)])
```""",
        write=write_ctranslate2,
    ),
    "huggingface": Target(
        library="transformers",
        loading="""\
```python
import supernet.interop.huggingface.automodels  # registers these networks with the auto classes
from transformers import {auto}

model = {auto}.from_pretrained(".").eval()  # AutoTokenizer reads the vocabulary beside it, if any
```""",
        write=write_huggingface,
    ),
    "fairseq": Target(
        library="fairseq",
        loading="`fairseq-generate DATA-BIN --path checkpoint.pt`, over data of `supernet-bench export-data`",
        write=write_fairseq,
    ),
}
"""Name of a target as the user types it -> the target."""
