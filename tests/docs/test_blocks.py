"""Every block of the pages is executed: commands, Python, and files that users write."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.cli import configuration, main
from tests import ROOT
from tests.unit.benchmarks.tasks.folders import sentences

pytestmark = pytest.mark.docs
TEXTS = (
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)
PROGRAMS = ("supernet-bench", "nox", "tox", "python", "python3")
RECORD = "results/records/TASK/PROFILE/METHOD/ID.json"
RUNS = {"reproduce-mt": "mt", "reproduce-bert": "bert", "reproduce-simq": "simq"}
"""Session of nox -> suite of the command that it runs."""
NOT_EXECUTED = {
    "verify": "trains the row again; `nox -s verify` does, in CI",
    "work": "a worker trains until its study is done; tests/e2e/test_work.py runs some",
    "test-task": "nine trainings; tests/e2e has it",
    "export": "a published record's weights are on nobody's machine; docs/use.md exports a run's",
    "prepare": "learns vocabularies of published data, which need a network or --data-dir",
    "profiles --latency-table": "needs a table that a user measured",
    "status": "needs a study that runs; with --watch it never ends",
    "report": "of a folder that is another machine's",
}
"""Commands whose arguments are parsed and not executed, with the reason."""


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """Every fenced block of a page but the cells of notebooks, which the build executes, and directives."""
    text = (ROOT / page).read_text()
    found = re.finditer(r"^( *)```([^\n`]*)\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    return [
        Block(
            page, text[: m.start()].count("\n") + 1, m[2].strip(), re.sub(rf"^{m[1]}", "", m[3], flags=re.M)
        )
        for m in found
        if not m[2].startswith("{")
    ]


def commands() -> list[tuple[str, str]]:
    """First place and text of every different command that the pages show."""
    shown: dict[str, str] = {}
    for page in TEXTS:
        for block in blocks(page):
            for number, line in enumerate(block.text.splitlines(), block.line + 1):
                for part in re.sub(r"\s+#.*", "", line).split("&&"):
                    if part.split() and part.split()[0] in PROGRAMS:
                        shown.setdefault(part.strip(), f"{page}:{number}")
    return [(where, command) for command, where in shown.items()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the pages assume a user to have."""
    folder = tmp_path_factory.mktemp("user")
    (readme,) = (block.text for block in blocks("README.md") if block.language == "python")
    (folder / "mine.py").write_text(readme)
    sentences.write(folder / "pairs-fr")
    sentences.write(folder / "pairs-ja", "en", "ja")
    documents = folder / "documents"
    documents.mkdir()
    text = [
        f"{a} {b}\n" + ("\n" if n % 4 == 3 else "") for n, (a, b) in enumerate(sentences.pairs("en", "de"))
    ]
    (documents / "train.txt").write_text("".join(text * 40))
    (documents / "valid.txt").write_text("".join(text[:40]))
    (documents / "test.txt").write_text("".join(text[40:80]))
    rng = np.random.default_rng(0)
    for name in ("round", "square"):
        (folder / "images" / name).mkdir(parents=True)
        for n in range(90):  # a batch of tier small has 128
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{n}.png")
    (study,) = (block.text for block in blocks("docs/scaling.md") if "suite: mt" in block.text)
    (folder / "study.yml").write_text(re.sub(r"(?m)^(profile|data-dir|results):.*\n", "", study))
    (folder / "locks").mkdir()
    (folder / "results").mkdir()
    (folder / "results" / "records").symlink_to(ROOT / "results" / "records")
    return folder


def arguments(command: str, place: Path) -> list[str]:
    """Words of a command with a user's values in the places of placeholders."""
    words = shlex.split(command)
    pairs = "pairs-ja" if "ja" in words else "pairs-fr"
    record = next((ROOT / "results" / "records").rglob("*.json"))
    values = {
        r"text:(FOLDER|DIR)": f"text:{place / pairs}",
        r"mlm:FOLDER": f"mlm:{place / 'documents'}",
        r"images:FOLDER": f"images:{place / 'images'}",
        r"DIR|/data": str(place),
        re.escape(RECORD): str(record),
        r"/shared/results": str(place / "results"),
        r"mine": "./mine.py:Mine",
    }
    for pattern, value in values.items():
        words = [value if re.fullmatch(pattern, word) else word for word in words]
    return [word for word in words if word != "..."]


def as_command(words: list[str]) -> list[str]:
    """The command of ours that a session of nox runs, or the words themselves."""
    if words[0] == "nox" and words[2] in RUNS:
        return ["supernet-bench", "run", RUNS[words[2]], *words[4:]]
    return words


@pytest.mark.parametrize(("where", "command"), commands())
def test_a_command_that_a_page_shows(where: str, command: str, place: Path, tmp_path: Path) -> None:
    words = as_command(arguments(command, place))
    if words[0] != "supernet-bench":
        check_tool(words)
        return
    name = words[1]
    if "--profile" in words and not Path(words[words.index("--profile") + 1]).exists():
        words[words.index("--profile") + 1] = "cpu-2core-avx2.v1"  # a file that `profiles new` writes
    reason = next((key for key in NOT_EXECUTED if set(key.split()) <= set(words[1:])), None)
    if reason:
        main.parser([name]).parse_args(words[1:])
        return
    if name == "run":
        words.append("--dry-run")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "SUPERNET_BENCH_RESULTS": str(place / "local"),
        "SUPERNET_BENCH_LOCKS": str(place / "locks"),  # no timing here is published: none waits for another's
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    program = [sys.executable, "-m", "benchmarks", *words[1:]]
    ended = subprocess.run(program, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    no_records = name == "compare" and "--published" not in words and "no record" in ended.stderr
    assert ended.returncode == 0 or no_records, f"{where}: {command}\n{ended.stdout}{ended.stderr}"


def check_tool(words: list[str]) -> None:
    """Check that a session of nox exists, and that a module of ours can be run."""
    sessions = re.findall(
        r'(?m)^@nox\.session\((?:name="([\w-]+)")?.*?\ndef (\w+)', (ROOT / "noxfile.py").read_text()
    )
    known = {name or function for name, function in sessions}
    if words[0] == "nox":
        rest = words[2 : words.index("--")] if "--" in words else words[2:]
        assert set(rest) <= known, words
    elif words[0].startswith("python") and words[1] == "-m" and words[2] != "pip":
        assert shutil.which(words[2]) or (ROOT / f"{words[2].replace('.', '/')}.py").exists(), words


def test_each_reason_has_its_command() -> None:
    shown = [set(command.split()) for _, command in commands()]
    for key in NOT_EXECUTED:
        assert any(set(key.split()) <= words for words in shown), f"no page shows {key}: take it out"


PYTHON = [(page, n) for page in TEXTS for n, b in enumerate(blocks(page)) if b.language == "python"]


@pytest.mark.parametrize("page", sorted({page for page, _ in PYTHON}))
def test_the_python_of_a_page(page: str, tmp_path: Path) -> None:
    """Blocks of one page build upon each other, as a reader types them."""
    texts = [block.text for block in blocks(page) if block.language == "python"]
    if page == "CONTRIBUTING.md":  # parts of a class body
        texts = ["from benchmarks.api import Need, Option", *texts]
    program = tmp_path / "page.py"
    program.write_text("\n".join(texts))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, f"{page}\n{ended.stderr}"


def test_the_second_method_of_the_pages_keeps_the_rules(tmp_path: Path) -> None:
    (text,) = (b.text for b in blocks("docs/method.md") if "class Halving" in b.text)
    (tmp_path / "halving.py").write_text(text)
    (tmp_path / "locks").mkdir()
    program = [sys.executable, "-m", "benchmarks", "test-method", "./halving.py:Halving"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SUPERNET_BENCH_RESULTS": str(tmp_path / "local")}
    environment["SUPERNET_BENCH_LOCKS"] = str(tmp_path / "locks")
    ended = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_files_that_users_write(tmp_path: Path) -> None:
    languages = {"toml": 0, "yaml": 0}
    for page in TEXTS:
        for block in blocks(page):
            if block.language == "toml":
                tomllib.loads(block.text)
            elif block.language == "yaml":
                assert yaml.safe_load(block.text)
                if "suite:" in block.text:
                    (tmp_path / "study.yml").write_text(block.text)
                    configuration.read(tmp_path / "study.yml")
            else:
                continue
            languages[block.language] += 1
    assert all(languages.values())


def test_every_language_of_a_block_is_handled() -> None:
    known = {"", "python", "toml", "yaml"}
    others = {
        f"{b.page}:{b.line} {b.language}" for page in TEXTS for b in blocks(page) if b.language not in known
    }
    assert not others, "no test executes these: " + ", ".join(sorted(others))
