"""Damaged folders of transformers: one message, whatever stands in their JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from supernet.interop.errors import UnreadableModelError
from supernet.interop.huggingface import warm_start


@pytest.mark.parametrize("width", [float("inf"), float("nan"), "wide", None, [], {}])
def test_a_width_that_is_no_number_is_one_message(tmp_path: Path, width: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": width}))
    with pytest.raises(UnreadableModelError, match="does not give its sizes"):
        warm_start.EncoderShape.of(warm_start.configuration(tmp_path))


@pytest.mark.parametrize("odd", ["1", {}, [1], None, 1.5, True])
@pytest.mark.parametrize("where", ["vocab", "added"])
def test_an_id_that_is_no_whole_number_is_one_message(tmp_path: Path, odd: Any, where: str) -> None:
    vocab: dict[str, Any] = {"[PAD]": 0, "a": odd if where == "vocab" else 1}
    added = [{"content": "b", "id": odd}] if where == "added" else []
    tokenizer = {"model": {"vocab": vocab}, "added_tokens": added}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UnreadableModelError, match="not a vocabulary"):
        warm_start.pieces(tmp_path)
