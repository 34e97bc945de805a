"""An installed release in a project with packages of the same names: commands work or say what they need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.test_repository import ROOT, committed

MINE = """
from supernet_bench import Method


class Mine(Method):
    name = "mine"
    url = "https://example.org/mine.py"

    def search(self, lab):
        from supernet.train import SinglePath, Trainer

        net = Trainer(lab.supernet(), lab.recipe, SinglePath(), lab.seed).fit(lab.train_batches())
        for limit in lab.limits:
            yield lab.candidate(net, lab.space.smallest(), target=limit)
"""
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a wheel of the committed files into a fresh environment; its dependencies are this one's."""
    base = tmp_path_factory.mktemp("wheel")
    tree, out = base / "tree", base / "out"
    out.mkdir()
    for path in committed():
        target = tree / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, check=True)
    shutil.rmtree(tree)
    venv.create(base / "venv", with_pip=True)
    python = base / "venv" / "bin" / "python"
    find = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    own = subprocess.run([python, "-c", find], capture_output=True, text=True, check=True).stdout.strip()
    # A folder that a .pth file adds has its own .pth files unread: an editable install there is not seen.
    Path(own, "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install = [python, "-m", "pip", "install", "--no-deps", "--no-index", next(out.iterdir())]
    subprocess.run(install, capture_output=True, check=True)
    return base / "venv" / "bin"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make somebody's repository with packages of our names."""
    for name in ("benchmarks", "supernet"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not to be executed')\n")
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


@pytest.fixture
def command(environment: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Return a function that runs a program of the environment in the project."""
    home = tmp_path_factory.mktemp("home")
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "XDG_CACHE_HOME")}
    env |= {"HOME": str(home), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "SUPERNET_BENCH_COMMIT": ""}

    def run(*words: str, program: str = "supernet-bench") -> subprocess.CompletedProcess[str]:
        call = [environment / program, *words]
        done = subprocess.run(call, cwd=project, capture_output=True, text=True, timeout=550, env=env)
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return done

    return run


PUBLISHED_ID = "521b91909b0d36ec"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("list methods", 0, "mos-neuron"),
        ("list methods --json", 0, '"hat"'),
        ("list tasks", 0, "mt-multi30k-en-de"),
        ("profiles", 0, "nvidia-h100.v1"),
        ("completion zsh", 0, "bashcompinit"),
        ("claims", 0, "mos-gap-exists"),
        ("compare hat mos-neuron --published --tier small", 0, "published runs: 24 of 24"),
        ("compare hat mos-neuron", 2, "run it: supernet-bench run"),
        ("report", 2, "make some: supernet-bench run"),
        ("leaderboard", 2, "supernet-bench published results"),
        ("verify 0000000000000000", 2, "no record starts with 0000000000000000"),
        (f"export {PUBLISHED_ID} --to onnx", 2, "supernet-bench run bert --task bert-enwiki"),
        ("validate results/records", 2, "give a record's file, or a folder"),
        ("plan mt --tier check --methods ./mine.py:Mine", 0, "1 run"),
        ("plan mt --tier check --methods ./nine.py:Mine", 2, "nine.py"),
        ("pack mt", 2, "no runs to pack"),
        ("study break-even", 0, "breaks even"),
    ],
)  # fmt: skip
def test_every_command_works_outside_a_clone_or_names_its_requirement(
    command: Command, words: str, code: int, text: str
) -> None:
    done = command(*words.split())
    assert (done.returncode, text in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


@pytest.mark.slow
def test_python_reads_the_published_records(command: Command) -> None:
    code = (
        "from supernet_bench import results; print(len(results.records()) > 100, len(results.frame()) > 300)"
    )
    assert command("-P", "-c", code, program="python").stdout.split() == ["True", "True"]
    code = "from supernet_bench import Method; print(Method.__module__)"
    assert command("-c", code, program="python").returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_of_a_release_on_an_own_machine_is_published(command: Command, project: Path) -> None:
    written = json.loads(command("profiles", "new", "--json").stdout)
    flags = "--tier", "check", "--profile", f"./{written['file']}"
    done = command("run", "mt", *flags, "--methods", "./mine.py:Mine")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = project.glob("results/local/mt-check/records/*/*/mine/*.json")
    record = json.loads(path.read_text())
    assert record["spec"]["profile"] == written["profile"]
    assert record["provenance"]["commit"] is None
    assert record["provenance"]["package"]["version"]
    assert command("published").returncode == 0  # beside results/local
    assert command("validate", str(path)).returncode == 0
    below = path.relative_to(project / "results" / "local" / "mt-check")
    (project / "results" / below).parent.mkdir(parents=True)
    shutil.copy(path, project / "results" / below)
    assert command("validate", "results/records").returncode == 0
    assert command("leaderboard").returncode == 0
    assert f"check, {written['profile']}" in (project / "results" / "LEADERBOARD.md").read_text()
    assert command("leaderboard", "--check").returncode == 0
