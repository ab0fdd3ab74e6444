"""How likely a model finds a text."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inkstone.core.errors import ConfigError, InputError
from inkstone.tasks.generate import encode_prompt

if TYPE_CHECKING:
    from torch import Tensor

    from inkstone.nn.models.base import Decoder
    from inkstone.tokenizer import Tokenizer

_LOGITS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Score:
    """Probabilities of a text's tokens, each given those before it."""

    logprob: float
    """Sum of `token_logprobs`."""
    token_ids: tuple[int, ...]
    """The whole text's, with the bos token where the tokenizer adds one."""
    token_logprobs: tuple[float, ...]
    """Natural-log probability of every token after the first."""

    @property
    def num_tokens(self) -> int:
        """Number of tokens scored: all but the first."""
        return len(self.token_logprobs)

    @property
    def mean_logprob(self) -> float:
        """Natural-log probability of a token, on average; NaN when none was scored."""
        return self.logprob / self.num_tokens if self.num_tokens else math.nan

    @property
    def perplexity(self) -> float:
        """`exp(-mean_logprob)`; NaN when no token was scored."""
        return math.exp(-self.mean_logprob)


def score(model: "Decoder", tokenizer: "Tokenizer", text: str, *, window: int | None = None) -> Score:
    """The log-probability of every token of `text` after the first, computed in float32.

    Args:
        model: a decoder.
        tokenizer: the model's own.
        text: at most the model's context long, unless `window` is given.
        window: score a longer text in windows of so many tokens, each half over the one before it, so that every
            token is given at least `window // 2` earlier ones (where there are so many).

    Raises:
        InputError: the text has no tokens, or is longer than the model's context and no `window` is given.
        ConfigError: `window` is below 2 or longer than the model's context.
    """
    token_ids = encode_prompt(tokenizer, text)
    logprobs = token_logprobs(model, token_ids, window=window)
    return Score(math.fsum(logprobs), tuple(token_ids), tuple(logprobs))


def token_logprobs(model: "Decoder", token_ids: Sequence[int], *, window: int | None = None) -> list[float]:
    """Natural-log probabilities of `token_ids[1:]`; arguments and errors as in `score`."""
    import torch

    size = _window_size(model, len(token_ids), window)
    device = model.device
    logprobs: list[float] = []
    start = 0
    with torch.inference_mode():
        while len(logprobs) < len(token_ids) - 1:
            input_ids = torch.tensor([token_ids[start : start + size]], device=device)
            for part in _logprobs(model, input_ids, skip=len(logprobs) - start):
                logprobs += part.tolist()
            start += size // 2
    return logprobs


def _window_size(model: "Decoder", num_tokens: int, window: int | None) -> int:
    context = model.context
    if num_tokens == 0:
        raise InputError("the text has no tokens", where="text", remedy="give at least one character")
    if window is None and num_tokens > context:
        raise InputError(
            f"the text has {num_tokens:,} tokens, the model's context is {context:,}",
            where="text",
            remedy=f"shorten it, or score it in parts with window={context}",
        )
    if window is not None and not 2 <= window <= context:
        raise ConfigError(f"must be from 2 to the model's context, {context}, got {window}", where="window")
    return context if window is None else window


def _logprobs(model: "Decoder", input_ids: "Tensor", skip: int) -> "Iterator[Tensor]":
    """Log-probabilities of tokens `skip + 1 …` of (1, T), some at a time so that logits stay small."""
    hidden_states = model.hidden_states(input_ids)[0, skip:-1]
    targets = input_ids[0, skip + 1 :]
    for start in range(0, len(targets), _LOGITS_AT_ONCE):
        part = slice(start, start + _LOGITS_AT_ONCE)
        yield model.logits(hidden_states[part]).log_softmax(dim=-1).gather(-1, targets[part].unsqueeze(1)).squeeze(1)
