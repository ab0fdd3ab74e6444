"""From logits to the next token: what params ask for, and random numbers that belong to one sequence alone."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.nn.constraints import bad_words, min_length
from inkstone.nn.processors import (
    LogitsProcessor,
    count_penalties,
    logit_bias,
    min_p,
    repetition_penalty,
    temperature,
    top_k,
    top_p,
    typical_p,
)
from inkstone.nn.sampling_params import SamplingParams


def logits_processors(
    params: SamplingParams, prompt_length: int = 0, stop_ids: Collection[int] = ()
) -> list[LogitsProcessor]:
    """What `params` ask for: biases and penalties, what is forbidden, then what narrows the choice.

    In the order of `transformers`: temperature, top-k, top-p, min-p, typical; of these none when the temperature is 0.

    Args:
        params: of the completion.
        prompt_length: tokens before it.
        stop_ids: tokens that end it.
    """
    processors: list[LogitsProcessor] = []
    if params.logit_bias:
        processors.append(logit_bias(params.logit_bias))
    if params.repetition_penalty != 1:
        processors.append(repetition_penalty(params.repetition_penalty))
    if params.frequency_penalty or params.presence_penalty:
        processors.append(count_penalties(params.frequency_penalty, params.presence_penalty, prompt_length))
    if params.bad_words_ids:
        processors.append(bad_words(params.bad_words_ids))
    if params.min_new_tokens and stop_ids:
        processors.append(min_length(prompt_length + params.min_new_tokens, stop_ids))
    if params.temperature == 0:
        return processors
    if params.temperature != 1:
        processors.append(temperature(params.temperature))
    if params.top_k is not None:
        processors.append(top_k(params.top_k))
    if params.top_p is not None and params.top_p < 1:
        processors.append(top_p(params.top_p))
    if params.min_p:
        processors.append(min_p(params.min_p))
    if params.typical_p is not None and params.typical_p < 1:
        processors.append(typical_p(params.typical_p))
    return processors


def uniform(seed: int, index: int, step: int) -> float:
    """Random number in [0, 1) of sequence `index` at `step`: a function of the three and of nothing else.

    One block of the counter-based generator Philox-4×64 (Salmon et al. 2011, doi:10.1145/2063384.2063405), keyed by
    seed and index, at counter `step`; 48 bits of it, so that products with float64 sums stay below the sum.
    """
    key = np.array([seed, index], dtype=np.uint64)
    counter = np.array([step, 0, 0, 0], dtype=np.uint64)
    bits = int(np.random.Philox(key=key, counter=counter).random_raw())
    return (bits >> 16) * 2.0**-48


def choose_tokens(logits: Tensor, params: SamplingParams, indices: Sequence[int], step: int) -> list[int]:
    """The next token of each sequence.

    Greedy when the temperature is 0, otherwise drawn with the sequence's own random number.

    Args:
        logits: (B, V), processed.
        params: `seed` must be set.
        indices: number of each sequence among the completions of its prompt, B of them.
        step: number of tokens of the completions so far.

    Raises:
        CheckpointError: a logit is NaN.
    """
    if params.temperature == 0:
        return likeliest(logits)
    assert params.seed is not None
    return draw(logits, [uniform(params.seed, index, step) for index in indices])


def likeliest(logits: Tensor) -> list[int]:
    """The token with the greatest of the logits (B, V), the first of several.

    Raises:
        CheckpointError: a logit is NaN.
    """
    return _checked(logits).argmax(dim=-1).tolist()


def draw(logits: Tensor, numbers: Sequence[float]) -> list[int]:
    """Tokens by inversion: the first, in the order of ids, whose cumulative probability exceeds the row's number.

    Args:
        logits: (B, V).
        numbers: B of them, in [0, 1).

    Raises:
        CheckpointError: a logit is NaN.
    """
    cumulative = _checked(logits).double().softmax(dim=-1).cumsum(dim=-1)
    targets = torch.tensor(numbers, dtype=torch.float64).unsqueeze(1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True).squeeze(1).tolist()


def _checked(logits: Tensor) -> Tensor:
    """On the CPU, in whose float64 equal logits give equal tokens whatever the device."""
    logits = logits.detach().cpu()
    check_numbers(logits)
    return logits


def check_numbers(logits: Tensor) -> None:
    """Refuse what a broken model says.

    Raises:
        CheckpointError: a logit is NaN.
    """
    if logits.isnan().any():
        raise CheckpointError("the model's logits are NaN", remedy="its weights are damaged, or its dtype too narrow")


def check_token_ids(params: SamplingParams, vocab_size: int) -> None:
    """Refuse params that name tokens the model does not have.

    Raises:
        ConfigError: names the key.
    """
    named = {
        "logit_bias": params.logit_bias,
        "bad_words_ids": [token for word in params.bad_words_ids for token in word],
        "stop_token_ids": params.stop_token_ids,
    }
    check_in_vocabulary(named, vocab_size)


def check_in_vocabulary(named: Mapping[str, Iterable[int]], vocab_size: int) -> None:
    """Refuse tokens the model does not have; `named` are those of each key.

    Raises:
        ConfigError: names the key.
    """
    for key, token_ids in named.items():
        if (greatest := max(token_ids, default=0)) >= vocab_size:
            raise ConfigError(
                f"token {greatest} is not in the model's vocabulary of {vocab_size:,}",
                where=key,
                remedy="give token ids of this model's tokenizer",
            )
