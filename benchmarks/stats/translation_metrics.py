"""Further metrics of translations beside BLEU and chrF: TER, spBLEU and COMET.

Statistics are computed once a sentence; each test set, and all of them pooled, are sums over their sentences.
Nothing is downloaded: spBLEU and COMET are computed where their models lie on this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.stats import bleu
from benchmarks.stats.bleu import SEED, TOKENIZER, Scorer

SPBLEU = "flores200"
"""sacreBLEU's sentencepiece tokenizer of spBLEU (Goyal et al. 2022)."""
COMET = "SUPERNET_BENCH_COMET"
"""Environment variable that names a checkpoint of COMET (Rei et al. 2020), which ``comet-score`` reads."""


class Lines(NamedTuple):
    """Sentences of all test sets in raw text, in one order."""

    sources: Sequence[str]
    outputs: Sequence[str]
    references: Sequence[str]


def scorers(lines: Lines, tokenizer: str = TOKENIZER, seed: int = SEED) -> dict[str, Scorer]:
    """Return each metric that this machine has, as a function of a slice of the sentences.

    Args:
        lines: sentences of all test sets.
        tokenizer: sacreBLEU's of the target language; TER splits characters of languages without spaces.
        seed: of the bootstrap.
    """
    asian = tokenizer not in (TOKENIZER, "intl")
    metrics = {"ter": bleu.scorer(_ter_metric(asian), lines.outputs, lines.references, seed)}
    if spbleu_model().is_file():
        metrics["spbleu"] = bleu.bleu_scorer(lines.outputs, lines.references, seed, SPBLEU)
    if model := os.environ.get(COMET):
        try:
            values, recipe = comet(lines, Path(model))
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            print(f"COMET left out: {error}", file=sys.stderr)  # the others are worth a record without it
        else:
            metrics["comet"] = lambda part: bleu.mean(values[part], recipe, seed)
    return metrics


@cache
def _ter_metric(asian: bool) -> Callable[..., Any]:
    from sacrebleu.metrics.ter import TER

    # It splits characters as part of normalisation.
    return partial(TER, normalized=asian, asian_support=asian)


def spbleu_model() -> Path:
    """Return the file of spBLEU's vocabulary, where ``sacrebleu --tokenize flores200`` downloads it to."""
    from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
    from sacrebleu.utils import SACREBLEU_DIR

    return Path(SACREBLEU_DIR) / "models" / os.path.basename(SPM_MODELS[SPBLEU]["url"])


def comet(lines: Lines, model: Path) -> tuple[NDArray[np.float64], str]:
    """Return COMET times 100 of each sentence ``[n]``, and the recipe.

    ``comet-score`` has an environment of its own, because it needs an older NumPy than this program.

    Raises:
        ValueError: the model or ``comet-score`` is not here, or it did not give one score a sentence.
        subprocess.CalledProcessError: it failed.
    """
    command = shutil.which("comet-score")
    if command is None:
        raise ValueError("comet-score is not on PATH; install it: pipx install unbabel-comet")
    if not model.is_file():
        raise ValueError(f"{COMET}={model}: no such file")
    with TemporaryDirectory() as name:
        folder = Path(name)
        words = [command, "--model", str(model), "--gpus", "0", "--quiet"]
        for flag, texts in zip(("-s", "-t", "-r"), lines, strict=True):
            path = folder / flag.strip("-")
            flat = "".join(" ".join(text.splitlines()) + "\n" for text in texts)
            path.write_text(flat, encoding="utf-8")
            words += [flag, str(path)]
        subprocess.run([*words, "--to_json", str(folder / "scores")], check=True, stdout=subprocess.DEVNULL)
        try:
            (scored,) = json.loads((folder / "scores").read_text(encoding="utf-8")).values()
            values = np.array([100 * float(line["COMET"]) for line in scored])
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"scores of comet-score cannot be read: {error}") from None
    if len(values) != len(lines.outputs) or not np.isfinite(values).all():
        raise ValueError(f"{len(values)} scores of comet-score for {len(lines.outputs)} sentences")
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    return values, f"comet|model:{digest}|version:{_comet_version(Path(command))}"


def _comet_version(command: Path) -> str:
    """Return the version in the environment that a command belongs to; "unknown" if none stands there."""
    packages = command.resolve().parent.parent.glob("lib/python*/site-packages/unbabel_comet-*.dist-info")
    versions = [path.name.split("-")[1].removesuffix(".dist") for path in packages]
    return max(versions, default="unknown")
