"""A study in the background, watched in a terminal until it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.test_work import STUDY

pytestmark = pytest.mark.slow
SCREEN = "\x1b[2J\x1b[H"
"""First characters of each screen of ``--watch``."""


def terminal(words, timeout, **how):
    """Return exit code and output of a command whose output is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, **how)
    os.close(theirs)
    parts, deadline = [], time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            parts.append(os.read(ours, 65536))
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
    return process.wait(30), b"".join(parts).decode()


def test_a_detached_study_is_watched_to_its_end(environment, command, tmp_path):
    (tmp_path / "study.yml").write_text(STUDY)
    how = {"cwd": tmp_path, "env": {**environment, "TINY_SLOW": "0.02"}}
    words = [*command, "run", "-C", "study.yml", "--detach", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, **how)
    assert done.returncode == 0, done.stderr
    launched = json.loads(done.stdout)
    assert os.getsid(launched["pid"]) == launched["pid"], "a signal of the terminal does not reach it"
    watch = [*command, "status", launched["study"], "--watch", "--every", "1", "--page", "live.html"]
    code, shown = terminal(watch, 600, **how)
    log = Path(launched["log"]).read_text()
    assert code == 0, shown + log
    looks = shown.split(SCREEN)[1:]
    assert len(looks) > 1 and "2 runs: " in looks[0] and "2 runs: 2 done" in looks[-1], shown
    assert any(re.search(r"tiny-good seed \d", look) for look in looks[:-1]), "a run in progress is shown"
    page = (tmp_path / "live.html").read_text()
    assert "2 runs: 2 done" in page and "http-equiv" not in page, "the last page reloads no more"
    assert "another supernet-bench" not in log and "Traceback" not in log


def test_a_watch_is_left_by_ctrl_c(environment, command, tmp_path):
    """Nothing works on the study, so that the watch would go on for ever."""
    (tmp_path / "study.yml").write_text(STUDY)
    ours, theirs = pty.openpty()
    words = [*command, "status", "study.yml", "--watch", "--every", "1", "--page", "live.html"]
    how = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
    process = subprocess.Popen(words, cwd=tmp_path, env=environment, **how)
    os.close(theirs)
    shown = b""
    while b"2 waiting" not in shown:
        shown += os.read(ours, 65536)
    assert 'http-equiv="refresh" content="2"' in (tmp_path / "live.html").read_text()
    process.send_signal(2)
    assert process.wait(60) == 130
    os.close(ours)
