"""Golden files: expected output as text, in ``tests/golden``.

After an intended change write them again, and read the difference before it is committed::

    REGENERATE_GOLDEN=1 python -m pytest tests/unit/benchmarks/cli
    git diff tests/golden
"""

import os

from tests import ROOT

FOLDER = ROOT / "tests" / "golden"
REGENERATE = "REGENERATE_GOLDEN"


def require_golden(name: str, text: str) -> None:
    """Compare a text with the golden file ``name``, or write the file where ``REGENERATE_GOLDEN`` is set."""
    path = FOLDER / name
    if os.environ.get(REGENERATE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.is_file(), f"no golden file {name}: run the test again with {REGENERATE}=1"
    assert text == path.read_text(), f"not as in tests/golden/{name}; if meant, run again with {REGENERATE}=1"
