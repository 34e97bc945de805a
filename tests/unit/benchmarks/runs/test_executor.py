"""Start of a worker process: its modules and environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

CODE = """
import json, os, sys
from pathlib import Path
from benchmarks.runs.executor import Executor

def told(job):
    Path(job["to"]).write_text(json.dumps(dict(os.environ)))

if __name__ == "__main__":
    worker = Executor().start(told, {"to": sys.argv[1]}, Path(sys.argv[1]).with_suffix(".log"))
    worker.join()
"""


@pytest.mark.parametrize(
    ("mine", "wanted"),
    [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_of_workers_soon_wait_asleep_unless_set_otherwise(tmp_path: Path, mine, wanted):
    (tmp_path / "code.py").write_text(CODE)
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    root = str(ROOT)
    command = [sys.executable, str(tmp_path / "code.py"), str(tmp_path / "found.json")]
    subprocess.run(command, env=kept | mine | {"PYTHONPATH": root}, check=True, timeout=120)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found.get("GOMP_SPINCOUNT") == wanted
    assert found["PYTHONHASHSEED"] == "0"
