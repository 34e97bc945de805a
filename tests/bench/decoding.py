"""Translation sentence by sentence against CTranslate2 and transformers: ``python -m tests.bench.decoding``.

One homogeneous network with random weights, three programs, beam 5, float32, equal threads. A network of
random weights never ends a sentence early, so that all three take the same steps. Sentences go in turns
through the programs: a machine that is shared or drifts moves all alike. Predicted for CTranslate2: a step
reads every decoder weight once, at this machine's copy rate; ours adds the time of its operators' calls.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from supernet.decode import translate
from supernet.interop import ctranslate2
from supernet.interop.huggingface.stock import fsmt
from supernet.seq2seq import Seq2SeqConfig, Seq2SeqFamily, Transformer
from supernet.space import seq2seq_space
from tests.bench.timing import Notes, options, rates

SHAPES = {
    "small: 3+3 layers of 256": (256, 512, 3, 3, 4096),
    "HAT's space 1: 6+2 layers of 512": (512, 1024, 6, 2, 8848),
    "HAT's space 1: 6+6 layers of 512": (512, 1024, 6, 6, 8848),
}
"""Name -> width, feed-forward, encoder layers, decoder layers, vocabulary."""
SENTENCES, ROUNDS, BEAM = 8, 5, 5
LIMITS = {"ctranslate2": 2.0, "transformers": 1.0}
"""Our time over another program's, at most."""


def network(width: int, ffn: int, encoder: int, decoder: int, vocab: int) -> Transformer:
    """A Transformer of equal layers that decides for one token clearly."""
    space = seq2seq_space(
        "bench",
        embed=(width,),
        ffn=(ffn,),
        heads=(4,),
        qkv_dim=width,
        encoder_layers=encoder,
        decoder_layers=(decoder,),
        cross_source=(-1,),
    )
    torch.manual_seed(0)
    model = Seq2SeqFamily(space, Seq2SeqConfig(vocab, vocab, max_positions=256)).build(space.largest())
    for p in model.parameters():
        if p.ndim == 2:
            torch.nn.init.normal_(p, std=1.5 / p.shape[1] ** 0.5)
    return model.requires_grad_(False)


def arms(model: Transformer, folder: Path) -> dict[str, Callable[[Sequence[int]], list[int]]]:
    """Program -> translation of one source, both as token ids."""
    vocab = ["<s>", "<pad>", "</s>", "<unk>", *map(str, range(4, model.config.target_vocab))]
    ids = {piece: i for i, piece in enumerate(vocab)}
    ctranslate2.convert(model, vocab, folder)
    translator, other = ctranslate2.load(folder, torch.get_num_threads()), fsmt(model).eval()

    def served(source: Sequence[int]) -> list[int]:
        return [ids[x] for x in ctranslate2.translate(translator, [[vocab[i] for i in source]], beam=BEAM)[0]]

    def generated(source: Sequence[int]) -> list[int]:
        given = torch.tensor([[*source, 2]])
        longest = int(1.2 * (len(source) + 1) + 10) + 2
        out = other.generate(given, num_beams=BEAM, max_length=longest, early_stopping=True, do_sample=False)
        return [i for i in out[0].tolist() if i != 2]

    return {
        "ours": lambda source: translate(model, [source], beam=BEAM)[0].tokens,
        "ctranslate2": served,
        "transformers": generated,
    }


def measure(programs: dict[str, Callable[[Sequence[int]], Any]], sources: Sequence[Sequence[int]]) -> Any:
    """Program -> seconds and processor seconds of each source, the best of ``ROUNDS``; and all outputs."""
    shape = (ROUNDS, len(sources))
    times = {name: (np.zeros(shape), np.zeros(shape)) for name in programs}
    outputs: dict[str, list[Any]] = {
        name: [run(source) for source in sources] for name, run in programs.items()
    }
    for i in range(ROUNDS):
        for j, source in enumerate(sources):
            for name, run in programs.items():
                wall, processor = time.perf_counter(), time.process_time()
                run(source)
                times[name][1][i, j] = time.process_time() - processor
                times[name][0][i, j] = time.perf_counter() - wall
    return {name: [x.min(0) for x in pair] for name, pair in times.items()}, outputs


def main() -> int:
    """Print and write the table; 1 where a limit is passed."""
    args = options(__doc__)
    notes, passed, copy = Notes(torch.device("cpu")), False, rates(torch.device("cpu"), "fp32").copy
    for name, shape in SHAPES.items():
        model = network(*shape)
        rng = np.random.default_rng(0)
        sources = [rng.integers(4, shape[-1], n).tolist() for n in rng.integers(8, 25, SENTENCES)]
        with tempfile.TemporaryDirectory() as folder:
            times, outputs = measure(arms(model, Path(folder) / "model"), sources)
        steps = sum(len(tokens) + 1 for tokens in outputs["ours"])
        weights = sum(p.numel() * 4 for p in model.decoder.parameters()) + 4 * shape[0] * shape[-1]
        line: dict[str, Any] = {"what": "translation, batch 1, beam 5", "network": name, "precision": "fp32"}
        line["ctranslate2_predicted_ms_a_step"] = 1e3 * weights / copy
        for other, (wall, processor) in times.items():
            line[f"{other}_ms_a_step"] = 1e3 * float(wall.sum()) / steps
            line[f"{other}_processor_ms_a_step"] = 1e3 * float(processor.sum()) / steps
        for other, most in LIMITS.items():
            ratio = statistics.median(times["ours"][0] / times[other][0])
            line[f"ours_over_{other}"] = ratio
            line[f"ours_over_{other}_processor"] = statistics.median(times["ours"][1] / times[other][1])
            line[f"same_as_{other}"] = sum(
                a == b for a, b in zip(outputs["ours"], outputs[other], strict=True)
            )
            passed |= ratio > most
        notes.add(**line, sentences=SENTENCES, allowed=LIMITS["ctranslate2"])
    if args.out:
        notes.write(args.out / "decoding.json")
    return int(passed)


if __name__ == "__main__":
    raise SystemExit(main())
