"""Start of a worker process: its modules and environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
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


INTERRUPTED = """
import signal, sys
from multiprocessing import forkserver
from pathlib import Path
from benchmarks.runs.executor import Executor

def nothing(job):
    pass

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: None)  # the command's own reaction is another matter
    print("starting", flush=True)
    executor = Executor()
    executor.warm_up()
    server = forkserver._forkserver._forkserver_pid
    sys.stdin.readline()
    worker = executor.start(nothing, {}, Path(sys.argv[1]))
    worker.join()
    assert forkserver._forkserver._forkserver_pid == server, "it had to be started again"
    sys.exit(worker.exitcode)
"""


def test_ctrl_c_while_the_server_starts_and_imports_is_the_commands_matter_alone(tmp_path: Path):
    (tmp_path / "code.py").write_text(INTERRUPTED)
    command = [sys.executable, str(tmp_path / "code.py"), str(tmp_path / "log.txt")]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    assert process.stdout is not None and process.stdout.readline() == "starting\n"
    for _ in range(100):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal: to the whole group
        time.sleep(0.02)
    assert process.communicate("go\n", timeout=120)[0] == "" and process.returncode == 0


ENDED = """
import os
from multiprocessing import forkserver
from benchmarks.runs import executor

executor.end_server()  # none is there yet
executor.Executor().warm_up()
executor.end_server()
_, status = os.waitpid(forkserver._forkserver._forkserver_pid, 0)
print(status)
"""


def test_the_server_ends_with_an_interrupted_command_also_while_it_imports():
    done = subprocess.run(
        [sys.executable, "-c", ENDED],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == f"{int(signal.SIGKILL)}\n"
