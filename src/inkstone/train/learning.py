"""How each architecture learns from plain text: what its tokenizer needs, its examples and its objective."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from inkstone.data.masking import MaskedSequences, Masker, PlainSequences
from inkstone.data.span_corruption import CorruptedTexts, SpanCorruption, count_noise
from inkstone.nn.models.base import Model
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.extend import extend_tokenizer
from inkstone.tokenizer.special import MASK, PAD, sentinel
from inkstone.train.config import NewModelConfig, PretrainConfig
from inkstone.train.objectives import Objective
from inkstone.train.objectives.denoising import Denoising
from inkstone.train.objectives.experts import PretrainExperts
from inkstone.train.objectives.masked_lm import MaskedLanguageModeling
from inkstone.train.objectives.pretrain import Pretrain

if TYPE_CHECKING:
    from inkstone.train.loop import Examples


class Learning(NamedTuple):
    """What turns packed text into a loss."""

    objective: Objective[Any]
    length: int
    """Tokens of text in a packed sequence."""
    examples: Callable[[PlainSequences], "Examples[Any]"]
    """Packed sequences → what the objective collates, in the same order."""


def learning_of(config: PretrainConfig, tokenizer: Tokenizer) -> Learning:
    """How `config.model.arch` learns with a tokenizer of `equip`."""
    length, noise, seed = config.context_length, config.noise, config.seed
    learning = config.architecture.learning
    if learning == "masked_tokens":
        masker = Masker(tokenizer, noise.density, whole_words=noise.whole_words)
        first_id = tokenizer.special_tokens.get(tokenizer.special.cls or tokenizer.special.bos or "")
        return Learning(
            MaskedLanguageModeling(),
            length - (first_id is not None),
            lambda sequences: MaskedSequences(sequences, masker, first_id, seed),
        )
    if learning == "corrupted_spans":
        sentinel_ids = [tokenizer.special_tokens[name] for name in _sentinels(config)]
        whole = noise.restore == "text"
        corruption = SpanCorruption(
            sentinel_ids, tokenizer.eos_id, noise.density, noise.mean_span_length, whole_text=whole
        )
        # The whole text needs room for its end token.
        return Learning(Denoising(), length - whole, lambda sequences: CorruptedTexts(sequences, corruption, seed))
    sizes = config.shape(tokenizer.vocab_size).model_dump(include={"num_experts_per_tok", "router_aux_loss_coef"})
    return Learning(PretrainExperts(**sizes) if sizes else Pretrain(), length, lambda sequences: sequences)


def equip(tokenizer: Tokenizer, config: NewModelConfig) -> Tokenizer:
    """The tokenizer with the special tokens that `config.model.arch` learns with, the missing ones after all others.

    Masked language modeling needs a mask token, span corruption sentinels; both need padding.
    """
    learning = config.architecture.learning
    parts: dict[str, str] = {}
    if learning != "next_token" and tokenizer.pad_id is None:
        parts["pad"] = PAD
    if learning == "masked_tokens" and tokenizer.special.mask is None:
        parts["mask"] = MASK
    names = [*parts.values(), *(_sentinels(config) if learning == "corrupted_spans" else ())]
    missing = [name for name in names if name not in tokenizer.special_tokens]
    return extend_tokenizer(tokenizer, missing, **parts) if missing else tokenizer


def build_model(config: NewModelConfig, tokenizer: Tokenizer) -> Model:
    """The model of `config` with initial weights of its seed, for a tokenizer of `equip`."""
    token_ids = {"pad_token_id": tokenizer.pad_id, "decoder_start_token_id": tokenizer.pad_id}
    model = config.architecture.build(config.shape(tokenizer.vocab_size, token_ids))
    model.init_weights(torch.Generator().manual_seed(config.seed))
    return model


def _sentinels(config: NewModelConfig) -> list[str]:
    """As many as the spans of a sequence, and one for what comes after the last."""
    noise = config.noise
    _, num_spans = count_noise(config.context_length, noise.density, noise.mean_span_length)
    return [sentinel(number) for number in range(num_spans + 1)]
