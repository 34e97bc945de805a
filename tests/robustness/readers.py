"""Kinds of files that users give, each with sound examples, mutations and the program's own reader."""

from __future__ import annotations

import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests import ROOT
from tests.robustness.mutations import mutate_bytes, mutate_text, mutate_tree, to_json

Files = Mapping[str, bytes]
"""Name -> content of the files of one input."""


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        name: as the figures show it.
        share: of all inputs, relative to the other kinds.
        examples: makes sound inputs in an empty folder.
        mutate: returns a changed input.
        read: reads an input's folder as a command does; writes below its second argument only.
        expected: further errors that the commands turn into a message.
    """

    name: str
    share: float
    examples: Callable[[Path], Sequence[Files]]
    mutate: Callable[[random.Random, Files, Sequence[Files]], Files]
    read: Callable[[Path, Path], object]
    expected: tuple[type[Exception], ...] = ()


def _any_bytes(rng: random.Random, files: Files, every: Sequence[Files]) -> Files:
    """Change the bytes of one file."""
    name = rng.choice(list(files))
    others = [data for other in every for data in other.values()]
    return {**files, name: mutate_bytes(rng, files[name], others)}


def _text(*words: str) -> Callable[[random.Random, Files, Sequence[Files]], Files]:
    """Return a mutation of a text of which ``words`` are tokens."""

    def mutate(rng: random.Random, files: Files, every: Sequence[Files]) -> Files:
        if rng.random() < 0.3:
            return _any_bytes(rng, files, every)
        name = rng.choice(list(files))
        return {**files, name: mutate_text(rng, files[name], words)}

    return mutate


def _json(
    reseal: Callable[[Any], Any] | None = None,
) -> Callable[[random.Random, Files, Sequence[Files]], Files]:
    """Return a mutation of a JSON file; half of them are sealed again, as a cheat would."""

    def mutate(rng: random.Random, files: Files, every: Sequence[Files]) -> Files:
        if rng.random() < 0.2:
            return _any_bytes(rng, files, every)
        name = rng.choice([name for name in files if name.endswith(".json")])
        tree = mutate_tree(rng, json.loads(files[name]))
        if reseal is not None and rng.random() < 0.7:
            with suppress(Exception):
                tree = reseal(tree)
        return {**files, name: to_json(rng, tree)}

    return mutate


def _contents(paths: Sequence[Path]) -> list[Files]:
    return [{path.name: path.read_bytes()} for path in paths]


def _folder(folder: Path) -> Files:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# records, verdicts and latencies


def _record_examples(home: Path) -> list[Files]:
    paths = sorted((ROOT / "results/records").rglob("*.json"), key=lambda path: (path.stat().st_size, path))
    first = {path.relative_to(ROOT).parts[2:5]: path for path in reversed(paths)}  # of each task and method
    return _contents(sorted(first.values(), key=lambda path: path.stat().st_size)[:12])


def _sealed_record(tree: Any) -> Any:
    from benchmarks.records import integrity

    return integrity.seal(
        {k: v for k, v in tree.items() if k not in ("id", "digest", "seal", "seals", "schema")}
    )


def read_record(folder: Path, out: Path) -> None:
    """Read the one record of a folder as every command does that is given records."""
    from benchmarks.analysis.table import build_table
    from benchmarks.cli.validate import _flags, _record_problems
    from benchmarks.records import store
    from benchmarks.records.spec import RunSpec
    from benchmarks.report.console import TerminalTable
    from benchmarks.report.data_formats import as_json
    from benchmarks.runs import repeat
    from benchmarks.verification import rerun

    (path,) = folder.iterdir()
    record = store.load(path)
    list(_record_problems({path: record}, []))
    _flags({path: record}, [])
    repeat.repeat_command(record)
    rerun.timed(record), rerun.limits(record)
    RunSpec.of(record["spec"])
    table = build_table([record], None)
    TerminalTable(table)
    as_json(table)


def _attachment_examples(kind: str) -> Callable[[Path], list[Files]]:
    return lambda home: _contents(sorted((ROOT / "results" / kind).rglob("*.json"))[:4])


def _with_seal(tree: Any) -> Any:
    from benchmarks.records import integrity

    return integrity.with_seal({k: v for k, v in tree.items() if k != "seal"})


def _read_verdict(folder: Path, out: Path) -> None:
    from benchmarks.verification import verdict_files as v

    (path,) = folder.iterdir()
    verdict = v.VERDICTS.load(path)
    v.describe(verdict), v.row_status([[verdict]]), v.describe_differences(verdict)
    v.describe_machine(verdict, "0" * 16), v.deciding_verdict([verdict], "quality")


def _read_latency(folder: Path, out: Path) -> None:
    from benchmarks.leaderboard import submission
    from benchmarks.records import runtime_latencies

    (path,) = folder.iterdir()
    latency = runtime_latencies.LATENCIES.load(path)
    list(submission.find_latency_problems(latency))
    runtime_latencies.heading(latency, "cpu-2core-avx2.v1")


# specifications, profiles, tiers, methods


STUDY = b"""suite: mt
tier: smoke
task: [mt-synthetic-en-de]
methods: [hat, {mos-neuron: {experts: [2, 3]}}]
seeds: [1, 2]
profile: undeclared
budget-scale: 0.5
checkpoint-seconds: 30
"""
ENGINE = b"backend: submitit\nslurm_partition: gpu\nslurm_time: 02:00:00\nslurm_mem: 16G\n"


def _read_study(folder: Path, out: Path) -> None:
    from benchmarks import registry
    from benchmarks.cli import configuration
    from benchmarks.engines import parallel_config

    for path in folder.iterdir():
        if path.name == "engine.yml":
            parallel_config.read(path)
        else:
            study = configuration.read(path)
            study.sweeps({"hat": registry.find("hat")}, {})


def _profile_examples(home: Path) -> list[Files]:
    return _contents(sorted((ROOT / "benchmarks/hardware/declared").glob("*.toml")))


def _read_profile(folder: Path, out: Path) -> None:
    from benchmarks.hardware import profiles
    from benchmarks.hardware.probe import probe

    (path,) = folder.iterdir()
    profiles.read.cache_clear()
    profile = profiles.read(path)
    profiles.differences(profile, probe())


TASK_TOML = {
    "text": b'source = "en"\ntarget = "fr"\npretokenized = "none"\n[splits]\ntrain = ["train"]\n[all.data]\n'
    b"seed = 3\n[check]\nvocab = 300\n[check.recipe]\nlearning_rate = 1e-3\nbatch_tokens = 256\n",
    "mlm": b'documents = "lines"\n[check]\nvocab = 200\n[check.data]\nlength = 32\n',
    "images": b"[check]\n[check.recipe]\nlearning_rate = 1e-3\n[check.data]\nseed = 2\n",
}


def _tier_examples(home: Path) -> list[Files]:
    return [{f"{kind}.toml": text} for kind, text in TASK_TOML.items()]


def _read_tier(folder: Path, out: Path) -> None:
    from benchmarks.tasks.folders import settings

    (path,) = folder.iterdir()
    kind = path.stem
    options, tiers = settings.read(path, kind)
    for name in settings.tiers_of(kind):
        settings.tier(kind, f"{kind}-own", name, "cpu", tiers, options.get("data", {}))


METHOD = b'''"""A method."""
from benchmarks.api import Method, Need, Option

open("CANARY", "w").close()


class Mine(Method):
    name = "mine"
    summary = "a method"
    version = "2"
    follows = "hat"
    options = (Option("width", int, 2, choices=(1, 2, 4), help="its width"),)
    needs = (Need("probes", 8, why="its predictor"),)
    trials = ({"width": 1}, {"width": 2})

    def supports(self, task):
        return None

    def search(self, lab):
        yield lab.candidate(lab.supernet(), lab.space.smallest())


class Other(Mine):
    name = "other-mine"
'''


def _read_method(folder: Path, out: Path) -> None:
    from benchmarks import registry

    (path,) = folder.iterdir()
    registry.find(f"{path}:{'Other' if path.stem.endswith('2') else 'Mine'}")


# checkpoints, data-bins, tokenizers, vocabularies


class Payload:
    """Object whose pickle runs a command where it is unpickled."""

    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch CANARY",)


def _checkpoint_examples(home: Path) -> list[Files]:
    import torch

    from supernet.interop.fairseq import checkpoint
    from tests.unit.supernet.interop.test_fairseq import exported
    from tests.unit.supernet.interop.test_hat import SMALL, SUB, options, state_of, written

    checkpoint.to_fairseq(exported(home / "net"), home / "net.pt")
    sub = written(home / "sub.pt", options(SMALL, "all", SUB), state_of(SMALL, "all"))
    new = written(home / "new.pt", options(SMALL, "none", SUB), state_of(SMALL, "none"), older=False)
    torch.save({"model": Payload(), "args": None}, home / "evil.pt")
    files: list[Files] = [{"fairseq.pt": (home / "net.pt").read_bytes()}]
    files += [{"hat.pt": path.read_bytes()} for path in (sub, new, home / "evil.pt")]
    from benchmarks.lab import checkpoints

    checkpoints.save(home / "saves", {"step": 3, "net": torch.arange(6.0), "more": [1, (2, None)]})
    files.append({f"saves/{name}": data for name, data in _folder(home / "saves").items()})
    files.append({f"export/{name}": data for name, data in _folder(home / "net").items()})
    return files


def _mutate_checkpoint(rng: random.Random, files: Files, every: Sequence[Files]) -> Files:
    name = rng.choice(list(files))
    if not name.startswith(("export", "saves")) or rng.random() < 0.3:
        return _any_bytes(rng, files, every)
    if name.endswith("architecture.json"):
        tree = mutate_tree(rng, json.loads(files[name]))
        if rng.random() < 0.3:
            return {**files, name: to_json(rng, tree)}
        tree["weights_sha256"] = sha256(files["export/model.safetensors"]).hexdigest()
        return {**files, name: to_json(rng, tree)}
    if name.endswith("model.safetensors"):  # damaged, and the digest fits: as somebody who means harm
        data = mutate_bytes(rng, files[name])
        about = json.loads(files["export/architecture.json"]) | {"weights_sha256": sha256(data).hexdigest()}
        return {**files, name: data, "export/architecture.json": json.dumps(about).encode()}
    return _any_bytes(rng, files, every)


def _read_checkpoint(folder: Path, out: Path) -> None:
    from benchmarks.lab import checkpoints
    from supernet import export
    from supernet.interop import hat
    from supernet.interop.fairseq import checkpoint

    for path in sorted(folder.iterdir()):
        if path.name == "fairseq.pt":
            checkpoint.network(path, (20, 20)).network()
        elif path.name == "hat.pt":
            hat.network(path, None, (), None).network()
        elif path.name == "saves":  # a damaged save is moved aside, in the run's own folder
            checkpoints.load(Path(shutil.copytree(path, out / "saves")), lambda line: None)
        else:
            export.load(path)


def _data_bin_examples(home: Path) -> list[Files]:
    from supernet.interop.fairseq import databin

    words = ["<s>", "<pad>", "</s>", "<unk>", *(f"w{i}" for i in range(20))]
    for side in ("en", "de"):
        databin.write_dictionary(home / f"dict.{side}.txt", words, [3] * 24)
        for split in ("train", "valid"):
            sentences = [[4 + i % 9, 5, 6 + i % 3, 2] for i in range(12)]
            databin.write_sentences(home / f"{split}.en-de.{side}", sentences, 24)
    return [_folder(home)]


def _read_data_bin(folder: Path, out: Path) -> None:
    from supernet.interop.fairseq import databin

    databin.languages(folder), databin.dictionaries(folder)
    for split in ("train", "valid"):
        databin.read_split(folder, split)


def _tokenizer_examples(home: Path) -> list[Files]:
    import torch
    from safetensors.torch import save_file

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {piece: i for i, piece in enumerate([*special, *(f"w{i}" for i in range(20))])}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    about = {"model_type": "bert", "vocab_size": 25, "max_position_embeddings": 16, "type_vocab_size": 2}
    config = json.dumps(about | sizes)
    weights = home / "model.safetensors"
    save_file({"bert.embeddings.word_embeddings.weight": torch.zeros(25, 16)}, weights)
    torch.save({"bert.embeddings.word_embeddings.weight": torch.zeros(25, 16)}, home / "pytorch_model.bin")
    both = {"config.json": config.encode(), "tokenizer_config.json": b'{"do_lower_case": true}'}
    tokenizer = json.dumps(
        {"added_tokens": [{"content": "[PAD]", "id": 0}], "model": {"vocab": vocab}}
    ).encode()
    return [
        {**both, "model.safetensors": weights.read_bytes(), "tokenizer.json": tokenizer},
        {
            **both,
            "pytorch_model.bin": (home / "pytorch_model.bin").read_bytes(),
            "vocab.txt": "\n".join(vocab).encode(),
        },
    ]


def _mutate_tokenizer(rng: random.Random, files: Files, every: Sequence[Files]) -> Files:
    name = rng.choice(list(files))
    if name.endswith(".json") and rng.random() < 0.7:
        return {**files, name: to_json(rng, mutate_tree(rng, json.loads(files[name])))}
    return {**files, name: mutate_bytes(rng, files[name], [d for f in every for d in f.values()])}


def _read_tokenizer(folder: Path, out: Path) -> None:
    from supernet.interop.huggingface import warm_start

    warm_start.EncoderShape.of(warm_start.configuration(folder))
    warm_start.check_whole(folder)
    warm_start.digest(folder)
    warm_start.special_first(warm_start.vocabulary(folder), 25)
    warm_start.pieces(folder)


def _subword_examples(home: Path) -> list[Files]:
    from benchmarks.tasks import corpus

    lines = [
        f"the {a} house is {b} and the {b} dog {a}" for a in ("old", "new", "red") for b in ("big", "wet")
    ]
    return [{"subwords.model": corpus.learn(lines * 5, 60)}]


def _read_subwords(folder: Path, out: Path) -> None:
    from benchmarks.export.source import check_vocabulary
    from supernet.interop.huggingface import vocabularies

    (path,) = folder.iterdir()
    check_vocabulary(path)
    vocabularies.subwords(path)


# archives and data


def _member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


def _archive_examples(home: Path) -> list[Files]:
    from benchmarks.runs import archive
    from benchmarks.runs.plan import Folders
    from tests.fake_records import fake

    folders = Folders(home, "mt", "small")
    record = fake(seed=1, tier="small")
    run = folders.runs / record["id"]
    run.mkdir(parents=True)
    (run / "spec.json").write_text(json.dumps(record["spec"]))
    (run / "heartbeat.json").write_text("{}")
    archive.pack(folders, home / "a.tar")
    return [{"a.tar": (home / "a.tar").read_bytes()}]


HOSTILE_NAMES = (
    "../escaped",
    "/tmp/escaped",
    "runs/../../escaped",
    "a/" * 200 + "b",
    "",
    ".",
    "x\ny",
    "records/x",
)


def _mutate_archive(rng: random.Random, files: Files, every: Sequence[Files]) -> Files:
    """Change bytes, or make an archive again whose manifest lists a hostile member."""
    if rng.random() < 0.5:
        return _any_bytes(rng, files, every)
    data = files["a.tar"]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        held = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
    name, *rest = held
    manifest = json.loads(held[name])
    if rng.random() < 0.5:
        manifest = mutate_tree(rng, manifest, HOSTILE_NAMES)
    members = [(path, held[path]) for path in rest]
    if rng.random() < 0.7 and isinstance(manifest.get("files"), dict):
        odd = rng.choice(HOSTILE_NAMES)
        manifest["files"][odd] = {"size": 4, "sha256": sha256(b"evil").hexdigest()}
        members.append((odd, b"evil"))
    rng.shuffle(members)
    kinds = (
        tarfile.REGTYPE,
        tarfile.REGTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
    )
    text = to_json(rng, manifest)
    with suppress(ValueError, tarfile.TarError, UnicodeError):
        made = _member(name, text) + b"".join(
            _member(path[:99], content, rng.choice(kinds), "../../escaped") for path, content in members
        )
        return {"a.tar": made + bytes(1024)}
    return _any_bytes(rng, files, every)


def _read_archive(folder: Path, out: Path) -> None:
    from benchmarks.runs import archive

    archive.unpack(folder / "a.tar", out / "results")


def _data_examples(home: Path) -> list[Files]:
    import gzip
    import lzma

    from PIL import Image

    english = "".join(f"the {n} house is big\n" for n in range(30)).encode()
    french = "".join(f"la {n} maison est grande\n" for n in range(30)).encode()
    table = b"en\tfr\n" + b"".join(
        a + b"\t" + b for a, b in zip(english.splitlines(), french.splitlines(keepends=True), strict=True)
    )
    files: list[Files] = [
        {"train.en": english, "train.fr": french},
        {"train.en.gz": gzip.compress(english, mtime=0), "train.fr.xz": lzma.compress(french)},
        {"train.tsv": table},
        {"news.txt": english.replace(b"5 house is big\n", b"\n")},
    ]
    for form in ("PNG", "GIF", "BMP", "JPEG", "TIFF", "WEBP"):
        data = io.BytesIO()
        Image.frombytes("RGB", (8, 8), bytes(range(192))).save(data, form)
        files.append({f"image.{form.lower()}": data.getvalue()})
    rows = b"embed,depth,ms\n" + b"".join(b"%d,%d,%d.5\n" % (n, n % 3, 2 * n) for n in range(1, 40))
    return [*files, {"latency.csv": rows}]


def _read_data(folder: Path, out: Path) -> None:
    from benchmarks.latency_tables import user_tables
    from benchmarks.tasks import datasets
    from benchmarks.tasks.folders import documents, pairs, pictures
    from benchmarks.tasks.folders.lines import Report

    names = [path.name for path in folder.iterdir()]
    if names[0].startswith("image."):
        pictures.load(folder / names[0], 8, 3, Report())
    elif names[0] == "latency.csv":
        user_tables.read(folder / names[0])
    elif names[0] == "news.txt":
        documents.read(folder, {"test": 3, "valid": 3}, Report())
    else:
        pairs.read(folder, pairs.Reading("en", "fr", {}), Report())
        for name in names:
            if name.endswith((".gz", ".xz")):
                datasets.read_lines(folder / name, 100_000)


TOML_WORDS = (
    "[",
    "]",
    "[[",
    "=",
    "{",
    '"',
    "'''",
    "1e400",
    "nan",
    "inf",
    "2026-01-01",
    "true",
    "0x",
    "[machine]",
)
YAML_WORDS = (
    "&a",
    "*a",
    "!!python/object/apply:os.system",
    "- ",
    ": ",
    "? ",
    "|",
    ">",
    "{",
    "[",
    "%TAG",
    "---",
)
PYTHON_WORDS = (
    "(",
    ")",
    "lambda: ",
    "if 1:",
    "name = ",
    "9" * 5000,
    "-" * 3000,
    "+1" * 2000,
    "f'{",
    "class A(A):",
    "\t",
)

KINDS = (
    Kind("records", 1, _record_examples, _json(_sealed_record), read_record),
    Kind("verdicts", 3, _attachment_examples("verified"), _json(_with_seal), _read_verdict),
    Kind("runtime latencies", 3, _attachment_examples("runtimes"), _json(_with_seal), _read_latency),
    Kind(
        "specs", 2, lambda _: [{"study.yml": STUDY}, {"engine.yml": ENGINE}], _text(*YAML_WORDS), _read_study
    ),
    Kind("profiles", 20, _profile_examples, _text(*TOML_WORDS), _read_profile),
    Kind("tiers", 20, _tier_examples, _text(*TOML_WORDS), _read_tier),
    Kind(
        "methods",
        13,
        lambda _: [{"mine.py": METHOD}, {"mine2.py": METHOD}],
        _text(*PYTHON_WORDS),
        _read_method,
    ),
    Kind("checkpoints", 2, _checkpoint_examples, _mutate_checkpoint, _read_checkpoint, (ValueError,)),
    Kind("data-bins", 14, _data_bin_examples, _any_bytes, _read_data_bin, (ValueError,)),
    Kind("tokenizers", 12, _tokenizer_examples, _mutate_tokenizer, _read_tokenizer, (ValueError,)),
    Kind("archives", 1, _archive_examples, _mutate_archive, _read_archive),
    Kind("sentencepiece models", 4, _subword_examples, _any_bytes, _read_subwords, (ValueError,)),
    Kind("data files", 5, _data_examples, _any_bytes, _read_data),
)
"""All kinds, in the order of the issue that asked for them."""
