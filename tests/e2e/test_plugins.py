"""Other people's methods: an installed package, the README's file and the examples, on the real command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))
LONGEST = 30
"""Lines of an example."""


def readme_example() -> str:
    """The method that the README shows under "Your method"."""
    section = (REPOSITORY / "README.md").read_text().partition("## Your method")[2]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]


@pytest.fixture
def installed(environment, tmp_path: Path) -> dict[str, str]:
    """The environment with ``stranger-methods`` built from a copy and installed by pip, without a network."""
    shutil.copytree(HERE / "package", tmp_path / "source")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    pip += ["--no-build-isolation", "--target", str(site), str(tmp_path / "source")]
    done = subprocess.run(pip, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(tmp_path / "source")
    return {"PYTHONPATH": os.pathsep.join([str(site), environment["PYTHONPATH"]])}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_takes_the_api_alone(path: Path):
    from benchmarks.class_facts import imports

    assert len(path.read_text().splitlines()) <= LONGEST
    harness = [name for name in imports(path) if name.startswith("benchmarks")]
    assert all(name.startswith("benchmarks.api") for name in harness)


@pytest.mark.slow
def test_a_package_of_ones_own_and_the_readmes_file_are_run_and_compared(bench, installed, tmp_path: Path):
    (tmp_path / "mine.py").write_text(readme_example())
    rows = {row["name"]: row for row in json.loads(bench("list", "methods", "--json", **installed).stdout)}
    assert (rows["stranger"]["from"], rows["stranger"]["version"]) == ("stranger-methods", "2")
    tried = bench("test-method", "stranger", "./mine.py:Mine", timeout=500, **installed)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert tried.stdout.count("all checks passed") == 2

    words = ("run", "mt", "--tier", "check", "--profile", "undeclared")
    done = bench(*words, "--methods", "stranger,./mine.py:Mine,hat", timeout=500, **installed)
    assert done.returncode == 0, done.stdout + done.stderr
    words = ("compare", "stranger", "./mine.py:Mine", "hat", "--tier", "check")
    compared = bench(*words, **installed)
    assert compared.returncode == 0, compared.stderr
    for method in ("stranger", "mine", "hat"):
        row = rf"^ *{method} .*\d+\.\d \[\d+\.\d, \d+\.\d\]"
        assert re.search(row, compared.stdout, re.MULTILINE), compared.stdout
    budget = "24,000 tokens | 12 evaluations | 8 probes | 120 seconds"
    assert f"equal budgets: all 3 runs were allowed {budget}, under self tuning" in compared.stdout
    table = json.loads(bench(*words, "--json", **installed).stdout)
    assert {row["method"] for row in table["rows"]} == {"stranger", "mine", "hat"}

    # A change in any module of the package is another method: its old records no longer stand for it.
    module = next((tmp_path / "site").rglob("choice.py"))
    module.write_text(module.read_text() + "\n# changed\n")
    refused = bench("compare", "stranger", "hat", "--tier", "check", **installed)
    assert refused.returncode == 2 and "of another version of its file" in refused.stderr


@pytest.mark.slow
def test_the_examples_pass(bench):
    classes = [re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE)[0] for path in EXAMPLES]
    words = [f"{path}:{name}" for path, name in zip(EXAMPLES, classes, strict=True)]
    done = bench("test-method", *words, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("all checks passed") == len(EXAMPLES)
