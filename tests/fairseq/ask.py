"""Answers of fairseq itself about a checkpoint or data, in its environment: ``ask.py SHIM WHAT ...``."""

import importlib.util
import sys

import numpy as np


def logits(checkpoint: str, data: str, tokens: str, out: str) -> None:
    """Logits of a checkpoint for the arrays ``source`` and ``target_in`` of a file."""
    import torch
    from fairseq import checkpoint_utils

    languages = {"data": data, "source_lang": "en", "target_lang": "de"}
    models, _, _ = checkpoint_utils.load_model_ensemble_and_task([checkpoint], arg_overrides=languages)
    with np.load(tokens) as given:
        source, target_in = (torch.from_numpy(given[name]) for name in ("source", "target_in"))
    with torch.no_grad():
        found, _ = models[0].eval()(source, (source != 1).sum(1), target_in)
    np.save(out, found.numpy())


def data(prefix: str, dictionary: str, out: str) -> None:
    """Symbols of a dictionary, tokens and lengths of a dataset."""
    from fairseq.data import Dictionary, data_utils

    symbols = Dictionary.load(dictionary)
    dataset = data_utils.load_indexed_dataset(prefix, symbols)
    if getattr(dataset, "supports_prefetch", False):
        dataset.prefetch(range(len(dataset)))
    rows = [dataset[i].numpy() for i in range(len(dataset))]
    lengths = [len(row) for row in rows]
    np.savez(out, tokens=np.concatenate(rows), lengths=lengths, symbols=np.array(symbols.symbols))


if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("shim", sys.argv[1])
    shim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shim)
    shim.prepare()
    {"logits": logits, "data": data}[sys.argv[2]](*sys.argv[3:])
