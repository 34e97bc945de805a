"""Batched beam search with a key/value cache; fairseq's rules and its length penalty.

The translation of a sentence depends on that sentence and the model alone, never on its batch: its length
limit follows from its own length, padding is masked, and a finished sentence is frozen until it leaves the
batch. Batching may still move a float by its last bits, and so break an exact tie the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

CHECK_EVERY = {"cpu": 1}
"""Decoder steps between checks for finished sentences, by device; a check waits for all launched work."""
CHECK_ELSEWHERE = 4
"""Decoder steps between those checks on other devices."""
LEAVE_AT = 0.75
"""Share of live sentences below which the finished ones are removed from the batch."""


class NonFiniteError(ArithmeticError):
    """A model returned NaN or infinity as scores."""


@dataclass(frozen=True)
class Hypothesis:
    """A finished translation.

    ``tokens`` without the end token; ``score`` is the sum of log-probabilities, the end token's included,
    over ``(len(tokens) + 1) ** lenpen``.
    """

    tokens: list[int]
    score: float


@torch.inference_mode()
def translate(
    model: Any,
    sources: Sequence[Sequence[int]],
    *,
    beam: int = 5,
    lenpen: float = 1.0,
    max_len_a: float = 1.2,
    max_len_b: int = 10,
    min_len: int = 1,
    batch_tokens: int = 4096,
    batch_sentences: int = 256,
    eos: int = 2,
    pad: int = 1,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Hypothesis]:
    """Return the best hypothesis for every source, in the order given.

    fairseq's search: the decoder starts from ``eos``; each step keeps the ``2 * beam`` best
    candidates of a sentence; an ``eos`` among the first ``beam`` of them finishes a hypothesis, any
    other ``eos`` is dropped, and the first ``beam`` others go on; a sentence ends with its
    ``beam``-th hypothesis or at its length limit, where only ``eos`` is allowed. ``pad`` is never
    generated, the unknown token may be.

    Args:
        model: ``encode``, ``decoder_cache`` and ``step`` as in :class:`supernet.seq2seq.Transformer`.
        sources: token ids without special tokens; ``eos`` is added.
        beam: hypotheses kept a sentence.
        lenpen: exponent of the length that scores are divided by; 0 leaves the plain sum.
        max_len_a, max_len_b: at most ``int(a * n + b)`` tokens before the end token, for a source of
            ``n`` tokens, its own end token counted (fairseq takes the padded length of the batch).
        min_len: tokens before the end token, at least (fairseq's default).
        batch_tokens: padded source tokens of a batch, at most; ``batch_sentences`` likewise.
        device: where ``model`` lies; default: its own.
        progress: called after each batch, and every few steps within it, with the sources that are done
            and their number; it may wait.

    Raises:
        ValueError: an argument out of range, or a source longer than the model can embed.
        NonFiniteError: the model gave scores that are no numbers.
    """
    for name, value, least in (("beam", beam, 1), ("batch_tokens", batch_tokens, 1), ("min_len", min_len, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    device = torch.device(device) if device is not None else model.device
    lengths = [len(source) + 1 for source in sources]
    limits = [max(1, int(max_len_a * n + max_len_b)) for n in lengths]
    most = getattr(getattr(model, "config", None), "max_positions", None)
    if most is not None:
        # As many decoder inputs as generated tokens and the start.
        limits = [min(limit, most - 1) for limit in limits]
    hypotheses: list[Hypothesis | None] = [None] * len(sources)
    training, done = model.training, 0
    model.eval()
    try:
        for rows in batches(lengths, batch_tokens, batch_sentences):
            tokens = np.full((len(rows), max(lengths[i] for i in rows)), pad, dtype=np.int64)
            for row, i in enumerate(rows):
                tokens[row, : lengths[i]] = [*sources[i], eos]
            search = BeamSearch(model, torch.from_numpy(tokens).to(device), [limits[i] for i in rows], beam)
            on_step = None if progress is None else partial(progress, done, len(sources))
            for i, best in zip(rows, search.run(lenpen, min_len, eos, pad, on_step), strict=True):
                hypotheses[i] = best
            done += len(rows)
            if progress is not None:
                progress(done, len(sources))
    finally:
        model.train(training)
    return hypotheses  # type: ignore[return-value]


def batches(lengths: Sequence[int], most_tokens: int, most_sentences: int) -> list[list[int]]:
    """Return sentence numbers in batches of similar lengths, longest first, ``B * S <= most_tokens``.

    A sentence longer than ``most_tokens`` is a batch of its own.
    """
    out: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        room = min(most_sentences, most_tokens // lengths[out[-1][0]]) if out else 0
        if len(out[-1] if out else ()) < room:
            out[-1].append(i)
        else:
            out.append([i])
    return out


class BeamSearch:
    """Beam search over one batch of ``B`` sentences; its state stays on the device.

    Args:
        source: ``[B, S]`` with end tokens, padded on the right.
        limits: largest number of tokens before the end token, a sentence.
    """

    def __init__(self, model: Any, source: Tensor, limits: Sequence[int], beam: int) -> None:
        self.model, self.beam, self.device = model, beam, source.device
        size, steps = len(limits), max(limits) + 1
        self.cache = model.decoder_cache(model.encode(source), beam)
        self.first = torch.arange(0, size * beam, beam, device=self.device)[:, None]  # row of each sentence
        self.place = np.arange(size)  # of each live sentence in the batch as given
        self.limits = np.asarray(limits)
        self.limit = torch.tensor(limits, device=self.device)
        self.scores = torch.full((size, beam), float("-inf"), device=self.device)
        self.scores[:, 0] = 0.0  # all beams start alike: one of them may propose
        self.best = torch.full((size,), float("-inf"), device=self.device)
        self.end = torch.zeros((2, size), dtype=torch.long, device=self.device)  # step and beam of the best
        self.finished = torch.zeros(size, dtype=torch.long, device=self.device)
        self.done = torch.zeros(size, dtype=torch.bool, device=self.device)
        self.sane = torch.ones((), dtype=torch.bool, device=self.device)
        self.history = torch.zeros((2, steps, size, beam), dtype=torch.long, device=self.device)
        self.hypotheses: list[Hypothesis | None] = [None] * size

    def run(
        self, lenpen: float, min_len: int, eos: int, pad: int, on_step: Callable[[], object] | None = None
    ) -> list[Hypothesis]:
        """Search to the end, calling ``on_step`` every few steps; return the best hypothesis of each
        sentence."""
        often = CHECK_EVERY.get(self.device.type, CHECK_ELSEWHERE)
        tokens = torch.full((len(self.place) * self.beam,), eos, device=self.device)
        for step in range(int(self.limits.max()) + 1):
            logits = self.model.step(tokens, self.cache).float()
            tokens = self.advance(step, logits, lenpen, min_len, eos, pad)
            if step % often == often - 1:
                tokens = self.compact(step + 1, tokens)
                if not len(self.place):
                    break
                if on_step is not None:
                    on_step()
        else:
            self.leave(int(self.history.shape[1]), np.ones(len(self.place), dtype=bool))
        return self.hypotheses  # type: ignore[return-value]

    def advance(self, step: int, logits: Tensor, lenpen: float, min_len: int, eos: int, pad: int) -> Tensor:
        """Take one step of every sentence from logits ``[B * beam, V]``; return the next tokens ``[B *
        beam]``."""
        size, beam = self.scores.shape
        logp = logits.log_softmax(1)
        ending = logp[:, eos].clone()
        self.sane &= ~ending.isnan().any()  # one logit that is no number makes its whole row NaN
        logp[:, pad] = float("-inf")
        if step < min_len:
            logp[:, eos] = float("-inf")
        if step >= self.limits.min():
            last = (self.limit <= step).repeat_interleave(beam)
            logp.masked_fill_(last[:, None], float("-inf"))
            logp[:, eos] = torch.where(last, ending, logp[:, eos])
        # The best 2 * beam of a sentence are among the best 2 * beam of each of its rows.
        wide = min(2 * beam, logp.shape[1])
        values, words = logp.topk(wide)
        values = values.view(size, beam, wide) + self.scores[:, :, None]
        score, flat = values.view(size, -1).topk(min(2 * beam, beam * wide))
        word = words.view(size, -1).gather(1, flat)
        source = flat.div(wide, rounding_mode="floor")
        ends = word == eos
        # Looking costs a wait, which is nothing on a processor; there most steps end no hypothesis.
        if self.device.type != "cpu" or step >= self.limits.min() or bool(ends.any()):
            self.finish(step, score, source, ends, lenpen)
            # Going on: the first ``beam`` that are no ends.
            width = score.shape[1]
            order = ends * width + torch.arange(width, device=self.device)
            go = order.topk(beam, dim=1, largest=False, sorted=True).indices
            self.scores = score.masked_fill(ends, float("-inf")).gather(1, go)
            word, source = word.gather(1, go), source.gather(1, go)
        else:
            self.scores, word, source = score[:, :beam], word[:, :beam], source[:, :beam]
        self.history[0, step], self.history[1, step] = word, source
        if beam > 1:
            self.cache.reorder((source + self.first).view(-1))
        return word.reshape(-1)

    def finish(self, step: int, score: Tensor, source: Tensor, ends: Tensor, lenpen: float) -> None:
        """Count the hypotheses that end among the first ``beam`` of candidates ``[B, 2 * beam]``, at most
        ``beam`` a sentence; keep the best."""
        beam = self.beam
        fresh = ends[:, :beam] & (score[:, :beam] > float("-inf")) & ~self.done[:, None]
        fresh &= fresh.cumsum(1) + self.finished[:, None] <= beam
        value = (score[:, :beam] / (step + 1) ** lenpen).masked_fill_(~fresh, float("-inf"))
        top, which = value.max(1)
        better = top > self.best
        self.best = torch.where(better, top, self.best)
        here = torch.stack([torch.full_like(which, step), source.gather(1, which[:, None])[:, 0]])
        self.end = torch.where(better, here, self.end)
        self.finished += fresh.sum(1)
        self.done |= (self.finished >= beam) | (self.limit <= step)

    def compact(self, steps: int, tokens: Tensor) -> Tensor:
        """Remove finished sentences once they are numerous enough; return the tokens of the others."""
        state = torch.cat([self.done, self.sane[None]]).cpu().numpy()  # the one wait a step
        self.check(bool(state[-1]))
        done = state[:-1]
        if not done.all() and (~done).mean() > LEAVE_AT:
            return tokens
        self.leave(steps, done)
        stay = torch.from_numpy(np.flatnonzero(~done)).to(self.device)
        self.place, self.limits = self.place[~done], self.limits[~done]
        if not len(self.place):
            return tokens[:0]
        self.cache.keep(stay)
        self.limit, self.scores, self.best = self.limit[stay], self.scores[stay], self.best[stay]
        self.finished, self.done, self.end = self.finished[stay], self.done[stay], self.end[:, stay]
        self.history, self.first = self.history[:, :, stay], self.first[: len(stay)]
        return tokens.view(-1, self.beam)[stay].view(-1)

    def check(self, sane: bool) -> None:
        """Raise ``NonFiniteError`` unless all scores so far were finite."""
        if not sane:
            raise NonFiniteError(
                "the model's scores are not finite: NaN or infinity in its weights or outputs"
            )

    def leave(self, steps: int, which: np.ndarray) -> None:
        """Read the best hypotheses of live sentences ``which`` from the history, last token first."""
        if not which.any():
            return
        self.check(bool(self.sane))
        gone = torch.from_numpy(np.flatnonzero(which)).to(self.device)
        words, origin = self.history[:, :steps, gone].cpu().numpy()
        end, beam = self.end[:, gone].cpu().numpy()
        score = self.best[gone].cpu().numpy()
        rows = np.arange(len(end))
        out = np.zeros((len(end), steps), dtype=np.int64)
        for step in range(int(end.max()) - 1, -1, -1):
            inside = step < end
            out[:, step] = words[step, rows, beam]
            beam = np.where(inside, origin[step, rows, beam], beam)
        for row, place in enumerate(self.place[which]):
            self.hypotheses[place] = Hypothesis(out[row, : end[row]].tolist(), float(score[row]))


@torch.inference_mode()
def forced_steps(model: Any, source: Tensor, steps: int, beam: int, token: int = 4) -> Tensor:
    """Run the latency workload: encode ``source`` ``[1, S]``, then ``steps`` decoder steps of ``beam`` rows.

    Every step feeds a fixed token and ends in the output layer. Choosing tokens and reordering the cache are
    left out, as in HAT (section 4): they depend on the search, hardly on the network.

    Returns:
        the last logits ``[beam, V]``.
    """
    cache = model.decoder_cache(model.encode(source), beam)
    tokens = torch.full((beam * source.shape[0],), token, dtype=torch.long, device=source.device)
    for _ in range(steps):
        logits = model.step(tokens, cache)
    return logits
