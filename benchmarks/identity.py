"""Identity of code: digests of whatever makes a run's numbers, and the equivalences declared between them.

A digest covers the syntax tree of Python source, in one canonical form under every supported Python. Left out
is all that changes no number: docstrings, comments, layout, annotations of functions, the order and place of
imports, the modules of this project that names are imported from, what a method's ``Option`` declares beside
name, type and default, and a class-level ``needs`` or ``url``. Files enter by content, not by name, so that a
move or a rename of a file changes no digest.

Three kinds: *method* (a method's file and the modules of its own package or folder that it brings), *task*
(the same of a task), *substrate* (``SUBSTRATE``: everything else of ours that a number depends on). Records
since hold all three in their ``spec``. Of published records from before, ``identities.json`` holds them by
commit and by the digest of the method's text; ``equivalences.toml`` declares which digests make the same
numbers. Standard library only, and nothing of this project: any Python runs this file alone.
"""

from __future__ import annotations

import ast
import fnmatch
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

METHOD, TASK, SUBSTRATE_KIND = KINDS = ("method", "task", "substrate")
OURS = ("baselines", "benchmarks", "mos", "simq", "supernet", "supernet_bench")
"""Packages whose files may move: where in them a name is imported from enters no digest."""
TASKS = "benchmarks.tasks"
"""The package of this project's own tasks."""

SUBSTRATE = (
    "supernet/*.py",
    # How a run is seeded, charged, trained, judged and given its limits.
    "benchmarks/lab/ledger.py",
    "benchmarks/measurement/counted.py",
    "benchmarks/lab/candidates.py",
    "benchmarks/lab/lab.py",
    "benchmarks/lab/bookkeeping.py",
    "benchmarks/lab/probes.py",
    "benchmarks/runs/task_context.py",
    "benchmarks/lab/batches.py",
    "benchmarks/hardware/threads.py",
    "benchmarks/runs/worker.py",
    "benchmarks/runs/books.py",
    "benchmarks/runs/process_tree.py",
    # How its candidates are scored.
    "benchmarks/stats/bleu.py",
    "benchmarks/stats/translation_metrics.py",
    "benchmarks/scoring/score.py",
    "benchmarks/scoring/revalidation.py",
    # How they are timed, and their memory and energy are taken.
    "benchmarks/hardware/energy.py",
    "benchmarks/measurement/operator_counter.py",
    "benchmarks/measurement/parity.py",
    "benchmarks/measurement/memory.py",
    "benchmarks/measurement/latency.py",
    "benchmarks/stats/quantiles.py",
    "benchmarks/measurement/serving.py",
    "benchmarks/measurement/interleaved.py",
    "benchmarks/measurement/workload.py",
)
"""Patterns of paths below the project's root; ``*`` crosses folders."""
FORMER = (
    "benchmarks/budget.py",
    "benchmarks/counted.py",
    "benchmarks/exporting.py",
    "benchmarks/lab.py",
    "benchmarks/labbooks.py",
    "benchmarks/prober.py",
    "benchmarks/ready.py",
    "benchmarks/streams.py",
    "benchmarks/threads.py",
    "benchmarks/worker.py",
    "benchmarks/metrics.py",
    "benchmarks/score.py",
    "benchmarks/energy.py",
    "benchmarks/fidelity.py",
    "benchmarks/live_bytes.py",
    "benchmarks/measure.py",
    "benchmarks/percentiles.py",
    "benchmarks/runtimes.py",
    "benchmarks/timing.py",
    "benchmarks/workload.py",
)
"""Former paths of files of ``SUBSTRATE``: published commits have them there."""

CPU = "cpu"
"""The device on which declarations hold unless they name another."""

NO_NUMBERS = (
    # Exchange with other programs after a run: no record holds a figure of theirs.
    "supernet/interop/huggingface/automodels.py",
    "supernet/interop/ctranslate2.py",
    "supernet/interop/hat.py",
    "supernet/interop/huggingface/export.py",
    "supernet/interop/huggingface/generation.py",
    "supernet/interop/onnx.py",
    "supernet/interop/huggingface/vocabularies.py",
    "supernet/quantization/onnx_translator.py",
    "supernet/supernet_file.py",
)
"""Files that ``SUBSTRATE`` matches and that no figure of a record depends on."""
FORMER_NO_NUMBERS = (
    "supernet/interop/automodels.py",
    "supernet/interop/fairseq/vocabularies.py",
    "supernet/interop/huggingface.py",
    "supernet/interop/vocabularies.py",
    "supernet/onnx_translator.py",
    "supernet/stored.py",
)
"""Former paths of those files."""

UNDIGESTED = ("needs", "url")
"""Class-level names that change no number of a method that runs."""
DECLARATIONS = ("Option", "Need")
"""Names of ours whose import changes none."""

JsonView = Mapping[str, Any]
"""An object of parsed JSON whose fields have not been checked."""
Form = list[object]
"""Nested lists of texts and numbers that stand for a syntax tree; JSON writes them."""
Read = Callable[[str], tuple[bytes, bool] | None]
"""Dotted module name -> its source and whether it is a package's ``__init__``; None: there is none."""


class TreeIdentities(TypedDict):
    """Digests of the substrate and, by name, of each task in one commit."""

    substrate: str
    tasks: dict[str, str]


class CommitIdentities(TreeIdentities):
    """The same with the methods of the commit: digest of a text -> digest of its code."""

    methods: dict[str, str]


class PublishedIdentities(TypedDict):
    """Content of ``identities.json``: digests by commit, and digest of a method's text -> of its code."""

    commits: dict[str, TreeIdentities]
    methods: dict[str, str]


MEMO: dict[str, object] = {}
"""Sha256 of a source and of what else a result depends on -> digest of its code, or the modules it imports.

A command keeps it from one call to the next (``benchmarks.cli.source_memo``): syntax trees of a hundred files
take a second.
"""


def code_digest(source: str | bytes, ours: tuple[str, ...] = OURS) -> str | None:
    """Return the digest of one module's code, or None where it has none (a docstring at most).

    Args:
        source: text of the module.
        ours: top-level packages whose module paths are left out of imports.

    Raises:
        SyntaxError: this is not Python.
    """
    key = _memo_key("code", ours, source)
    if key not in MEMO:
        form = canonical_form(source, ours)
        text = json.dumps(form, separators=(",", ":"), ensure_ascii=True)
        MEMO[key] = None if form == [[], []] else hashlib.sha256(text.encode()).hexdigest()
    digest = MEMO[key]
    assert digest is None or isinstance(digest, str)
    return digest


def _memo_key(purpose: str, names: Iterable[str], source: str | bytes) -> str:
    """Return a key of ``MEMO``: equal for equal sources of one kind and equal names."""
    head = json.dumps([purpose, type(source).__name__, *names]).encode()
    content = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
    return hashlib.sha256(head + b"\0" + content).hexdigest()


def combined(digests: Iterable[str | None]) -> str:
    """Return the digest of several modules' digests, in any order; of a single one, that itself."""
    known = sorted({digest for digest in digests if digest is not None})
    if len(known) == 1:
        return known[0]
    return hashlib.sha256("".join(f"{digest}\n" for digest in known).encode()).hexdigest()


def digest_of(sources: Iterable[str | bytes], ours: tuple[str, ...] = OURS) -> str:
    """Return the digest of the code of several modules together, whatever their names and order."""
    return combined(code_digest(source, ours) for source in sources)


def canonical_form(source: str | bytes, ours: Collection[str] = OURS) -> Form:
    """Return a module's imports and syntax tree as nested lists of texts, equal under every Python."""
    form = _Form(frozenset(ours))
    body = form.block(ast.parse(source).body)
    return [sorted(form.imports), body]


class _Form:
    """One module's tree on its way into lists; imports are gathered from every scope."""

    def __init__(self, ours: frozenset[str]) -> None:
        self.ours = ours
        self.imports: set[str] = set()

    def block(self, statements: list[ast.stmt], *, of_class: bool = False) -> Form:
        kept: Form = []
        for node in statements:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.imports.update(self.imported(node))
            elif isinstance(node, ast.Pass) or (
                isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            ):
                continue  # a docstring, of an attribute as well
            elif isinstance(node, ast.If) and _only_for_types(node.test):
                kept += self.block(node.orelse)
            elif of_class and (_binds(node, UNDIGESTED) or _binds(node, ("options",), value=False)):
                continue
            elif isinstance(node, ast.AnnAssign):
                kept += self.annotated(node, of_class)
            else:
                kept.append(self.node(node))
        return kept

    def imported(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        for alias in node.names:
            if isinstance(node, ast.Import):
                bound = alias.asname or alias.name.partition(".")[0]
                own = alias.name.partition(".")[0] in self.ours
                yield f"{'' if own else alias.name} as {bound}"
            elif node.module != "__future__":
                own = node.level > 0 or (node.module or "").partition(".")[0] in self.ours
                if own and alias.name in DECLARATIONS:
                    continue
                origin = "" if own else f"{node.module}."
                yield f"{origin}{alias.name} as {alias.asname or alias.name}"

    def annotated(self, node: ast.AnnAssign, of_class: bool) -> Form:
        """Return the form of an annotated name: in a class a field, elsewhere an assignment or nothing."""
        target = self.node(node.target)
        if not of_class:
            return [["Assign", ["targets", [target]], ["value", self.node(node.value)]]] if node.value else []
        text = ast.unparse(node.annotation)
        special = [word for word in ("ClassVar", "InitVar", "KW_ONLY") if word in text]
        value = [["value", self.node(node.value)]] if node.value else []
        return [["Field", ["target", target], *value, *([["special", special]] if special else [])]]

    def node(self, node: ast.AST) -> Form:
        if isinstance(node, ast.Constant):
            # Of a text ``repr`` depends on the Unicode tables of the Python at hand.
            return ["Constant", type(node.value).__name__, ascii(node.value)]
        if isinstance(node, ast.JoinedStr):
            return ["JoinedStr", self.parts(node.values)]
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Option":
            # A default takes effect where a run gives none; choices, limits and help change no number.
            arguments = dict(zip(("name", "kind", "default"), node.args, strict=False))
            arguments |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg is not None}
            return [
                "Option",
                [self.node(arguments[key]) for key in ("name", "kind", "default") if key in arguments],
            ]
        form: Form = [type(node).__name__]
        for name, value in ast.iter_fields(node):
            if name in ("ctx", "kind", "type_comment", "type_ignores", "annotation", "returns"):
                continue
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                kept: object = self.block(value, of_class=isinstance(node, ast.ClassDef))
            elif isinstance(value, list):
                kept = [self.node(v) if isinstance(v, ast.AST) else v for v in value]
            elif isinstance(value, ast.JoinedStr) and name == "format_spec" and not value.values:
                continue
            else:
                kept = self.node(value) if isinstance(value, ast.AST) else value
            if kept is not None and kept != []:
                form.append([name, kept])
        return form

    def parts(self, values: list[ast.expr]) -> Form:
        """Return the parts of an f-string, neighbouring texts joined: Pythons cut them differently."""
        texts: Form = []
        for value in values:
            if not isinstance(value, ast.Constant):
                texts.append(self.node(value))
            elif texts and isinstance(texts[-1], str):
                texts[-1] += str(value.value)
            elif value.value:
                texts.append(str(value.value))
        return [ascii(part) if isinstance(part, str) else part for part in texts]


def _only_for_types(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _binds(node: ast.stmt, names: Collection[str], *, value: bool = True) -> bool:
    """Return whether a statement binds one of some names; without ``value``: only states its type."""
    if not value and getattr(node, "value", None) is not None:
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return any(isinstance(target, ast.Name) and target.id in names for target in targets)


def modules(start: str, read: Read, package: str | None = None) -> dict[str, bytes]:
    """Return the sources of a module and of all that it brings, by dotted name.

    Args:
        start: dotted name of the module.
        read: gives the source of a module.
        package: the modules of this package count, with the ``__init__`` of every package on the way; None:
            whatever ``read`` finds.
    """
    sources: dict[str, bytes] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        inside = package is None or name == package or name.startswith(f"{package}.")
        if name in sources or not inside or (read_ := read(name)) is None:
            continue
        sources[name], is_package = read_
        parents = name.split(".")
        waiting += [".".join(parents[:i]) for i in range(1, len(parents))]
        waiting += _imported(sources[name], parents if is_package else parents[:-1])
    return sources


def _imported(source: bytes, package: list[str]) -> list[str]:
    """Return every module that a source may import, relative names resolved from ``package``."""
    key = _memo_key("imports", package, source)
    if key not in MEMO:
        MEMO[key] = list(_imports(source, package))
    names = MEMO[key]
    assert isinstance(names, list)
    return names


def _imports(source: bytes, package: list[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            if origin:
                yield origin
                yield from (f"{origin}.{alias.name}" for alias in node.names)


def in_substrate(path: str) -> bool:
    """Return whether a path below the project's root is of the substrate."""
    if path in NO_NUMBERS or path in FORMER_NO_NUMBERS:
        return False
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in (*SUBSTRATE, *FORMER))


@cache
def substrate() -> str:
    """Return the digest of this installation's substrate."""
    root = Path(__file__).resolve().parents[1]
    paths = [path for top in ("supernet", "benchmarks") for path in (root / top).rglob("*.py")]
    return digest_of(path.read_bytes() for path in paths if in_substrate(path.relative_to(root).as_posix()))


def of_tree(tree: Mapping[str, bytes]) -> CommitIdentities:
    """Return the entry of one commit in ``identities.json``.

    Args:
        tree: path below the project's root -> content.
    """
    declared_ = tomllib.loads(tree["pyproject.toml"].decode())["project"]["entry-points"]

    def read(name: str) -> tuple[bytes, bool] | None:
        base = name.replace(".", "/")
        plain, package = f"{base}.py", f"{base}/__init__.py"
        return (tree[plain], False) if plain in tree else (tree[package], True) if package in tree else None

    def brought(entry: str, package: str | None = None) -> dict[str, bytes]:
        module = entry.partition(":")[0]
        return modules(module, read, package or module.partition(".")[0])

    methods = [brought(entry) for entry in declared_["supernet_bench.methods"].values()]
    tasks = declared_["supernet_bench.tasks"]
    return {
        "substrate": digest_of(content for path, content in tree.items() if in_substrate(path)),
        "tasks": {name: digest_of(brought(entry, TASKS).values()) for name, entry in tasks.items()},
        "methods": {_text_digest(sources): digest_of(sources.values()) for sources in methods},
    }


def _text_digest(sources: Mapping[str, bytes]) -> str:
    """Return the digest of older specs: of the text of a method's file and of the modules that it brings."""
    texts = {name: hashlib.sha256(text).hexdigest() for name, text in sources.items() if "." in name}
    if len(texts) == 1:
        return next(iter(texts.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(texts.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


class Identity(NamedTuple):
    """Identity of the code behind a record: three digests, each the one that its equivalents share."""

    method: str
    task: str
    substrate: str


def of_record(record: JsonView) -> Identity:
    """Return the identity of what made a record.

    Where an old record's commit is in no table, the commit stands for its task and its substrate.
    """
    spec = record["spec"]
    if "substrate_sha256" in spec:
        own = spec["method_sha256"], spec.get("task_sha256", "unknown"), spec["substrate_sha256"]
    else:
        own = _before(spec, record["provenance"])
    on = device_of(record)
    return Identity(*(equivalent(kind, digest, on) for kind, digest in zip(KINDS, own, strict=True)))


def device_of(record: JsonView) -> str:
    """Return ``cuda`` for a record of a machine with GPUs, else ``cpu``."""
    return "cuda" if record["provenance"].get("machine", {}).get("gpus") else CPU


def _before(spec: JsonView, provenance: JsonView) -> tuple[str, str, str]:
    """Return the digests of a record whose spec holds the digest of its method's text alone."""
    commit, dirty, text = provenance.get("commit"), provenance.get("dirty_sha256"), spec["method_sha256"]
    known = None if dirty else published()["commits"].get(str(commit))
    unknown = f"commit {str(commit)[:12]}" + (f" with {dirty[:12]}" if dirty else "")
    return (
        published()["methods"].get(text) or str(text),
        known["tasks"].get(spec["task"], unknown) if known else unknown,
        known["substrate"] if known else unknown,
    )


@cache
def published() -> PublishedIdentities:
    """Return the digests of published records from before their specs held them (``identities.json``).

    ``commits``: commit -> ``substrate`` and ``tasks``; ``methods``: digest of a text -> digest of its code.
    """
    table: PublishedIdentities = json.loads(Path(__file__).with_name("identities.json").read_text("utf-8"))
    return table


def equivalent(kind: str, digest: str, device: str) -> str:
    """Return the last of the digests that make the same numbers on ``device`` as ``digest``, by declaration.

    Args:
        device: ``cpu`` or ``cuda``; some changes alter the numbers of GPUs alone.
    """
    return declared(device)[kind].get(digest, digest)


def same_as(method: str) -> list[str]:
    """Return every other digest that stands for this method's code: of texts, and declared equivalents."""
    end = equivalent(METHOD, method, CPU)
    equal = [old for old in declared(CPU)[METHOD] if equivalent(METHOD, old, CPU) == end and old != method]
    texts = [text for text, code in published()["methods"].items() if equivalent(METHOD, code, CPU) == end]
    return [*equal, *texts]


@cache
def declared(device: str, path: Path | None = None) -> dict[str, dict[str, str]]:
    """Return, for each kind, digest -> the last one of its chain on ``device``, from ``equivalences.toml``.

    Raises:
        ValueError: a declaration is incomplete, doubled or runs in a circle.
    """
    chains: dict[str, dict[str, str]] = {}
    for kind, entries in declarations(path).items():
        steps: dict[str, str] = {}
        for entry in entries:
            missing = [key for key in ("old", "new", "because", "evidence") if not entry.get(key)]
            if missing:
                raise ValueError(f"equivalences.toml, {kind}: {entry} lacks {', '.join(missing)}")
            if entry.get("device", device) not in ("cpu", "cuda"):
                raise ValueError(f"equivalences.toml, {kind}: device {entry['device']!r}, choose cpu or cuda")
            if entry["old"] in steps:
                raise ValueError(f"equivalences.toml, {kind}: {entry['old']} is declared twice")
            steps[entry["old"]] = entry["new"]
        own = {e["old"]: e["new"] for e in entries if e.get("device", device) == device}
        chains[kind] = {start: _end(start, own) for start in own}
    return chains


def _end(start: str, steps: Mapping[str, str]) -> str:
    seen, last = {start}, steps[start]
    while last in steps and last not in seen:
        seen.add(last)
        last = steps[last]
    if last in seen:
        raise ValueError(f"equivalences.toml: {start} leads back to itself")
    return last


def declarations(path: Path | None = None) -> dict[str, list[dict[str, str]]]:
    """Return the entries of ``equivalences.toml`` as they stand, by kind."""
    text = (path or Path(__file__).with_name("equivalences.toml")).read_text("utf-8")
    tables = tomllib.loads(text)
    return {kind: list(tables.get(kind, [])) for kind in KINDS}


def at_commits(commits: Iterable[str], root: Path) -> PublishedIdentities:
    """Return the content of ``identities.json`` for some commits, read from git.

    Raises:
        CalledProcessError: git does not have one of them.
    """
    table: PublishedIdentities = {"commits": {}, "methods": {}}
    for commit in commits:
        command = ["git", "-C", str(root), "archive", "--format=tar", commit]
        packed = subprocess.run(command, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            names = [m for m in archive.getmembers() if m.name.endswith((".py", "pyproject.toml"))]
            tree = {m.name: file.read() for m in names if (file := archive.extractfile(m)) is not None}
        identities = of_tree(tree)
        table["methods"] |= identities["methods"]
        table["commits"][commit] = {"substrate": identities["substrate"], "tasks": identities["tasks"]}
    return table


if __name__ == "__main__":
    # A table of commits, for records from before specs held digests: identity.py ROOT COMMIT...
    print(json.dumps(at_commits(sys.argv[2:], Path(sys.argv[1])), indent=1, sort_keys=True))
