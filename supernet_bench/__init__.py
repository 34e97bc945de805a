"""Public interface: what a method imports, and ``supernet_bench.results`` for records and tables.

A project may have a folder ``benchmarks`` of its own, which Python finds first. The names here are this
distribution's all the same.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def is_first() -> bool:
    """Return whether ``benchmarks`` is this distribution's package here; another one is not executed."""
    known = sys.modules.get("benchmarks")
    if known is not None:
        origin = known.__file__
    else:
        spec = importlib.util.find_spec("benchmarks")
        origin = None if spec is None else spec.origin
    return origin is not None and Path(origin).resolve() == ROOT / "benchmarks" / "__init__.py"


def _api() -> ModuleType:
    """Return ``benchmarks.api`` of this distribution, by its file if another package has its name."""
    if is_first():
        return importlib.import_module("benchmarks.api")
    name = f"{__name__}._api"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / "api.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look themselves up there
        spec.loader.exec_module(module)
    return sys.modules[name]


_names = _api()
Budget = _names.Budget
BudgetExhausted = _names.BudgetExhausted
Candidate = _names.Candidate
Checkpoint = _names.Checkpoint
Lab = _names.Lab
Measurement = _names.Measurement
Method = _names.Method
Need = _names.Need
Option = _names.Option
Skip = _names.Skip
TaskInfo = _names.TaskInfo
TrainBatches = _names.TrainBatches
UsageError = _names.UsageError
Window = _names.Window

__all__ = [
    "Budget", "BudgetExhausted", "Candidate", "Checkpoint", "Lab", "Measurement", "Method", "Need", "Option",
    "Skip", "TaskInfo", "TrainBatches", "UsageError", "Window",
]  # fmt: skip
