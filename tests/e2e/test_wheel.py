"""An installed release in a project with packages of the same names: every process takes ours."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.unit.test_repository import ROOT, committed

MINE = """
from supernet_bench import Method


class Mine(Method):
    name = "mine"

    def search(self, lab):
        from supernet.train import SinglePath, Trainer

        net = Trainer(lab.supernet(), lab.recipe, SinglePath(), lab.seed).fit(lab.train_batches())
        for limit in lab.limits:
            yield lab.candidate(net, lab.space.smallest(), target=limit)
"""


@pytest.mark.slow
def test_a_release_runs_beside_a_projects_own_benchmarks(tmp_path: Path) -> None:
    import shutil

    tree, out, site, project = (tmp_path / name for name in ("tree", "out", "site", "project"))
    out.mkdir()
    for path in committed():
        target = tree / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, check=True)
    zipfile.ZipFile(next(out.iterdir())).extractall(site)
    for name in ("benchmarks", "supernet"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text("raise RuntimeError('not to be executed')\n")
    (project / "mine.py").write_text(MINE)

    def command(*words: str) -> str:
        # As the installed script does it: the folder where it is typed is not on the path.
        code = f"import sys; sys.path.insert(0, {str(site)!r}); from benchmarks.cli.main import main; main()"
        call = [sys.executable, "-P", "-c", code.replace("main()", f"sys.exit(main({list(words)!r}))")]
        env = {**os.environ, "PYTHONPATH": "", "SUPERNET_BENCH_COMMIT": "", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(call, cwd=project, capture_output=True, text=True, timeout=500, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command("run", "mt", "--tier", "check", "--methods", "./mine.py:Mine")
    assert len([*project.glob("results/local/mt-check/records/*/*/mine/*.json")]) == 1
    assert "runs are published ones" in command(
        "compare", "hat", "mos-neuron", "--published", "--tier", "small"
    )
