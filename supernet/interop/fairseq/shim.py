"""fairseq 0.12.2 on today's Python, PyTorch and NumPy: ``python -P shim.py fairseq-train ...``.

Standard library only: it runs in fairseq's environment, in which this project is not installed. Of
fairseq's programs: ``fairseq-train``, ``fairseq-generate``, ``fairseq-preprocess``, ``fairseq-interactive``.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from typing import Any

PROGRAMS = {
    f"fairseq-{name}": f"fairseq_cli.{name}" for name in ("train", "generate", "preprocess", "interactive")
}
HASHED = ("fairseq", "hydra", "omegaconf")


def prepare() -> None:
    """Patch Python, NumPy and PyTorch so that fairseq can be imported; call it before fairseq's first
    import."""
    # It loads checkpoints whole, and executes what stands in them: give it only those that you made.
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    original: Any = dataclasses.dataclass

    def dataclass(cls: Any = None, /, **options: Any) -> Any:
        """Since Python 3.11 a default that cannot be hashed is refused; fairseq's configurations are such."""

        def make(owner: Any) -> Any:
            if owner.__module__.partition(".")[0] in HASHED and not options.get("frozen"):
                return original(owner, **{"unsafe_hash": True, **options})
            return original(owner, **options)

        return make if cls is None else make(cls)

    dataclasses.dataclass = dataclass
    import numpy as np

    for name, alias in (("float", float), ("int", int), ("bool", bool), ("object", object)):
        if name not in vars(np):
            setattr(np, name, alias)
    # Its shortcut through the encoder calls PyTorch by a signature that is gone.
    layers = importlib.import_module("fairseq.modules.transformer_layer")
    layers.TransformerEncoderLayerBase.can_use_fastpath = property(
        lambda layer: False, lambda layer, value: None
    )


def main() -> None:
    """Run the named program with the other arguments."""
    if len(sys.argv) < 2 or sys.argv[1] not in PROGRAMS:
        raise SystemExit(f"usage: shim.py {{{','.join(PROGRAMS)}}} ...")
    if os.environ.get("SUPERNET_BENCH_ENDS_WITH_PARENT"):
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of Linux
    sys.argv = sys.argv[1:]
    prepare()
    importlib.import_module(PROGRAMS[sys.argv[0]]).cli_main()


if __name__ == "__main__":
    main()
