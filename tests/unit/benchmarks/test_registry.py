"""Methods are found, described and hashed without running any of their code."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import class_facts, code_files, identity, registry
from benchmarks.api import Method, UsageError

MINE = """
raise_when_imported = __name__
from benchmarks.api import Method

class Base(Method):
    version = "7"
    summary = "a summary"

class Mine(Base):
    name = "mine"
    follows = "hat"

    def search(self, lab):
        return ()

class Picky(Mine):
    name = "picky"

    def supports(self, task):
        return None
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return file


def test_the_installed_methods_are_all_whole():
    found = registry.methods()
    assert {"hat", "hat-sandwich", "mos-layer", "mos-neuron", "random-search", "scratch"} <= set(found)
    for name, ref in found.items():
        assert not isinstance(ref, UsageError), ref
        assert ref.name == name and ref.summary and len(ref.sha256) == 64
    assert found["scratch"].follows == "hat"


def test_a_file_is_described_without_being_executed(mine: Path):
    mine.write_text("raise SystemExit('executed')\n" + MINE)
    ref = registry.find(f"{mine}:Mine")
    assert (ref.name, ref.version, ref.summary, ref.follows) == ("mine", "7", "a summary", "hat")
    assert ref.source == f"{mine}:Mine" and not ref.selective
    assert ref.sha256 == identity.code_digest(mine.read_bytes())
    assert registry.find(f"{mine}:Picky").selective


def test_loading_gives_the_class(mine: Path):
    method = registry.load(registry.find(f"{mine}:Mine").source)
    assert issubclass(method, Method) and method.name == "mine"
    mine.write_text(MINE + "\nclass Plain:\n    pass\n")
    for name in ("raise_when_imported", "Plain"):
        with pytest.raises(
            UsageError, match="not a benchmarks.api.Method but .*: derive its class from Method"
        ):
            registry.load(f"{mine}:{name}")


HEAD = "from benchmarks.api import Method\nimport elsewhere\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Mine:\n    name = 'mine'\n", r"does not derive from Method\n.*class Mine\(Method\):"),
        ("class Mine(object):\n    name = 'mine'\n", "does not derive from Method"),
        (
            "class Mine(Method):\n    name = 'mine'\n    summary = 'a search'\n",
            "has no search\nwrite: def search",
        ),
        (
            "class Mine(Method):\n    name = 'mine'\n    def search(self): ...\n",
            "line 5: search of Mine cannot be called",
        ),
        ("class Mine(Method):\n    name = 'mine'\n    def search(): ...\n", "cannot be called with"),
        (
            "class Mine(Method):\n    name = 'mine'\n    def search(self, lab, more): ...\n",
            "cannot be called",
        ),
        (
            "class Mine(Method):\n    name = 'mine'\n    def search(self, lab, *, more): ...\n",
            "cannot be called",
        ),
        (
            "class Mine(Method):\n    name = 'mine'\n    async def search(self, lab): ...\n",
            "cannot be called",
        ),
        (
            "class Base(Method):\n    def search(self): ...\nclass Mine(Base):\n    name = 'mine'\n",
            "line 4: search of Mine cannot be called",
        ),
    ],
)
def test_a_class_that_no_run_could_call_is_refused_before_it(tmp_path: Path, text: str, message: str):
    (tmp_path / "mine.py").write_text(HEAD + text)
    with pytest.raises(UsageError, match=message):
        registry.find(f"{tmp_path}/mine.py:Mine")


@pytest.mark.parametrize(
    "text",
    [
        "class Mine(elsewhere.Base):\n    name = 'mine'\n",
        "class Mine(elsewhere.Mixin, Method):\n    name = 'mine'\n",
        "class Mine(Method):\n    name = 'mine'\n    def search(self, lab, more=1, *rest, key=2): ...\n",
        "class Mine(Method):\n    name = 'mine'\n    def search(*arguments): ...\n",
        "class Mine(Method):\n    name = 'mine'\n    search = elsewhere.search\n",
        "class Mine(Method):\n    name = 'mine'\n    @staticmethod\n    def search(lab): ...\n",
        "class Mine(Method):\n    name = 'mine'\n    if elsewhere:\n        search = 3\n",
    ],
)
def test_a_class_that_syntax_does_not_show_is_accepted(tmp_path: Path, text: str):
    (tmp_path / "mine.py").write_text(HEAD + text)
    assert registry.find(f"{tmp_path}/mine.py:Mine").name == "mine"


@pytest.mark.parametrize(
    ("word", "near"),
    [("mos-nueron", "mos-neuron"), ("HAT", None), ("hat_sandwich", "hat-sandwich"), ("zzz", None)],
)
def test_an_unknown_method_names_the_nearest_and_all(word: str, near: str | None):
    with pytest.raises(UsageError) as error:
        registry.find(word)
    first, known, then = str(error.value).splitlines()
    assert first.startswith(f"no method '{word}'.")
    assert ("Did you mean" in first) == (near is not None) and (near is None or f"'{near}'" in first)
    assert known.startswith("known: ") and "mos-neuron" in known
    assert then == "list them with what each supports: supernet-bench list methods"


@pytest.mark.parametrize(
    ("text", "word", "said"),
    [
        (MINE, "mine.py", "needs the class after a colon"),
        (MINE, "mine.py:Nine", "no class 'Nine'"),
        (MINE, "mine.py:Base", "set `name`"),
        ("class Mine(:\n", "mine.py:Mine", "not valid Python"),
        ("name = 'x'\nclass Mine:\n    name = name\n", "mine.py:Mine", "set `name`"),
        ("class Mine:\n    name = '../../x'\n", "mine.py:Mine", "set `name`"),
        ("class Mine:\n    name = 'hat'\n", "mine.py:Mine", "like an installed method"),
        (None, "mine.py:Mine", "cannot read"),
    ],
)
def test_a_bad_file_is_one_clear_message(tmp_path: Path, text: str | None, word: str, said: str):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UsageError, match=said):
        registry.find(str(tmp_path / word))


def test_siblings_of_a_packaged_method_count_for_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "somebodys"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    (package / "method.py").write_text("from somebodys.parts import part\nfrom os import path\n")
    (package / "parts.py").write_text("part = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = code_files.digest(package / "method.py", "somebodys.method")
    (package / "parts.py").write_text("part = 2\n")
    assert code_files.digest(package / "method.py", "somebodys.method") != before


def test_relative_imports_and_files_beside_count_for_the_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / "relatives"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "method": "from . import near\nfrom .deeper import thing\n",
        "near": "from .last import end\n",
        "deeper": "thing = 1\n",
        "last": "end = 1\n",
        "other": "not_brought = 1\n",
    }.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    seen = {code_files.digest(package / "method.py", "relatives.method")}
    for name in ("near", "deeper", "last", "__init__", "other"):
        with (package / f"{name}.py").open("a") as file:
            file.write("changed = 2\n")
        now = code_files.digest(package / "method.py", "relatives.method")
        assert (now not in seen) == (name != "other"), name
        seen.add(now)
    alone = tmp_path / "mine.py"
    alone.write_text("import helper\nimport os\nimport supernet.train\n" + MINE)
    (tmp_path / "helper.py").write_text("x = 1\n")
    assert set(code_files.sources(f"{alone}:Mine")) == {"mine", "helper"}
    before = registry.find(f"{alone}:Mine").sha256
    (tmp_path / "helper.py").write_text("# a remark\nx = 1\n")
    assert registry.find(f"{alone}:Mine").sha256 == before
    (tmp_path / "helper.py").write_text("x = 2\n")
    assert registry.find(f"{alone}:Mine").sha256 != before


def test_a_method_on_top_of_another_inherits_from_it() -> None:
    found = registry.find("supershaper+hand-designed-kd")
    assert found.name == "supershaper+hand-designed-kd"
    assert found.follows == "supershaper" and found.inherits
    assert found.source == registry.find("hand-designed-kd").source
    assert registry.find("hat+scratch+scratch").follows == "hat+scratch"
    with pytest.raises(UsageError, match="'hat\\+supershaper': supershaper does not build on another"):
        registry.find("hat+supershaper")
    with pytest.raises(UsageError, match="no method 'hot'. Did you mean 'hat'"):
        registry.find("hot+scratch")


def test_planning_imports_neither_torch_nor_methods():
    code = (
        "import sys; from benchmarks import registry; from benchmarks.cli import main\n"
        "from benchmarks.runs import plan; registry.methods()\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'numpy', 'baselines.hat', 'mos.method'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_trials_are_read_without_running_the_file_and_are_literal(tmp_path: Path):
    file = tmp_path / "tuned.py"
    body = "raise RuntimeError\nclass Tuned(api.Method):\n    name = 'tuned'\n    trials = {}\n"
    file.write_text(body.format("({'after': 'scratch'}, {'after': 'continue', 'n': 2})"))
    assert registry.find(f"{file}:Tuned").trials == ({"after": "scratch"}, {"after": "continue", "n": 2})
    for wrong in ("tuple(range(3))", "({'a': 1}, 2)", "({1: 2},)", "7", "({'a': {1, 2}},)"):
        file.write_text(body.format(wrong))
        with pytest.raises(UsageError, match="line 4: trials must be a literal tuple"):
            registry.find(f"{file}:Tuned")


def test_the_files_and_imports_of_a_method(mine: Path):
    assert code_files.sources(f"{mine}:Mine") == {"mine": mine}
    assert class_facts.imports(mine) == ["benchmarks.api", "benchmarks.api.Method"]
    assert set(code_files.sources("mos.method:MosNeuron")) == {"mos", "mos.method", "mos.mixture"}


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("./nothing:Nothing", "./nothing.py:Nothing"),
        ("nothing:Nothing", "nothing.py:Nothing"),
        ("./nothing", "./nothing.py:Class"),
    ],
)
def test_a_file_without_its_ending_gets_the_word_to_write(word: str, written: str):
    with pytest.raises(UsageError, match=f"is named with its ending .py: write {written}$"):
        registry.find(word)
