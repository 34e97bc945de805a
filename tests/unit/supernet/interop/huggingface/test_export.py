"""Exported sub-networks in transformers, which is the oracle."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from supernet.train.finetune import Classifier
from tests.unit.supernet.interop.networks import (
    CASES,
    OWN,
    exported,
    of,
    text_family,
)

pytest.importorskip("transformers", reason="needs the extra huggingface")

from supernet.interop.huggingface import export


@pytest.mark.parametrize("name", CASES)
def test_a_folder_of_transformers_gives_the_logits_of_the_export(name, tmp_path):
    make, seed, edits, kind = CASES[name]
    family = make()
    module, about = exported(family, of(family, seed, **edits))
    model = export.to_huggingface(module, about)
    assert type(model).__name__.startswith("Supernet") == (kind == OWN)
    assert export.save(model, module, tmp_path) < export.CLOSE
    assert not list(tmp_path.glob("*.bin")) and not list(tmp_path.glob("*.py"))


@pytest.mark.parametrize("name", ["homogeneous", "bottleneck", "cells"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_fine_tuned_encoders_too_with_padding(name, outputs, tmp_path):
    make, seed, edits, kind = CASES[name]
    family = make()
    module, about = exported(family, of(family, seed, **edits))
    classifier = Classifier(module, outputs, 1).eval()
    with torch.no_grad():
        classifier.out.weight.mul_(50)  # untrained, it says nearly the same of everything
    model = export.to_huggingface(classifier, about)
    assert export.save(model, classifier, tmp_path) < export.CLOSE
    given = export.sample(classifier)
    blind = model(**{**given, "attention_mask": torch.ones_like(given["input_ids"])}).logits
    assert not torch.allclose(blind[0], model(**given).logits[0], atol=1e-4)  # the mask is heeded


def test_a_copy_that_differs_is_refused(tmp_path):
    family = text_family("bert-smoke")
    module, about = exported(family, of(family, 0))
    model = export.to_huggingface(module, about)
    next(module.parameters()).data.mul_(1.5)
    with pytest.raises(export.OutputMismatchError, match="differ by"):
        export.save(model, module, tmp_path)


def test_own_classes_load_in_a_process_that_imports_one_module(tmp_path):
    family = text_family("supershaper-smoke")
    module, about = exported(family, of(family, 3))
    export.save(export.to_huggingface(module, about), module, tmp_path)
    code = (
        "import sys, torch, supernet.interop.huggingface.automodels\nfrom transformers import"
        " AutoModelForMaskedLM\n"
        "model = AutoModelForMaskedLM.from_pretrained(sys.argv[1])\n"
        "print(model(torch.arange(5, 15)[None]).logits.double().sum().item())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert float(ran.stdout.split()[-1]) == pytest.approx(
        module(torch.arange(5, 15)[None]).double().sum().item()
    )
