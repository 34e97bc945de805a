"""Tasks of fine-tuning: those of GLUE (Wang et al. 2019), and one generated from the grammar.

Labels of dev are test data, so that all rows go below the sealed folder, which only the scoring process
reads. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.api import UsageError
from benchmarks.records.canonical import JsonView
from benchmarks.tasks.datasets import Say, build, datasets, locate, read_lines, sha256

Row = tuple[tuple[str, ...], str]
"""One or two sentences, and the label as text."""
Splits = Mapping[str, Sequence[Row]]
"""Rows of ``train`` and ``dev``."""
DATASET, HUB, ROWS = "glue", "nyu-mll/glue", "rows.json"
DIGESTS = "digests.json"


@dataclass(frozen=True)
class GlueTask:
    """A task of fine-tuning."""

    name: str
    source: str
    """Folder below ``glue/``, ``hub:<configuration>`` or ``grammar:<seed>``."""
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    """Labels in the order of their class numbers; empty: a label is a number from 0 to ``MOST_SIMILAR``."""
    metrics: tuple[str, ...]
    """Names of the metrics; the first chooses the learning rate and enters means over tasks."""
    length: int
    """Tokens of every row, special tokens and padding included."""
    rows: tuple[int, int]
    """Required numbers of rows of train and dev."""
    dev: str = "dev"
    """Name of the dev split in ``source``."""
    unranked: float = 0.0
    """Largest width of networks that the task cannot rank."""
    because: str = ""
    """Reason why it cannot rank them."""

    def unfit(self, width: int) -> str | None:
        """Return why means over tasks omit it for networks of this width; None if they include it."""
        return self.because if width <= self.unranked else None

    def label(self, text: str, where: str) -> str:
        """Return ``text``, checked to be a label.

        Raises:
            UsageError: it is not a label; the message begins with ``where``.
        """
        if self.labels:
            if text in self.labels:
                return text
            raise UsageError(f"{where}: no label {text[:40]!r}: {self.name} has {', '.join(self.labels)}")
        try:
            if 0 <= float(text) <= MOST_SIMILAR:
                return text
        except ValueError:
            pass
        raise UsageError(
            f"{where}: no label {text[:40]!r}: {self.name} has numbers from 0 to {MOST_SIMILAR:g}"
        )


MOST_SIMILAR = 5.0
"""Largest label of STS-B: two sentences of the same meaning."""
_PAIR = ("sentence1", "sentence2")
_SMALL = 256
TASKS: dict[str, GlueTask] = {
    task.name: task
    for task in (
        GlueTask("sst-2", "SST-2", ("sentence",), ("0", "1"), ("accuracy",), 64, (67349, 872)),
        GlueTask(
            "cola", "CoLA", ("sentence",), ("0", "1"), ("mcc",), 32, (8551, 1043), unranked=_SMALL,
            because="a BERT of width 256 stays at an MCC of 0 even after far longer pre-training",
        ),
        GlueTask(
            "rte", "RTE", _PAIR, ("entailment", "not_entailment"), ("accuracy",), 128, (2490, 277),
            unranked=_SMALL, because="networks up to width 256 hardly leave chance, and 277 pairs err by 3",
        ),
        GlueTask("sts-b", "STS-B", _PAIR, (), ("spearman", "pearson"), 96, (5749, 1500)),
        GlueTask(
            "wnli", "WNLI", _PAIR, ("0", "1"), ("accuracy",), 96, (635, 71), unranked=math.inf,
            because="dev repeats sentences of train with the label turned round, in 71 pairs",
        ),
        GlueTask(
            "mrpc", "hub:mrpc", _PAIR, ("not_equivalent", "equivalent"), ("accuracy", "f1"), 128, (3668, 408),
            "validation", _SMALL, "networks up to width 256 stay within 4 points of the majority class",
        ),
        GlueTask(
            "qnli", "hub:qnli", ("question", "sentence"), ("entailment", "not_entailment"),
            ("accuracy",), 128, (104743, 5463), "validation",
        ),
        GlueTask(
            "qqp", "hub:qqp", ("question1", "question2"), ("not_duplicate", "duplicate"), ("accuracy", "f1"),
            96, (363846, 40430), "validation",
        ),
        GlueTask(
            "mnli", "hub:mnli", ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"),
            ("accuracy",), 128, (392702, 9815), "validation_matched",
        ),
        GlueTask("number", "grammar:11", ("sentence",), ("one", "many"), ("accuracy",), 24, (400, 500)),
    )
}  # fmt: skip


def check(names: Sequence[str]) -> None:
    """Raise UsageError unless every task is known."""
    for name in names:
        if name not in TASKS:
            raise UsageError(f"no task of fine-tuning is called {name!r}: known are {', '.join(TASKS)}")


def prepare(name: str, sealed: Path, data_dir: Path | None, say: Say) -> dict[str, str]:
    """Prepare the rows of a task below ``sealed``, or find them prepared; return their checksums.

    Raises:
        UsageError: files are missing or altered, or the rows are not those of the task.
    """
    task, folder = TASKS[name], _folder(name, sealed)
    if build(folder, lambda fresh: _write(task, fresh, data_dir, say)):
        say(f"{name}: rows to fine-tune on in {folder}")
    digests: dict[str, str] = json.loads((folder / DIGESTS).read_text())
    return digests


def read(name: str, sealed: Path) -> Splits:
    """Return the rows that ``prepare`` wrote, for the scoring process."""
    splits = json.loads((_folder(name, sealed) / ROWS).read_text("utf-8"))
    return {split: [(tuple(texts), label) for texts, label in rows] for split, rows in splits.items()}


def _folder(name: str, sealed: Path) -> Path:
    """Return the folder of a task's rows, addressed by the files and the code that they are made from."""
    here = Path(__file__)
    grammar = [*sorted((here.parent / "grammar").glob("*.py")), here.parent / "grammar" / "lexicon.toml"]
    made_from = {"task": asdict(TASKS[name]), "code": [sha256(file) for file in (here, *grammar)]}
    made_from["files"] = datasets()[DATASET].digests()
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    return sealed / f"finetune-{name}-{key}"


def _write(task: GlueTask, folder: Path, data_dir: Path | None, say: Say) -> None:
    from benchmarks.stats.bleu import digest  # loads numpy

    kind, _, part = task.source.partition(":")
    digests: dict[str, str] = {}
    if kind == "hub":
        splits = from_hub(task, part, say)
    elif kind == "grammar":
        splits = from_grammar(task, int(part))
    else:
        every = datasets()[DATASET]
        own = {file: declared for file, declared in every.files.items() if file.startswith(f"{kind}/")}
        data = replace(every, files=own)
        files = locate(data, data_dir, say)
        splits = {
            split: read_table(files[f"{kind}/{split}.tsv.gz"], task, data.unpacked)
            for split in ("train", "dev")
        }
        digests = data.digests()
    for (split, rows), expected in zip(splits.items(), task.rows, strict=True):
        if len(rows) != expected:
            raise UsageError(
                f"{task.name}: {len(rows):,} rows of {split} in {task.source}, {expected:,} are expected:"
                " take the official files"
            )
        if kind in ("hub", "grammar"):
            digests[f"{task.name}/{split}"] = digest("\t".join((*texts, label)) for texts, label in rows)
    (folder / ROWS).write_text(json.dumps(splits), "utf-8")
    (folder / DIGESTS).write_text(json.dumps(digests))


def read_table(path: Path, task: GlueTask, unpacked: int) -> list[Row]:
    """Read the rows of a packed file with a header; only tabs separate fields, quotes are text.

    Raises:
        UsageError: other columns, an empty sentence or an unknown label, with file and line.
    """
    header, *lines = read_lines(path, unpacked)
    columns = [*task.columns, "label"]
    if header.split("\t") != columns:
        raise UsageError(f"'{path}', line 1: columns {header[:80]!r}, {task.name} has {', '.join(columns)}")
    rows = []
    for number, line in enumerate(lines, 2):
        where = f"'{path}', line {number}"
        *texts, label = line.split("\t")
        if len(texts) != len(task.columns):
            raise UsageError(f"{where}: {len(texts) + 1} columns, not {len(columns)} ({', '.join(columns)})")
        rows.append((_texts(texts, where), task.label(label, where)))
    return rows


def _texts(texts: Sequence[str], where: str) -> tuple[str, ...]:
    if not all(text.strip() for text in texts):
        raise UsageError(f"{where}: a sentence is empty")
    return tuple(texts)


def from_hub(task: GlueTask, configuration: str, say: Say) -> dict[str, list[Row]]:
    """Fetch rows with the library ``datasets``, for users with a network.

    Raises:
        UsageError: the library is not installed or cannot fetch the rows, or their labels differ.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise UsageError(
            f"{task.name} is read through the library datasets, which is not installed\n"
            "install it (python -m pip install 'supernet-bench[glue]'), or take it out of finetune.tasks"
        ) from None
    say(f"fetching {HUB}, {configuration}")
    splits = {}
    for split, hub_split in (("train", "train"), ("dev", task.dev)):
        try:
            table = load_dataset(HUB, configuration, split=hub_split)
            names = table.features["label"].names
            lines = list(table)
        except Exception as error:  # the library raises many kinds; all concern the network or its cache
            raise UsageError(
                f"{task.name}: {HUB} could not be read ({type(error).__name__}: {str(error)[:200]})\n"
                "try again with a network, or take the task out of finetune.tasks"
            ) from error
        where = f"{HUB} {configuration} {hub_split}"
        splits[split] = list(_numbered(lines, names, task, where))
    return splits


def _numbered(lines: Sequence[JsonView], names: Sequence[str], task: GlueTask, where: str) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        at, label = f"{where}, row {number}", line["label"]
        if not 0 <= label < len(names):
            raise UsageError(f"{at}: no label {label}: {task.name} has {', '.join(task.labels)}")
        yield _texts([line[column] for column in task.columns], at), task.label(names[label], at)


def from_grammar(task: GlueTask, seed: int) -> dict[str, list[Row]]:
    """Generate sentences labelled by the number of the main clause's subject, both labels equally often.

    Train and dev are sentences of the translation task's training and test splits, so that no encoder
    has been trained on one of dev. No text occurs in both.
    """
    import numpy as np

    from benchmarks.tasks.grammar import derive, english, split_of
    from benchmarks.tasks.grammar.derive import Dice, NounPhrase, Pronoun

    def answer(subject: NounPhrase | Pronoun | None) -> str:
        if isinstance(subject, NounPhrase):
            return task.labels[subject.plural]
        # "you" may be either; a question for the subject has none.
        several = {"I": 0, "he": 0, "she": 0, "we": 1, "they": 1}
        word = subject.word if subject else ""
        return task.labels[several[word]] if word in several else ""

    dice = Dice(np.random.default_rng(seed))
    places = {"train": "train", "test": "dev"}
    missing = {
        (split, label): size // len(task.labels)
        for split, size in zip(("train", "dev"), task.rows, strict=True)
        for label in task.labels
    }
    rows: dict[str, list[Row]] = {"train": [], "dev": []}
    seen: set[str] = set()
    while any(missing.values()):
        sentence = derive(dice)
        split = places.get(split_of(sentence), "")
        label = answer(sentence.main.subject)
        text = english(sentence)
        if missing.get((split, label)) and text not in seen:
            seen.add(text)
            missing[split, label] -= 1
            rows[split].append(((text,), label))
    return rows
