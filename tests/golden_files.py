"""Golden files: expected output as text, in ``tests/golden``.

After an intended change write them again, and read the difference before it is committed::

    REGENERATE_GOLDEN=1 python -m pytest tests/unit/benchmarks/cli
    git diff tests/golden
"""

import os

from tests import ROOT

FOLDER = ROOT / "tests" / "golden"
REGENERATE = "REGENERATE_GOLDEN"


def require_golden(name: str, text: str, *, words: bool = False) -> None:
    """Compare a text with the golden file ``name``, or write the file where ``REGENERATE_GOLDEN`` is set.

    Args:
        words: compare words in their order, not the white space between them.
    """
    path = FOLDER / name
    if os.environ.get(REGENERATE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.is_file(), f"no golden file {name}: run the test again with {REGENERATE}=1"
    expected = path.read_text()
    same = text.split() == expected.split() if words else text == expected
    assert same, f"not as in tests/golden/{name}; if meant, run again with {REGENERATE}=1"
