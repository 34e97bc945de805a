"""Modules that unit tests mirror: ``test_<module>.py`` or ``test_<module>_<subject>.py`` of a package."""

from __future__ import annotations

from pathlib import Path

from tests import ROOT


def mirrored(test: Path, root: Path = ROOT) -> Path | None:
    """Return the module or package that a file of tests mirrors; None if there is none of its name.

    Args:
        test: path below ``tests/unit``. The longest name counts: ``test_bert_classifier.py`` is of
            ``bert_classifier.py``, although there is a ``bert.py``.
        root: the project's top.
    """
    words = test.stem.removeprefix("test_").split("_")
    for count in range(len(words), 0, -1):
        base = test.parent / "_".join(words[:count])
        for module in (base.with_suffix(".py"), base):
            for path in (module, "tests" / module):
                if (root / path).is_file() or (ROOT / path / "__init__.py").is_file():
                    return path
    return None


def tests_of(module: Path, root: Path = ROOT) -> list[Path]:
    """Return the files of tests that mirror a module, from the project's top."""
    folder = root / "tests" / "unit" / module.parent
    files = sorted(folder.glob("test_*.py"))
    below = [path.relative_to(root / "tests" / "unit") for path in files]
    return [Path("tests", "unit", path) for path in below if mirrored(path, root) == module]
