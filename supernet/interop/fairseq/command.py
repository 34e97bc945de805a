"""Programs of fairseq, run by ``shim.py`` in the environment that has fairseq."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "SUPERNET_BENCH_FAIRSEQ"
"""Environment variable with the Python interpreter of that environment; default: this interpreter."""
INSTALL = (
    'python3 -m venv fairseq-env && fairseq-env/bin/pip install "torch==2.13.0" numpy "hydra-core>=1.3,<1.4"'
    ' "omegaconf>=2.3,<2.4" bitarray regex sacrebleu tqdm;\n'
    f"fairseq-env/bin/pip install --no-deps fairseq==0.12.2 && export {VARIABLE}=$PWD/fairseq-env/bin/python"
)
"""Commands that install fairseq. Two lines, since its own requirements cannot be resolved any more."""
SHIM = Path(__file__).with_name("shim.py")
ORPHANED = "SUPERNET_BENCH_ENDS_WITH_PARENT"
"""Environment variable that makes the shim end with its parent process, however that one ends."""
PROBE = "import importlib.util as u, sys; sys.exit(u.find_spec('fairseq') is None)"


class FairseqFailedError(RuntimeError):
    """A program of fairseq ended with an error; the message quotes the end of its output."""


def interpreter() -> str:
    """Return the Python interpreter that has fairseq.

    Raises:
        LookupError: there is none; the message names the way to get one.
    """
    python = os.environ.get(VARIABLE) or sys.executable
    try:
        installed = (
            subprocess.run([python, "-P", "-c", PROBE], capture_output=True, timeout=60).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        installed = False
    if installed:
        return python
    where = f"{VARIABLE}={python}" if VARIABLE in os.environ else f"{python}; {VARIABLE} is not set"
    raise LookupError(
        f"fairseq 0.12.2 is not installed ({where}). Two lines install it; --fresh runs what was skipped:\n"
        f"{INSTALL}"
    )


@contextmanager
def running(program: str, arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``fairseq-train`` or another program, with its output in ``log``; it ends with the block.

    The program gets no Ctrl-C from the terminal: its parent decides when it ends.

    Raises:
        LookupError: fairseq is not installed.
        FairseqFailedError: it ended with an error.
    """
    python = interpreter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-P", str(SHIM), program, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, ORPHANED: "1", "PYTHONPATH": ""},
        )
        try:
            yield process
            if code := process.wait():
                last_lines = log.read_text(errors="replace").splitlines()[-3:]
                raise FairseqFailedError(
                    f"{program} ended with exit code {code}: {' / '.join(last_lines)[-500:]}"
                    f" (all of it: {log})"
                )
        finally:
            process.kill()
            process.wait()


def run(program: str, arguments: Sequence[str], log: Path) -> str:
    """Run a program to its end; return its output."""
    with running(program, arguments, log):
        pass
    return log.read_text(errors="replace")
