"""Supernets that start from weights of transformers: BERT and DistilBERT for text, ViT and BEiT for images.

A sub-network uses leading rows and columns, so which heads and channels come first decides what the small
ones inherit. ``plain`` leaves them in the order in which they were trained. ``norm`` puts heads and
feed-forward channels with the largest weights first (L1 norm, as Once-for-All sorts channels); inside a layer
they may stand in any order, so the largest sub-network computes the same either way.

A model has its special tokens anywhere, ``supernet.bert`` has them first: where the folder has a vocabulary,
words are taken over in the order of ``pieces``, and text has to be encoded in it, too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from supernet import bert
from supernet.bert import BertFamily, Op, op_shapes
from supernet.elastic import SuperNet
from supernet.interop import pickle_reader
from supernet.interop.bert_start import Parent, cut
from supernet.interop.errors import InexpressibleError, UnreadableModelError, require
from supernet.interop.huggingface import stock
from supernet.layers import Shapes
from supernet.model_family import ModelFamily
from supernet.vit import ViTFamily

SPECIAL = (
    (bert.PAD, "[PAD]"),
    (bert.UNK, "[UNK]"),
    (bert.CLS, "[CLS]"),
    (bert.SEP, "[SEP]"),
    (bert.MASK, "[MASK]"),
)
ORDERS = ("plain", "norm")
"""Orders of heads and channels: as trained, or by descending L1 norm."""
CLASSES = {
    "bert": "BertForMaskedLM",
    "distilbert": "DistilBertForMaskedLM",
    "vit": "ViTForImageClassification",
    "beit": "BeitForImageClassification",
}
"""Kind of model -> class of transformers that reads it."""
TEXT = ("bert", "distilbert")
"""Kinds of models that encode text in word pieces."""


@dataclass
class Start:
    """Weights of a foreign model under a family's names, at least as large as its tensors."""

    weights: dict[str, Tensor]
    kind: str
    sha256: str
    """Digest of the folder's configuration and weights."""
    left_out: list[str] = field(default_factory=list)
    """Tensors without a counterpart, in the model or in the family."""


def read(folder: Path, family: ModelFamily, order: str = "plain") -> Start:
    """Read the weights of a local folder for a family. Nothing is executed, nothing is downloaded.

    Raises:
        UnreadableModelError: the folder is missing, is no model, or a file in it is truncated.
        InexpressibleError: it is a model that this family cannot start from; the message gives the reason.
        MissingPackageError: transformers is not installed.
    """
    if order not in ORDERS:
        raise ValueError(f"order {order!r}: choose one of {', '.join(ORDERS)}")
    model, missing = _model(folder)
    kind = model.config.model_type
    fits = BertFamily if kind in TEXT else ViTFamily
    if not isinstance(family, fits):
        raise InexpressibleError(
            f"{folder} is a {kind}, which a supernet of kind {family.kind} cannot start from"
        )
    if kind in TEXT:
        shape = EncoderShape.of(model.config.to_dict())
        _same("word pieces", model.config.vocab_size, family.config.vocab)
        words = special_first(vocabulary(folder), model.config.vocab_size)
        parent = _bert(model, shape, missing, order)
        for name in ("embedding.word.weight", "head.bias"):
            if name in parent.weights:
                parent.weights[name] = parent.weights[name][words]
        try:
            start = Start(cut(family, parent), kind, digest(folder))
        except InexpressibleError as error:
            raise InexpressibleError(f"{folder}: {error}") from None
    else:
        start = Start(_vit(model, family, order), kind, digest(folder))
    slots = family.slots()
    start.left_out = sorted(name for name in slots if name not in start.weights)
    if any("relative_position" in name for name, _ in model.named_parameters()):
        start.left_out.append("relative positions, which this family has not")
    for name, weight in start.weights.items():
        if any(a < b for a, b in zip(weight.shape, slots[name].shape, strict=True)):
            raise InexpressibleError(
                f"{folder}: {name} is {list(weight.shape)} there and {list(slots[name].shape)} in the"
                " supernet: it can be cut, not made larger"
            )
    return start


def initialise(net: SuperNet, folder: Path, order: str = "plain") -> Start:
    """Start a supernet from the weights of a local folder; tensors that the folder lacks keep their values.

    Raises:
        InexpressibleError, UnreadableModelError, MissingPackageError: as ``read``.
        ValueError: the supernet's weights cannot be set.
    """
    start = read(folder, net.family, order)
    net.source.adopt(start.weights)
    return start


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of an encoder of text, from its configuration."""

    kind: str
    width: int
    layers: int
    heads: int
    ffn: int
    positions: int
    segments: int
    vocab: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> EncoderShape:
        """Return the sizes in the content of a ``config.json``.

        Raises:
            UnreadableModelError: a size is missing or no number.
            InexpressibleError: it is of another kind, or has another activation.
        """
        kind = config.get("model_type")
        if kind not in TEXT:
            raise InexpressibleError(
                f"a {kind!r}: encoders of text start from a {' or '.join(TEXT)}, whose words are word pieces"
            )
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        if kind == "distilbert":
            names = ("dim", "n_layers", "n_heads", "hidden_dim")
        _same("activation", config.get("hidden_act" if kind == "bert" else "activation", "gelu"), "gelu")
        try:
            width, layers, heads, ffn = (int(config[name]) for name in names)
            positions, vocab = int(config["max_position_embeddings"]), int(config["vocab_size"])
            segments = int(config.get("type_vocab_size", 2)) if kind == "bert" else 2
            if min(width, layers, heads, ffn, positions, vocab, segments) < 1 or width % heads:
                raise ValueError("a size that no encoder has")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UnreadableModelError(f"its config.json does not give its sizes ({error})") from None
        return cls(kind, width, layers, heads, ffn, positions, segments, vocab)

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.width // self.heads

    def pairs(self) -> list[tuple[Op, Op]]:
        """Return attention and feed-forward of every layer."""
        return [
            (
                Op(f"{i}_attention", "attention", self.width, self.width, self.heads),
                Op(f"{i}_feed_forward", "feed_forward", self.width, self.ffn),
            )
            for i in range(self.layers)
        ]

    def parent(self) -> Parent:
        """Return a parent of these sizes without values, for checks that read no weights."""
        shapes: Shapes = {
            "embedding.word.weight": (self.vocab, self.width),
            "embedding.position.weight": (self.positions, self.width),
            "embedding.segment.weight": (self.segments, self.width),
        }
        for op in (op for pair in self.pairs() for op in pair):
            shapes |= op_shapes(op)
        weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        return Parent(weights, self.layers, self.head_dim)


def check_start(folder: Path, family: BertFamily) -> None:
    """Refuse a folder whose model is too small for a family, or of another kind, by its configuration alone.

    Raises:
        UnreadableModelError, InexpressibleError: as ``read``.
        MissingPackageError: transformers is not installed.
    """
    shape = EncoderShape.of(configuration(folder))
    if importlib.util.find_spec("transformers") is None:
        require("transformers", "huggingface")
    cut(family, shape.parent())


def digest(folder: Path) -> str:
    """Return the SHA-256 over names and contents of the configuration and weights of a folder."""
    sha256 = hashlib.sha256()
    for path in sorted((*weight_files(folder), folder / "config.json")):
        sha256.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return sha256.hexdigest()


def configuration(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's ``config.json``.

    Raises:
        UnreadableModelError: there is none.
    """
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableModelError(
            f"{folder}: not a folder of transformers, its config.json cannot be read ({error})"
        ) from None
    if not isinstance(content, dict):
        raise UnreadableModelError(f"{folder}: not a folder of transformers, its config.json holds no object")
    return content


def check_whole(folder: Path) -> None:
    """Refuse a folder without weights, or with a file that was cut short, before anything is made of it.

    Raises:
        UnreadableModelError: naming the file.
    """
    files = weight_files(folder)
    if not files:
        raise UnreadableModelError(f"{folder}: no weights in it as *.safetensors or pytorch_model*.bin")
    for path in files:
        try:
            if path.suffix == ".bin":
                pickle_reader.load(path)
                continue
            with safe_open(path, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise UnreadableModelError(f"{path}: not a whole file of weights ({error})") from None
        except ValueError as error:
            raise UnreadableModelError(str(error)) from None


def weight_files(folder: Path) -> list[Path]:
    """Return the files of weights: those of safetensors, else those that PyTorch pickled."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


@contextmanager
def _as_safetensors(folder: Path) -> Iterator[Path]:
    """Yield a folder with the same model as safetensors; a temporary one where its weights are pickles.

    Raises:
        ValueError: a pickle that carries code, is damaged or holds no tensors.
    """
    files = weight_files(folder)
    if not files or files[0].suffix != ".bin":
        yield folder
        return
    weights = {name: tensor for path in files for name, tensor in pickle_reader.load(path).items()}
    if not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise ValueError("it holds other things than tensors")
    with TemporaryDirectory() as name:
        # Copies, since tensors of one file may share memory, which safetensors refuses.
        save_file({key: tensor.clone() for key, tensor in weights.items()}, Path(name) / "model.safetensors")
        (Path(name) / "config.json").write_bytes((folder / "config.json").read_bytes())
        yield Path(name)


@contextmanager
def _without_report() -> Iterator[None]:
    """Suspend the progress bar of transformers, and its report on a head that a model lacks."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _model(folder: Path) -> tuple[Any, set[str]]:
    """Return the model of a folder, and the names that its files lack."""
    kind = configuration(folder).get("model_type")
    if kind not in CLASSES:
        raise InexpressibleError(f"{folder} is a {kind!r}: a supernet starts from {', '.join(CLASSES)}")
    reader = getattr(require("transformers", "huggingface"), CLASSES[kind])
    try:
        with _as_safetensors(folder) as readable, _without_report():
            model, info = reader.from_pretrained(
                readable, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnreadableModelError(f"{folder}: its weights cannot be read ({reason})") from None
    return model.eval(), set(info["missing_keys"])


def _spaced(have: int, need: int) -> list[int]:
    """Return, for each of ``need`` layers, the index of its source among ``have`` evenly spaced layers."""
    if have < need:
        raise InexpressibleError(f"the model has {have} layers, the supernet up to {need}")
    return [i * have // need for i in range(need)]


def _same(what: str, theirs: object, ours: object) -> None:
    if theirs != ours:
        raise InexpressibleError(f"{what}: {theirs} in the model, {ours} in the supernet")


DISTILBERT = (
    ("embeddings.", "bert.embeddings."),
    ("transformer.layer.", "bert.encoder.layer."),
    ("attention.q_lin.", "attention.self.query."),
    ("attention.k_lin.", "attention.self.key."),
    ("attention.v_lin.", "attention.self.value."),
    ("attention.out_lin.", "attention.output.dense."),
    ("sa_layer_norm.", "attention.output.LayerNorm."),
    ("ffn.lin1.", "intermediate.dense."),
    ("ffn.lin2.", "output.dense."),
    ("output_layer_norm.", "output.LayerNorm."),
    ("vocab_transform.", "cls.predictions.transform.dense."),
    ("vocab_layer_norm.", "cls.predictions.transform.LayerNorm."),
    ("vocab_projector.bias", "cls.predictions.bias"),
)
"""Parts of names of DistilBERT's tensors, and of BERT's."""


def _bert_name(name: str) -> str:
    """Return BERT's name of a tensor of DistilBERT."""
    name = name.removeprefix("distilbert.")
    for theirs, berts in DISTILBERT:
        name = name.replace(theirs, berts, 1)
    return name


def _bert(model: Any, shape: EncoderShape, missing: set[str], order: str) -> Parent:
    theirs = dict(model.state_dict())
    if shape.kind == "distilbert":
        theirs = {_bert_name(name): tensor for name, tensor in theirs.items()}
        missing = {_bert_name(name) for name in missing}
        # It has no segments: all tokens are alike to it.
        theirs["bert.embeddings.token_type_embeddings.weight"] = torch.zeros(shape.segments, shape.width)
    names = stock.bert_names(shape.pairs())
    weights = {ours: theirs[f"bert.{name}"].detach().clone() for ours, name in names}
    for ours, name in (*stock.both(stock.BERT_HEAD), ("head.bias", "cls.predictions.bias")):
        if name not in missing:
            weights[ours] = theirs[name].detach().clone()
    if order == "norm":
        for attention, ffn in shape.pairs():
            here = f"ops.{attention.name}", f"ops.{ffn.name}"
            _sort(weights, *here, shape.head_dim, ("q", "k", "v"), ("fc1", "fc2"))
    return Parent(weights, shape.layers, shape.head_dim)


def _vit(model: Any, family: ViTFamily, order: str) -> dict[str, Tensor]:
    config, kind = model.config, model.config.model_type
    theirs = {name.removeprefix(f"{kind}."): tensor.detach() for name, tensor in model.state_dict().items()}
    _same("pixels of a patch", config.patch_size, family.patch)
    _same("pixels of an image", config.image_size, family.config.image)
    _same("colours", config.num_channels, family.config.channels)
    _same("channels of a head", config.hidden_size // config.num_attention_heads, family.head_dim)
    _same("activation", config.hidden_act, "gelu")
    depth = len(family.largest["heads"])
    layers = _spaced(config.num_hidden_layers, depth)
    stem = "embeddings"
    weights = {
        "patch.weight": theirs[f"{stem}.patch_embeddings.projection.weight"].flatten(1),
        "patch.bias": theirs[f"{stem}.patch_embeddings.projection.bias"],
        "embedding.token": theirs[f"{stem}.cls_token"][0],
    }
    position = theirs.get(f"{stem}.position_embeddings")
    if position is not None:
        weights["embedding.position"] = position[0]
    for ours, name in stock.vit_names(depth):
        name = name.removeprefix("vit.")
        if name.startswith("layers."):
            _, number, rest = name.split(".", 2)
            name = f"layers.{layers[int(number)]}.{rest}"
        elif name.startswith("layernorm.") and name not in theirs:
            name = f"pooler.{name}"  # BEiT's, of the mean over patches
        if name in theirs:
            weights[ours] = theirs[name]
        elif name.endswith("k_proj.bias"):  # BEiT's keys have none
            weights[ours] = torch.zeros(config.hidden_size)
    for i, layer in enumerate(layers):  # what BEiT scales a branch by goes into its last linear
        for scale, last in (("lambda_1", "attention.out"), ("lambda_2", "ffn.fc2")):
            if (by := theirs.get(f"layers.{layer}.{scale}")) is not None:
                weights[f"layers.{i}.{last}.weight"] = weights[f"layers.{i}.{last}.weight"] * by[:, None]
                weights[f"layers.{i}.{last}.bias"] = weights[f"layers.{i}.{last}.bias"] * by
    if len(weights["head.bias"]) != family.config.classes:
        del weights["head.weight"], weights["head.bias"]
    weights = {name: tensor.clone() for name, tensor in weights.items()}
    if order == "norm":
        for i in range(depth):
            here = f"layers.{i}"
            _sort(
                weights, f"{here}.attention", f"{here}.ffn", family.head_dim, ("q", "k", "v"), ("fc1", "fc2")
            )
    return weights


def _sort(
    weights: dict[str, Tensor],
    attention: str,
    ffn: str,
    head_dim: int,
    projections: tuple[str, ...],
    linears: tuple[str, str],
) -> None:
    """Sort heads and feed-forward channels of one layer by descending L1 norm, in place."""
    rows = [weights[f"{attention}.{name}.weight"] for name in projections]
    size = torch.stack([row.abs().sum(1) for row in rows]).sum(0)
    size = size + weights[f"{attention}.out.weight"].abs().sum(0)
    heads = size.view(-1, head_dim).sum(1).argsort(descending=True, stable=True)
    channels = (heads[:, None] * head_dim + torch.arange(head_dim)).flatten()
    _permute(weights, [f"{attention}.{name}" for name in projections], f"{attention}.out", channels)
    first, second = (f"{ffn}.{name}" for name in linears)
    size = weights[f"{first}.weight"].abs().sum(1) + weights[f"{second}.weight"].abs().sum(0)
    _permute(weights, [first], second, size.argsort(descending=True, stable=True))


def _permute(weights: dict[str, Tensor], before: list[str], after: str, order: Tensor) -> None:
    for name in before:
        for part in ("weight", "bias"):
            weights[f"{name}.{part}"] = weights[f"{name}.{part}"][order]
    weights[f"{after}.weight"] = weights[f"{after}.weight"][:, order]


def vocabulary(folder: Path) -> dict[str, int]:
    """Return word piece -> id of a folder's ``vocab.txt``, else ``tokenizer.json``; empty if it has
    neither.

    Raises:
        UnreadableModelError: the file is none.
    """
    try:
        if (path := folder / "vocab.txt").is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            return {piece: i for i, piece in enumerate(lines)}
        if (path := folder / "tokenizer.json").is_file():
            tokenizer = json.loads(path.read_text(encoding="utf-8"))
            added = {token["content"]: token["id"] for token in tokenizer.get("added_tokens", ())}
            ids = {**tokenizer["model"]["vocab"], **added}
            if not all(type(id) is int for id in ids.values()):
                raise ValueError("an id is no whole number")
            return ids
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableModelError(f"{path}: not a vocabulary ({error})") from None
    return {}


def pieces(folder: Path) -> list[str]:
    """Return the word pieces of a folder, in the order of our ids.

    Raises:
        UnreadableModelError: there are none, or they are not numbered without a gap.
        InexpressibleError: a special token is missing, or letters keep their case, which ours do not.
    """
    settings = folder / "tokenizer_config.json"
    try:
        cased = (
            settings.is_file()
            and json.loads(settings.read_text(encoding="utf-8")).get("do_lower_case") is False
        )
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UnreadableModelError(f"{settings}: cannot be read ({error})") from None
    if cased:
        raise InexpressibleError(
            f"{folder} is a cased model: text is in lower case here, take an uncased one"
        )
    ids = vocabulary(folder)
    if sorted(ids.values()) != list(range(len(ids))) or not ids:
        raise UnreadableModelError(
            f"{folder}: no vocab.txt or tokenizer.json with pieces numbered without a gap"
        )
    by_id = sorted(ids, key=ids.__getitem__)
    return [by_id[i] for i in special_first(ids, len(ids))]


def special_first(ids: Mapping[str, int], size: int) -> list[int]:
    """Return a model's word ids in the order of ours: special tokens first, as in ``supernet.bert``.

    Each special token swaps places with the word there; all others stay. Without a vocabulary, ids are
    unchanged.

    Raises:
        InexpressibleError: a special token is missing, or the numbers of words differ.
    """
    order = list(range(size))
    if not ids:
        return order
    _same("word pieces", size, len(ids))
    for ours, token in SPECIAL:
        if token not in ids:
            raise InexpressibleError(f"the vocabulary has no {token}")
        at = order.index(ids[token])
        order[ours], order[at] = order[at], order[ours]
    return order
