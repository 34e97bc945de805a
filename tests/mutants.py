"""Mutation testing of the harness's core: one small fault at a time, and does a unit test notice?

    nox -s mutants -- --mutants 20 --seed 1 'benchmarks/lab/*'

A mutant is a module with one operator, constant, condition, call or returned value changed. A child process
imports it in place of the module and runs the unit tests that mirror it: ``benchmarks/lab/ledger.py`` has
``tests/unit/benchmarks/lab/test_ledger.py``, and a module without such a file has all tests of its folder. No
file is changed. The modules that tests import from elsewhere (torch above all) are imported once, before the
child is forked, so that a mutant costs as long as its tests run.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fnmatch
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from tests import ROOT, mirror

CORE = (
    "benchmarks/lab/ledger.py",
    "benchmarks/lab/journal.py",
    "benchmarks/lab/checkpoints.py",
    "benchmarks/runs/plan.py",
    "benchmarks/runs/heartbeat.py",
    "benchmarks/leaderboard/submission.py",
    "benchmarks/records/store.py",
    "benchmarks/records/integrity.py",
    "benchmarks/stats/*.py",
    "benchmarks/comparability/*.py",
    "supernet/space/architecture.py",
    "supernet/space/search_space.py",
    "simq/genome.py",
)
"""Patterns of the modules whose faults would change numbers, or lose a run's work."""
ELSEWHERE = {
    "benchmarks/records/integrity.py": (
        "tests/unit/benchmarks/records/test_integrity.py",
        "tests/unit/benchmarks/records/test_store.py",
    ),
    "benchmarks/stats/paired_bleu.py": ("tests/oracles/test_paired.py",),
}
"""Module -> its tests, where those that mirror it are not all."""
PRELOADED = ("numpy", "scipy.stats", "sklearn", "torch", "hypothesis", "sacrebleu")
"""Libraries of others that are imported once for all mutants."""
SLACK = 5.0, 20.0
"""A mutant may run so many times as long as its tests do without it, and so many seconds more."""

KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"


@dataclass
class Mutant:
    """One change of one module; ``apply`` makes it in the tree that it was found in."""

    line: int
    before: str
    after: str
    apply: Callable[[], None]


SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Break: ast.Continue,
    ast.Continue: ast.Break,
}
"""Operator or statement -> its replacement."""
UNTESTABLE = "TYPE_CHECKING"


def mutants(tree: ast.Module) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines; annotations, docstrings and messages are left."""
    return sorted(_visit(tree), key=lambda mutant: mutant.line)


def _visit(node: ast.AST) -> Iterator[Mutant]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params", "decorator_list"):
            continue
        if isinstance(node, ast.Raise) and name == "exc":
            continue  # the message; that it is raised at all is the condition's
        if isinstance(node, ast.If | ast.IfExp) and name == "test" and _of_types_only(node):
            return
        children = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for place, child in children:
            if not isinstance(child, ast.AST) or _is_docstring(child) or isinstance(child, ast.JoinedStr):
                continue
            if isinstance(child, ast.keyword) and child.arg == "strict":
                continue  # of zip: an assertion, not behaviour
            yield from _changes(node, name, place, child)
            yield from _visit(child)


def _of_types_only(node: ast.If | ast.IfExp) -> bool:
    return getattr(node.test, "id", getattr(node.test, "attr", "")) == UNTESTABLE


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _changes(parent: ast.AST, name: str, place: int | None, node: ast.AST) -> Iterator[Mutant]:
    """Mutants of one node, ``parent.name`` or ``parent.name[place]``."""

    def put(new: ast.AST) -> Callable[[], None]:
        def apply() -> None:
            if place is None:
                setattr(parent, name, new)
            else:
                getattr(parent, name)[place] = new
            ast.fix_missing_locations(parent)

        return apply

    def mutant(new: ast.AST) -> Mutant:
        """The change, shown by the nearest node that has a line of its own."""
        shown = node if hasattr(node, "lineno") else parent
        before, apply = ast.unparse(shown), put(new)
        apply()
        after = ast.unparse(shown if shown is parent else new)
        put(node)()
        return Mutant(getattr(shown, "lineno", 0), _brief(before), _brief(after), apply)

    if type(node) in SWAPS:
        replacement = SWAPS[type(node)]()
        yield mutant(ast.copy_location(replacement, node) if hasattr(node, "lineno") else replacement)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield mutant(node.operand)
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield mutant(ast.copy_location(ast.Constant(not node.value), node))
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield mutant(ast.copy_location(ast.Constant(node.value + 1), node))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield mutant(ast.copy_location(ast.Pass(), node))
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield mutant(ast.copy_location(ast.Return(ast.Constant(None)), node))
    if name == "test" and isinstance(parent, ast.If | ast.While | ast.IfExp | ast.Assert):
        if not isinstance(node, ast.Compare | ast.UnaryOp):
            assert isinstance(node, ast.expr)
            yield mutant(ast.copy_location(ast.UnaryOp(ast.Not(), node), node))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _brief(code: str, most: int = 90) -> str:
    line = " ".join(code.split())
    return line if len(line) <= most else line[: most - 3] + "..."


class Importer(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module with the code of a mutant."""

    def __init__(self, module: str, file: Path, tree: ast.Module) -> None:
        self.module, self.file, self.tree = module, file, tree

    def find_spec(self, fullname: str, path: object, target: object = None) -> object:
        """Claim the module; leave every other one."""
        if fullname != self.module:
            return None
        package = [str(self.file.parent)] if self.file.name == "__init__.py" else None
        spec = importlib.machinery.ModuleSpec(
            fullname, self, origin=str(self.file), is_package=package is not None
        )
        spec.has_location = True
        spec.submodule_search_locations = package
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutant's code."""
        exec(compile(self.tree, str(self.file), "exec"), module.__dict__)


def modules(patterns: Sequence[str]) -> list[str]:
    """Files of the core that match a pattern, from the project's top; of all of it where none is given."""
    core = [
        path.relative_to(ROOT).as_posix()
        for pattern in CORE
        for path in sorted(ROOT.glob(pattern))
        if path.name != "__init__.py"
    ]
    return [file for file in core if any(fnmatch.fnmatchcase(file, p) for p in patterns or ("*",))]


def tests_of(file: str) -> list[str]:
    """Paths of the tests that mirror a module: its own, else all of its folder, else of its package.

    Raises:
        FileNotFoundError: there are none.
    """
    if elsewhere := ELSEWHERE.get(file):
        return list(elsewhere)
    if own := mirror.tests_of(Path(file), ROOT):
        return [path.as_posix() for path in own]
    folder = Path("tests/unit", file).parent
    for tests in (folder, folder.with_name(f"test_{folder.name}.py")):
        if (ROOT / tests).exists():
            return [str(tests)]
    raise FileNotFoundError(f"{file}: no tests mirror it: write {folder}/test_{Path(file).stem}.py")


def dotted(file: str) -> str:
    """Name under which a file is imported."""
    return file.removesuffix(".py").replace("/", ".")


def run_tests(tests: Sequence[str], importer: Importer | None, seconds: float) -> tuple[str, float]:
    """Run tests in a forked process; how it ended (an exit status counts as killed) and how long it took."""
    began = time.monotonic()
    child = os.fork()
    if not child:
        os.setsid()
        _child(tests, importer)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() - began > seconds:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return TIMEOUT, seconds
        time.sleep(0.02)
    return SURVIVED if ended[1] == 0 else KILLED, time.monotonic() - began


def _child(tests: Sequence[str], importer: Importer | None) -> None:
    """Run pytest on the tests, and end the process with its status."""
    status = 1
    try:
        import pytest

        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        if importer is not None:
            sys.meta_path.insert(0, importer)
        options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", f"--rootdir={ROOT}"]
        status = int(pytest.main([*options, *tests]))
    finally:
        os._exit(status)


@dataclass
class Outcome:
    """Outcome of one mutant."""

    file: str
    line: int
    code: str
    """The source line before."""
    before: str
    after: str
    result: str

    def __str__(self) -> str:
        shown = "" if self.before == self.code else f"   in   {self.code}"
        return f"{self.file}:{self.line}: {self.before}  ->  {self.after}{shown}"


class FailingTestsError(Exception):
    """Tests that fail without any mutant."""


def outcomes(file: str, count: int | None, seed: int) -> Iterator[Outcome]:
    """Run a sample of a module's mutants.

    Args:
        file: of the module, from the project's top.
        count: mutants drawn by ``seed``; None: all.
        seed: of the draw.

    Raises:
        FailingTestsError: the module's tests fail as they are.
    """
    tests, source = tests_of(file), (ROOT / file).read_text(encoding="utf-8")
    result, seconds = run_tests(tests, None, 600)
    if result != SURVIVED:
        raise FailingTestsError(f"{file}: {' '.join(tests)} fails without a mutant: run it alone first")
    total = len(mutants(ast.parse(source)))
    numbers = range(total)
    if count is not None and count < total:
        numbers = sorted(random.Random(f"{seed} {file}").sample(numbers, count))  # type: ignore[assignment]
    for number in numbers:
        tree = ast.parse(source)
        mutant = mutants(tree)[number]
        mutant.apply()
        importer = Importer(dotted(file), ROOT / file, tree)
        result, _ = run_tests(tests, importer, SLACK[0] * seconds + SLACK[1])
        code = source.splitlines()[mutant.line - 1].strip()
        yield Outcome(file, mutant.line, code, mutant.before, mutant.after, result)


def summary(done: Sequence[Outcome]) -> str:
    """Counts of each module, and every survivor with its place."""
    lines = [f"{'module':44}{'mutants':>9}{KILLED:>9}{SURVIVED:>10}{TIMEOUT:>9}{'score':>8}"]
    files = list(dict.fromkeys(outcome.file for outcome in done))
    for name, part in [(f, [o for o in done if o.file == f]) for f in files] + [("all", list(done))]:
        counts = [sum(o.result == kind for o in part) for kind in (KILLED, SURVIVED, TIMEOUT)]
        score = f"{100 * (counts[0] + counts[2]) / len(part):.0f} %" if part else "-"
        lines.append(f"{name:44}{len(part):9}{counts[0]:9}{counts[1]:10}{counts[2]:9}{score:>8}")
    alive = [str(outcome) for outcome in done if outcome.result == SURVIVED]
    return "\n".join([*lines, *(["", "survivors:", *alive] if alive else [])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run mutants and print the score; 1 where tests fail without any, or no module matches."""
    parser = argparse.ArgumentParser(prog="nox -s mutants --", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="patterns of files (default: the whole core)")
    parser.add_argument("--mutants", type=int, default=10, metavar="N", help="mutants a module; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every outcome there, too")
    parser.add_argument("--list", action="store_true", help="list modules with their tests; run nothing")
    options = parser.parse_args(arguments)
    files = modules(options.modules)
    if not files:
        print(f"no module of the core matches {' '.join(options.modules)}")
        print("list them: nox -s mutants -- --list")
        return 1
    if options.list:
        for file in files:
            count = len(mutants(ast.parse((ROOT / file).read_text(encoding="utf-8"))))
            print(f"{file:44}{count:5} mutants   {' '.join(tests_of(file))}")
        return 0
    os.chdir(ROOT)
    done, failing = [], []
    with tempfile.TemporaryDirectory() as folder:
        from hypothesis.configuration import set_hypothesis_home_dir

        set_hypothesis_home_dir(folder)  # what fails a mutant is no example for anybody else
        for name in ("pytest", *PRELOADED):
            importlib.import_module(name)
        for file in files:
            try:
                for outcome in outcomes(file, options.mutants or None, options.seed):
                    done.append(outcome)
                    print(f"{outcome.result:9} {outcome}", flush=True)
            except FailingTestsError as error:
                failing.append(str(error))
                print(error, flush=True)
    print("\n" + summary(done))
    if options.json:
        options.json.write_text(json.dumps([asdict(outcome) for outcome in done], indent=1) + "\n")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
