"""Exported sub-networks as folders that ``from_pretrained`` reads.

A network that a stock class of transformers can represent exactly becomes one, any other a class of
``supernet.interop.huggingface.automodels``. Either returns the logits of the original network; ``save``
checks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from supernet import bert, resnet, seq2seq, vision_language, vit
from supernet.interop.errors import InexpressibleError, require
from supernet.interop.huggingface import stock
from supernet.quantization.calibration import RANGE
from supernet.train.finetune import Classifier

CLOSE = 1e-4
"""Largest difference of two logits that count as equal."""

IMAGES = (vit.ViT, resnet.ResNet)
"""Classes of networks that classify images."""


class OutputMismatchError(ArithmeticError):
    """The outputs of an exported copy differ from those of the original network."""


def to_huggingface(module: nn.Module, about: Mapping[str, Any]) -> Any:
    """Return a model of transformers with the weights of ``module``, in evaluation mode.

    Args:
        module: an exported sub-network, or a ``Classifier`` over one.
        about: ``spec`` and ``architecture`` of the sub-network, as ``supernet.export.load`` gives them.

    Raises:
        MissingPackageError: transformers is not installed.
    """
    require("transformers", "huggingface")
    try:
        return stock.model_of(module)
    except InexpressibleError:
        return registered(module, about)


def registered(module: nn.Module, about: Mapping[str, Any]) -> Any:
    """Return ``module`` as a class of ``supernet.interop.huggingface.automodels``."""
    models = require("supernet.interop.huggingface.automodels", "huggingface")
    kind, prefix, extra = _registered_kind(module)
    plain = {k: list(v) if isinstance(v, (tuple, list)) else v for k, v in about["architecture"].items()}
    config = models.SupernetConfig(spec=dict(about["spec"]), architecture=plain, **extra)
    model = getattr(models, kind)(config)
    weights = {
        f"{prefix}{name}": tensor.detach().clone()
        for name, tensor in module.state_dict().items()
        if not name.endswith(f".{RANGE}")  # of static int8, which the copy is not in
    }
    model.load_state_dict(weights, strict=True)
    return model.eval()


def is_registered(model: Any) -> bool:
    """Return whether a model is of a class of ``supernet.interop.huggingface.automodels``."""
    return bool(type(model).__module__ == f"{__package__}.automodels")


def _registered_kind(module: nn.Module) -> tuple[str, str, dict[str, Any]]:
    """Return class, prefix of the weights' names, and entries of the config."""
    if isinstance(module, bert.Bert):
        words = {"vocab_size": module.config.vocab, "pad_token_id": bert.PAD}
        return "SupernetForMaskedLM", "network.", words
    if isinstance(module, Classifier):
        labels = module.out.out_features
        return "SupernetForSequenceClassification", "", {"num_labels": labels, "pad_token_id": bert.PAD}
    if isinstance(module, IMAGES):
        return "SupernetForImageClassification", "network.", {"num_labels": module.config.classes}
    if isinstance(module, vision_language.VisionLanguage):
        words = {"num_labels": module.config.classes, "pad_token_id": vision_language.PAD}
        return "SupernetForVisualQuestionAnswering", "network.", words
    if isinstance(module, seq2seq.Transformer):
        ends = {"bos_token_id": seq2seq.BOS, "pad_token_id": seq2seq.PAD, "eos_token_id": seq2seq.EOS}
        ends |= {"decoder_start_token_id": seq2seq.EOS, "is_encoder_decoder": True, "use_cache": False}
        ends |= {"tie_word_embeddings": module.config.share == "all"}
        ends |= {"vocab_size": module.config.target_vocab}
        return "SupernetForSeq2SeqLM", "network.", ends
    raise InexpressibleError(
        f"a {type(module).__name__} has no class in supernet.interop.huggingface.automodels"
    )


def save(model: Any, module: nn.Module, out: Path) -> float:
    """Write ``model`` to ``out``, read it back with the auto class, and compare it with ``module``.

    Returns:
        largest difference of two logits over random inputs.

    Raises:
        OutputMismatchError: it is more than ``CLOSE``.
    """
    require("supernet.interop.huggingface.automodels", "huggingface")
    model.save_pretrained(out)
    reloaded = reload(model, out)
    given = sample(module)
    with torch.no_grad():
        theirs = reloaded(**given).logits
        ours = logits(module, given)
    apart = float((theirs - ours).abs().max())
    if not apart <= CLOSE:
        raise OutputMismatchError(
            f"{out}: logits differ by {apart:.2g} from those of the exported sub-network"
        )
    return apart


def reload(model: Any, folder: Path) -> Any:
    """Read a folder with the auto class of a model, in evaluation mode."""
    return getattr(require("transformers", "huggingface"), auto_class(model)).from_pretrained(folder).eval()


def auto_class(model: Any) -> str:
    """Return the name of the auto class that loads a model."""
    name, ends = type(model).__name__, {"ForConditionalGeneration": "ForSeq2SeqLM"}
    end = "For" + name.rpartition("For")[2]
    return f"AutoModel{ends.get(end, end)}"


def sample(module: nn.Module, rows: int = 2) -> dict[str, Tensor]:
    """Return random inputs of a network, by transformers' names; the same each time."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(module, IMAGES):
        own = module.config
        return {"pixel_values": torch.randn(rows, own.channels, own.image, own.image, generator=generator)}
    if isinstance(module, vision_language.VisionLanguage):
        config = module.config
        images = torch.randn(rows, config.channels, config.image, config.image, generator=generator)
        if not config.vocab:
            return {"pixel_values": images}
        texts = torch.randint(
            min(2, config.vocab - 1), config.vocab, (rows, config.text), generator=generator
        )
        texts[0, config.text // 2 :] = vision_language.PAD
        return {"pixel_values": images, "input_ids": texts}
    net: Any = module.encoder if isinstance(module, Classifier) else module
    if not isinstance(net, bert.Bert | seq2seq.Transformer):
        raise InexpressibleError(f"no inputs are known for a {type(module).__name__}")
    length = min(12, net.config.max_positions - 1)

    def ids(vocab: int) -> Tensor:
        return torch.randint(min(5, vocab - 1), vocab, (rows, length), generator=generator)

    if isinstance(module, seq2seq.Transformer):
        source, target = ids(net.config.source_vocab), ids(net.config.target_vocab)
        source[0, length // 2 :] = seq2seq.PAD
        target[:, 0] = seq2seq.EOS
        mask = (source != seq2seq.PAD).long()
        return {"input_ids": source, "attention_mask": mask, "decoder_input_ids": target}
    tokens = ids(net.config.vocab)
    given = {"input_ids": tokens, "token_type_ids": torch.zeros_like(tokens)}
    if isinstance(module, Classifier):  # packed text, which heads of masked words see, has no padding
        tokens[0, length // 2 :] = bert.PAD
        given["attention_mask"] = (tokens != bert.PAD).long()
    return given


def logits(module: nn.Module, given: Mapping[str, Tensor]) -> Tensor:
    """Return the outputs of ``module`` for the inputs of ``sample``."""
    if isinstance(module, IMAGES):
        return module(given["pixel_values"])  # type: ignore[no-any-return]
    if isinstance(module, vision_language.VisionLanguage):
        return module(*given.values())  # type: ignore[no-any-return]
    if isinstance(module, seq2seq.Transformer):
        return module(given["input_ids"], given["decoder_input_ids"])  # type: ignore[no-any-return]
    if isinstance(module, Classifier):
        return module(given["input_ids"], given["token_type_ids"])  # type: ignore[no-any-return]
    return module(given["input_ids"])  # type: ignore[no-any-return]
