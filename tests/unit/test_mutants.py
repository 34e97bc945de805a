"""The mutation runner: which faults it makes, which it leaves, and that tests of a module meet them."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

from tests import ROOT, mutants
from tests.mutants import KILLED, SURVIVED, TIMEOUT, Importer, Outcome


def faults(code: str) -> list[str]:
    """Every mutant of some code, as code."""
    texts = []
    for number in range(len(mutants.mutants(ast.parse(code)))):
        tree = ast.parse(code)
        mutants.mutants(tree)[number].apply()
        texts.append(ast.unparse(tree))
    return texts


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("a < b", ["a <= b"]),
        ("a is not b", ["a is b"]),
        ("a not in b", ["a in b"]),
        ("a < b < c", ["a <= b < c", "a < b <= c"]),
        ("x = a / b", ["x = a * b"]),
        ("x += a", ["x -= a"]),
        ("x = a and b or c", ["x = (a and b) and c", "x = (a or b) or c"]),
        ("x = not a", ["x = a"]),
        ("x = -a", ["x = a"]),
        ("x = True", ["x = False"]),
        ("x = 2.5", ["x = 3.5"]),
        ("f(x)", ["pass"]),
        ("def f(a=1):\n    return a", ["def f(a=2):\n    return a", "def f(a=1):\n    return None"]),
        ("while a:\n    break", ["while not a:\n    break", "while a:\n    continue"]),
        ("x = a if b else c", ["x = a if not b else c"]),
        ("assert f(a)", ["assert not f(a)"]),
    ],
)
def test_mutants_of_a_function_are_listed(code: str, expected: list[str]):
    assert faults(code) == expected


@pytest.mark.parametrize(
    "code",
    [
        '"""Docstring."""',
        'x = y\n"""Seconds of a phase."""',
        "def f(a: int = b) -> int:\n    return None",
        "x = 'text'",
        "x = f'{a + 1:.2f}'",
        "raise ValueError(1 + 2)",
        "if TYPE_CHECKING:\n    import a",
        "@cache(1)\ndef f(): pass",
        "x: tuple[int, 3]",
        "x = zip(a, b, strict=True)",
    ],
)
def test_mutants_that_no_test_can_notice_are_left_out(code: str):
    assert faults(code) == []


def test_a_mutant_leaves_the_tree_alone_until_it_is_applied():
    tree = ast.parse("x = 1 + f(2)\nif x > 3:\n    f(x)")
    before = ast.dump(tree)
    all_of_it = mutants.mutants(tree)
    assert ast.dump(tree) == before and [m.line for m in all_of_it] == sorted(m.line for m in all_of_it)
    all_of_it[0].apply()
    assert ast.dump(tree) != before


def test_every_module_of_the_core_has_tests_and_mutants():
    files = mutants.modules(())
    assert len(files) == len(set(files)) > 12
    for pattern in mutants.CORE:
        assert list(ROOT.glob(pattern)), f"{pattern} matches no file: has it moved?"
    for file in files:
        assert all((ROOT / tests).exists() for tests in mutants.tests_of(file))
    assert mutants.modules(("benchmarks/lab/*",)) == [f for f in files if f.startswith("benchmarks/lab/")]
    assert mutants.tests_of("benchmarks/lab/ledger.py") == ["tests/unit/benchmarks/lab/test_ledger.py"]
    with pytest.raises(FileNotFoundError, match="write tests/unit/nowhere/test_at_all.py"):
        mutants.tests_of("nowhere/at_all.py")


def test_the_importer_replaces_one_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "some_module_of_a_test.py"
    file.write_text("def f(a):\n    return a + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    tree = ast.parse(file.read_text())
    next(m for m in mutants.mutants(tree) if m.before == "a + 1").apply()
    monkeypatch.setattr(sys, "meta_path", [Importer(file.stem, file, tree), *sys.meta_path])
    try:
        module = importlib.import_module(file.stem)
        assert module.f(3) == 2 and module.__file__ == str(file)
        assert importlib.import_module("json").__name__ == "json"
    finally:
        sys.modules.pop(file.stem, None)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one module and its tests, in the place of ours."""
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n')
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "counted.py").write_text(
        "def bigger(a, b):\n"
        "    return a > b\n"
        "def untested(a):\n"
        "    return a + 1\n"
        "def count(n):\n"
        "    while n > 0:\n"
        "        n -= 1\n"
        "    return n\n"
    )
    (tmp_path / "tests" / "unit" / "pack").mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "pack" / "test_counted.py").write_text(
        "from pack.counted import bigger, count\n"
        "def test_bigger():\n"
        "    assert bigger(2, 1) and not bigger(1, 1)\n"
        "def test_count():\n"
        "    assert count(3) == 0\n"
    )
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "CORE", ("pack/*.py",))
    monkeypatch.setattr(mutants, "PRELOADED", ())
    monkeypatch.setattr(mutants, "SLACK", (0.0, 15.0))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_run_reports_killed_surviving_and_hanging_mutants(project: Path, capsys):
    assert mutants.main(["--mutants", "0", "--json", str(project / "out.json")]) == 0
    text = capsys.readouterr().out
    assert f"{SURVIVED:9} pack/counted.py:4: a + 1  ->  a - 1   in   return a + 1" in text
    assert f"{KILLED:9} pack/counted.py:2: a > b  ->  a >= b   in   return a > b" in text
    assert f"{TIMEOUT:9} pack/counted.py:7: n -= 1  ->  n += 1" in text
    survivors = text.partition("survivors:\n")[2].splitlines()
    assert survivors and all(line.startswith("pack/counted.py:4:") for line in survivors)
    assert (project / "out.json").read_text().count('"survived"') == len(survivors)
    assert "pack.counted" not in sys.modules, "a mutant is imported in a process of its own"


def test_tests_that_fail_anyway_are_named_and_no_sample_is_scored(project: Path, capsys):
    (project / "tests" / "unit" / "pack" / "test_counted.py").write_text("def test_it():\n    assert False\n")
    assert mutants.main([]) == 1
    assert (
        "pack/counted.py: tests/unit/pack/test_counted.py fails without a mutant" in capsys.readouterr().out
    )


def test_a_sample_is_drawn_by_its_seed_and_a_wrong_name_is_refused(project: Path, capsys, monkeypatch):
    monkeypatch.setattr(mutants, "run_tests", lambda *_: (SURVIVED, 0.0))
    samples = [[str(o) for o in mutants.outcomes("pack/counted.py", 3, seed)] for seed in (1, 1, 2)]
    assert samples[0] == samples[1] != samples[2] and len(samples[0]) == 3
    assert mutants.main(["pack/none.py"]) == 1
    assert "no module of the core matches pack/none.py\nlist them" in capsys.readouterr().out
    assert mutants.main(["--list"]) == 0
    assert "tests/unit/pack/test_counted.py" in capsys.readouterr().out


def test_the_summary_counts_each_module_and_a_timeout_as_noticed():
    done = [Outcome("a.py", 1, "x", "x", "y", r) for r in (KILLED, KILLED, SURVIVED, TIMEOUT)]
    lines = mutants.summary([*done, Outcome("b.py", 7, "x", "x", "y", KILLED)]).splitlines()
    assert lines[1].split() == ["a.py", "4", "2", "1", "1", "75", "%"]
    assert lines[2].split() == ["b.py", "1", "1", "0", "0", "100", "%"]
    assert lines[3].split() == ["all", "5", "3", "1", "1", "80", "%"]
    assert lines[-2:] == ["survivors:", "a.py:1: x  ->  y"]
