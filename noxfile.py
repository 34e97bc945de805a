"""Sessions of nox: every way to run things. ``nox -l`` lists them; arguments after ``--`` go to the command.

All sessions share one environment, ``.nox/env``, made by the session of that name from
constraints.txt and used again as long as neither that file nor pyproject.toml changes. Only fairseq,
whose requirements no resolver can meet any more, has one of its own beside it.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["tests", "lint", "types"]

ROOT = Path(__file__).resolve().parent
REQUIREMENTS = ("pyproject.toml", "constraints.txt")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
"""Two-threaded processes that share two cores run many times slower than one-threaded ones."""

FAIRSEQ_NEEDS = (
    "torch",
    "numpy",
    "hydra-core>=1.3,<1.4",
    "omegaconf>=2.3,<2.4",
    "bitarray",
    "regex",
    "sacrebleu",
    "tqdm",
)


def envdir(session: nox.Session) -> Path:
    """Return the folder of the shared environment."""
    return Path(session.cache_dir).parent / "env"


def run(
    session: nox.Session,
    command: str,
    *arguments: str,
    env: dict[str, str] | None = None,
    success_codes: tuple[int, ...] = (0,),
) -> None:
    """Run a command of the shared environment; Ctrl-C leaves it time to write its checkpoint."""
    bin = envdir(session) / "bin"
    path = f"{bin}{os.pathsep}{os.environ.get('PATH', '')}"
    session.run(
        str(bin / command),
        *arguments,
        env={"PATH": path, "VIRTUAL_ENV": str(bin.parent), **(env or {})},
        external=True,
        success_codes=success_codes,
        interrupt_timeout=30,
        terminate_timeout=10,
    )


def same_python() -> bool:
    """Return False if the environment was made for another Python than the one that runs nox."""
    about = ROOT / ".nox" / "env" / "pyvenv.cfg"
    return not about.is_file() or f" {platform.python_version()}" in about.read_text()


@nox.session(reuse_venv=same_python())
def env(session: nox.Session) -> None:
    """Install the environment that all other sessions run in, unless it is up to date."""
    package = ".[browser,ctranslate2,docs,huggingface,japanese,lint,onnx,openvino,parquet,test]"
    digest = hashlib.sha256(f"{ROOT} {package}".encode())
    for name in REQUIREMENTS:
        digest.update((ROOT / name).read_bytes())
    stamp = envdir(session) / "installed.sha256"
    if stamp.is_file() and stamp.read_text() == digest.hexdigest():
        session.log("up to date with " + " and ".join(REQUIREMENTS))
        return
    stamp.unlink(missing_ok=True)
    find_links = {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}  # for `nox -db uv`; pip has its own
    session.install("--constraint", "constraints.txt", "--editable", package, env=find_links)
    stamp.write_text(digest.hexdigest())


@nox.session(venv_backend="none", requires=["env"])
def tests(session: nox.Session) -> None:
    """Run all tests but the slow ones, a file at a time on each of two processors."""
    parallel = ("--numprocesses=2", "--dist=loadfile")
    run(session, "python", "-m", "pytest", *parallel, *session.posargs, env=ONE_THREAD)


@nox.session(venv_backend="none", requires=["env"])
def slow(session: nox.Session) -> None:
    """Run the tests of more than 10 s each."""
    run(session, "python", "-m", "pytest", "-m", "slow", *session.posargs, env=ONE_THREAD)


@nox.session(venv_backend="none", requires=["env"])
def browser(session: nox.Session) -> None:
    """Test the leaderboard's site in headless Chromium, which must be on this machine."""
    run(session, "python", "-m", "pytest", "-m", "browser", *session.posargs, env=ONE_THREAD)


@nox.session(venv_backend="none", requires=["env"])
def docs(session: nox.Session) -> None:
    """Build the documentation, execute all that it shows, check its links: ``-- [FOLDER]`` names where to."""
    out = str(Path(session.posargs[0] if session.posargs else ROOT / "results" / "local" / "docs").resolve())
    trees = str(Path(session.cache_dir) / "docs")
    strict = ("-W", "--keep-going", "-n")
    run(session, "sphinx-build", "-q", *strict, "-d", trees, "docs", out, env=ONE_THREAD)
    pages = {"SUPERNET_BENCH_DOCS_HTML": out}
    parallel = ("--numprocesses=2", "--dist=loadfile")
    run(session, "python", "-m", "pytest", *parallel, "-m", "docs", "tests/docs", env=ONE_THREAD | pages)


@nox.session(reuse_venv=same_python(), requires=["env"])
def fairseq(session: nox.Session) -> None:
    """Test the exchange with fairseq against fairseq 0.12.2 itself, installed for this session alone."""
    find_links = {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
    session.install("--constraint", "constraints.txt", *FAIRSEQ_NEEDS, env=find_links)
    session.install("--no-deps", "--no-cache-dir", "fairseq==0.12.2", env=find_links)
    its = {"SUPERNET_BENCH_FAIRSEQ": str(Path(session.bin) / "python")}
    run(
        session,
        "python",
        "-m",
        "pytest",
        "-m",
        "fairseq",
        "tests/fairseq",
        *session.posargs,
        env=ONE_THREAD | its,
    )


@nox.session(venv_backend="none", requires=["env"])
def lint(session: nox.Session) -> None:
    """Check style and import contracts."""
    run(session, "ruff", "check", ".")
    run(session, "lint-imports", "--no-cache")


@nox.session(venv_backend="none", requires=["env"])
def types(session: nox.Session) -> None:
    """Check the types of the harness, strictly."""
    run(session, "mypy", *session.posargs)


@nox.session(name="reproduce-mt", venv_backend="none", requires=["env"])
def reproduce_mt(session: nox.Session) -> None:
    """Compare HAT with mixture-of-supernets on machine translation: ``supernet-bench run mt``."""
    run(session, "supernet-bench", "run", "mt", *session.posargs)


@nox.session(name="reproduce-bert", venv_backend="none", requires=["env"])
def reproduce_bert(session: nox.Session) -> None:
    """Compare SuperShaper, NAS-BERT, AutoDistil and mixtures on masked words: ``supernet-bench run bert``."""
    run(session, "supernet-bench", "run", "bert", *session.posargs)


@nox.session(name="reproduce-simq", venv_backend="none", requires=["env"])
def reproduce_simq(session: nox.Session) -> None:
    """Compare joint and sequential searches of architecture and precision: ``supernet-bench run simq``."""
    run(session, "supernet-bench", "run", "simq", *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def leaderboard(session: nox.Session) -> None:
    """Rebuild the leaderboard from results/records; ``-- --check`` only checks that it is current."""
    run(session, "supernet-bench", "leaderboard", *session.posargs, env={"MPLBACKEND": "Agg"})


@nox.session(venv_backend="none", requires=["env"])
def verify(session: nox.Session) -> None:
    """Run a published record again: ``-- RECORD``, or a smoke record drawn at random."""
    # Drawn at random it is a check of the code: a latency alone (3), which the machine decides, is shown.
    codes = (0,) if session.posargs else (0, 3)
    run(session, "supernet-bench", "verify", *session.posargs, success_codes=codes)


@nox.session(venv_backend="none", requires=["env"])
def mutants(session: nox.Session) -> None:
    """Test the core's tests by mutants: ``-- [--mutants N] [--seed S] [MODULE...]``; see docs/house.md."""
    run(session, "python", "-m", "tests.mutants", *session.posargs, env=ONE_THREAD)


@nox.session(venv_backend="none", requires=["env"])
def crash(session: nox.Session) -> None:
    """Kill a real command at random, 200 times, and compare its records: ``-- [--kills N] [--seed S]``."""
    out = "--out=results/robustness.json"
    run(session, "python", "-m", "tests.robustness.crash", out, *session.posargs, env=ONE_THREAD)


@nox.session(venv_backend="none", requires=["env"])
def fuzz(session: nox.Session) -> None:
    """Give 100,000 mutated files to their readers: ``-- [--inputs N] [--seed S] [--kind KIND]``."""
    out = "--out=results/robustness.json"
    run(session, "python", "-m", "tests.robustness.fuzz", out, *session.posargs, env=ONE_THREAD)


@nox.session(venv_backend="none", requires=["env"])
def bench(session: nox.Session) -> None:
    """Measure speed, each figure a ratio inside one run.

    Arguments after ``--`` go to tests/bench/speed.py and tests/bench/pretraining.py.
    """
    run(session, "python", "-m", "tests.bench.speed", *session.posargs)
    run(session, "python", "-m", "tests.bench.pretraining", *session.posargs)
    run(session, "python", "-m", "tests.bench.training_profile")
    run(session, "python", "-m", "tests.bench.decoding")
    run(session, "python", "-m", "tests.bench.policies")
    run(session, "python", "-m", "tests.bench.harness")
    run(session, "python", "-m", "tests.bench.contention")
    run(session, "python", "-m", "tests.bench.memory")
    run(session, "python", "-m", "tests.bench.leaderboard")
