"""What a model writes at an evaluation, so that people see it learn: the likeliest continuation of the same prompt."""

from collections.abc import Sequence
from typing import Any

import torch

from inkstone.checkpoint.save import stop_ids
from inkstone.data.examples.encoded import Ids, JudgedSequence, SequencePair, SourceTarget, TokenSequence
from inkstone.data.packing import PackedSequence
from inkstone.engine.config import EngineConfig
from inkstone.engine.offline import complete
from inkstone.engine.open import open_engine
from inkstone.engine.request import Request
from inkstone.nn.layers.loss import IGNORED
from inkstone.nn.models.base import Decoder, EncoderDecoder, Model
from inkstone.nn.sampling_params import SamplingParams
from inkstone.tokenizer import Tokenizer
from inkstone.train.loop import LoopSettings
from inkstone.train.precision import autocast
from inkstone.train.row_log import Row

_ALONE = EngineConfig(max_running=1)
_FIRST_TOKENS = 16
"""Prompt of a text that is learned from its first token on."""


class Continuation:
    """Writes on from the same prompt, at every call.

    Args:
        tokenizer: of the model.
        settings: of the run; `sample_tokens` is how much is written.
        prompt_ids: not empty.
    """

    def __init__(self, tokenizer: Tokenizer, settings: LoopSettings, prompt_ids: list[int]) -> None:
        self._tokenizer, self._settings, self._prompt_ids = tokenizer, settings, prompt_ids

    def __call__(self, model: Model) -> Row:
        """`prompt` and `completion`."""
        settings, tokenizer = self._settings, self._tokenizer
        params = SamplingParams(max_new_tokens=settings.config.sample_tokens, temperature=0.0, seed=0)
        was_training = model.training
        model.eval()
        with autocast(settings.device, settings.dtype), torch.inference_mode():
            if isinstance(model, EncoderDecoder):
                request = Request([model.decoder_start_token_id], params, self._prompt_ids)
            else:
                assert isinstance(model, Decoder)
                request = Request(self._prompt_ids, params)
            engine = open_engine(model, _ALONE, stop_ids=tuple(stop_ids(tokenizer, model)), packed=False)
            ((completion,),) = complete(engine, [request])
        model.train(was_training)
        return {
            "prompt": tokenizer.decode(self._prompt_ids, skip_special_tokens=False),
            "completion": tokenizer.decode(completion.token_ids),
        }


def continuation(
    model: Model, tokenizer: Tokenizer, settings: LoopSettings, encoded: Sequence[Any]
) -> Continuation | None:
    """Of the prompt of the first of some encodings; None where the model writes no text, or is not to."""
    if not encoded or settings.config.sample_tokens == 0 or not isinstance(model, Decoder | EncoderDecoder):
        return None
    prompt_ids = _prompt_of(encoded[0])
    return Continuation(tokenizer, settings, prompt_ids) if prompt_ids else None


def _prompt_of(encoded: Any) -> list[int]:
    """What comes before the first token that is learned, or the first few tokens of a text that is learned as a whole.

    Empty where nothing is written.
    """
    match encoded:
        case SourceTarget(source_ids):
            prompt: list[int] = source_ids.tolist()
            return prompt
        case SequencePair(sequence, _) | JudgedSequence(sequence, _):
            return _beginning(sequence.input_ids, sequence.labels)
        case TokenSequence(input_ids, labels):
            return _beginning(input_ids, labels)
        case PackedSequence(input_ids, labels, _, segment_ids):
            first = segment_ids == segment_ids[0]
            return _beginning(input_ids[first], labels[first])
    return []


def _beginning(input_ids: Ids, labels: Ids) -> list[int]:
    learned = labels != IGNORED
    count = int(learned.argmax()) + 1 if not learned[0] else min(_FIRST_TOKENS, (len(input_ids) + 1) // 2)
    beginning: list[int] = input_ids[:count].tolist()
    return beginning
