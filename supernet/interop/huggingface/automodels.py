"""Any exported sub-network as a model of transformers.

Importing this module registers the models with ``AutoConfig`` and the auto classes; no code is downloaded or
trusted:

    import supernet.interop.huggingface.automodels
    model = AutoModelForMaskedLM.from_pretrained("folder")
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForVisualQuestionAnswering,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.generation import GenerationConfig, GenerationMixin, LogitsProcessor, LogitsProcessorList
from transformers.modeling_outputs import (
    BaseModelOutput,
    ImageClassifierOutput,
    MaskedLMOutput,
    Seq2SeqLMOutput,
    SequenceClassifierOutput,
)

from supernet import seq2seq
from supernet.families import from_spec
from supernet.packing import Padded
from supernet.seq2seq import Memory, position_table


class SupernetConfig(PreTrainedConfig):
    """Configuration: a family's ``spec`` and the ``architecture`` of one of its sub-networks."""

    model_type = "supernet-bench"

    def __init__(
        self, spec: dict[str, Any] | None = None, architecture: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.spec, self.architecture = spec, architecture

    def network(self) -> nn.Module:
        """Build the sub-network with torch's initial values."""
        if self.spec is None or self.architecture is None:
            raise ValueError("a config without spec and architecture describes no network")
        family = from_spec(self.spec)
        module: nn.Module = family.build(family.space.architecture(self.architecture))
        return module


class SupernetModel(PreTrainedModel):
    """Base of the models."""

    config_class = SupernetConfig
    base_model_prefix = "network"

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, seq2seq.Transformer):  # not stored: it is the same for all
            table = position_table(*module.positions.shape)
            module.positions = table.to(module.positions.device, module.positions.dtype)

    @property
    def all_tied_weights_keys(self) -> dict[str, str]:
        """Names of tied weights, for networks whose encoder and decoder share one table of words."""
        return dict(getattr(self, "_tied", {}))

    @all_tied_weights_keys.setter
    def all_tied_weights_keys(self, value: dict[str, str]) -> None:
        self._tied = value


def real(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return the additive mask ``[B, 1, 1, T]`` of an attention mask; None if nothing is masked."""
    if mask is None or bool(mask.all()):
        return None
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return bias.masked_fill(mask == 0, float("-inf"))[:, None, None, :]


def encoded(
    encoder: Any, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None
) -> Tensor:
    """Return the states ``[B, T, width]`` of an encoder."""
    x = encoder.embedding(input_ids, token_type_ids)
    states: Tensor = encoder.run(x, real(attention_mask, x.dtype))
    return states


class SupernetForMaskedLM(SupernetModel):
    """An encoder with its masked-language-model head."""

    def __init__(self, config: SupernetConfig) -> None:
        super().__init__(config)
        self.network = config.network()
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> MaskedLMOutput:
        net: Any = self.network
        logits = net.head(encoded(net, input_ids, attention_mask, token_type_ids), net.embedding.word.weight)
        loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return MaskedLMOutput(loss=loss, logits=logits)


class SupernetForSequenceClassification(SupernetModel):
    """A fine-tuned encoder; with one label, a regression."""

    def __init__(self, config: SupernetConfig) -> None:
        super().__init__(config)
        self.encoder: Any = config.network()
        width = self.encoder.plan.out
        del self.encoder.head
        self.pooler, self.out = nn.Linear(width, width), nn.Linear(width, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        first = encoded(self.encoder, input_ids, attention_mask, token_type_ids)[:, 0]
        pooled = F.dropout(torch.tanh(self.pooler(first)), self.encoder.config.dropout, self.training)
        logits = self.out(pooled)
        loss = None
        if labels is not None:
            regression = self.config.num_labels == 1
            loss = F.mse_loss(logits[:, 0], labels.float()) if regression else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class SupernetForImageClassification(SupernetModel):
    """A classifier of images."""

    main_input_name = "pixel_values"

    def __init__(self, config: SupernetConfig) -> None:
        super().__init__(config)
        self.network = config.network()
        self.post_init()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **_: Any) -> ImageClassifierOutput:
        logits = self.network(pixel_values)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


class SupernetForVisualQuestionAnswering(SupernetModel):
    """A classifier of images with texts."""

    main_input_name = "pixel_values"

    def __init__(self, config: SupernetConfig) -> None:
        super().__init__(config)
        self.network = config.network()
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> ImageClassifierOutput:
        logits = self.network(pixel_values, input_ids)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


class Encoder(nn.Module):
    """Encoder in the form that ``generate`` calls."""

    main_input_name = "input_ids"

    def __init__(self, network: seq2seq.Transformer) -> None:
        super().__init__()
        self.__dict__["network"] = network  # not a part: its weights belong to the model

    def forward(self, input_ids: Tensor, **_: Any) -> BaseModelOutput:
        memory = self.__dict__["network"].encode(input_ids)
        # One tensor, which generate repeats for every beam: the last layers side by side.
        return BaseModelOutput(last_hidden_state=torch.cat(memory.states, -1))


class SourceLengthLimit(LogitsProcessor):
    """Length limits that follow from the sources, as in ``supernet.decode``: at its limit a sentence ends.

    Args:
        lengths: tokens of each source, its end token counted, ``[B]``.
        a, b: at most ``int(a * length + b)`` tokens before the end token.
        most: tokens before the end token, at most, for all of them.
    """

    def __init__(self, lengths: Tensor, a: float, b: float, most: int) -> None:
        limits = [min(max(1, int(a * length + b)), most) for length in lengths.tolist()]
        self.limits = torch.tensor(limits, device=lengths.device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        limits = self.limits.repeat_interleave(len(scores) // len(self.limits))  # one row a beam
        last = limits <= input_ids.shape[1] - 1  # the start token is no token of the translation
        ended = scores.masked_fill(last[:, None], float("-inf"))
        ended[:, seq2seq.EOS] = scores[:, seq2seq.EOS]
        return ended


class SupernetForSeq2SeqLM(SupernetModel, GenerationMixin):
    """A translator; decodes without a cache, so the exported network is faster."""

    def __init__(self, config: SupernetConfig) -> None:
        super().__init__(config)
        self.network: Any = config.network()
        if self.network.config.share == "all":
            self._tied_weights_keys = {"network.source_embedding.weight": "network.target_embedding.weight"}
        self.post_init()
        self.generation_config.use_cache = False
        if self.network.config.share == "all":
            self._tied = dict(self._tied_weights_keys)

    def get_encoder(self, modality: str | None = None) -> Encoder:
        """Return the encoder for ``generate``."""
        return Encoder(self.network)

    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsProcessorList | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate as transformers does; the config's ``max_len_a`` and ``max_len_b`` limit each sentence."""
        config = generation_config or self.generation_config
        source = kwargs.get("input_ids") if inputs is None else inputs
        processors = LogitsProcessorList(logits_processor or [])
        if source is not None:
            if kwargs.get("attention_mask") is None:
                kwargs["attention_mask"] = (source != seq2seq.PAD).long()
            if hasattr(config, "max_len_a"):
                lengths = (kwargs["attention_mask"] != 0).sum(1)
                most = self.network.config.max_positions - 1
                processors.append(SourceLengthLimit(lengths, config.max_len_a, config.max_len_b, most))
        return super().generate(inputs, generation_config, processors, **kwargs)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: Any = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        net = self.network
        if encoder_outputs is None:
            assert input_ids is not None
            encoder_outputs = Encoder(net)(input_ids)
            attention_mask = (input_ids != seq2seq.PAD).long() if attention_mask is None else attention_mask
        if decoder_input_ids is None:
            assert labels is not None
            shifted = labels.masked_fill(labels == -100, seq2seq.PAD)
            decoder_input_ids = F.pad(shifted[:, :-1], (1, 0), value=seq2seq.EOS)
        states = encoder_outputs[0]
        bias = torch.zeros(states.shape[:2], dtype=states.dtype, device=states.device)
        if attention_mask is not None:
            bias = bias.masked_fill(attention_mask == 0, float("-inf"))
        memory = Memory(list(states.split(net.encoder_width, -1)), Padded(bias[:, None, None, :]))
        x = net.embed(net.target_embedding, decoder_input_ids, net.decoder_width)
        for layer in net.decoder:
            x = layer(x, memory)
        logits = net.logits(x)
        loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return Seq2SeqLMOutput(loss=loss, logits=logits, encoder_last_hidden_state=states)

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:
        """Return the whole target so far, at every step."""
        kept = {k: kwargs.get(k) for k in ("attention_mask", "encoder_outputs")}
        return {"decoder_input_ids": input_ids, **kept}


AutoConfig.register(SupernetConfig.model_type, SupernetConfig, exist_ok=True)
for auto, model in (
    (AutoModelForMaskedLM, SupernetForMaskedLM),
    (AutoModelForSequenceClassification, SupernetForSequenceClassification),
    (AutoModelForImageClassification, SupernetForImageClassification),
    (AutoModelForVisualQuestionAnswering, SupernetForVisualQuestionAnswering),
    (AutoModelForSeq2SeqLM, SupernetForSeq2SeqLM),
):
    auto.register(SupernetConfig, model, exist_ok=True)
