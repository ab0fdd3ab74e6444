"""How completions are drawn, for Python and for the command line; imported without torch."""

import secrets
from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import Field, model_validator

from inkstone.core.config import Config

TokenId = Annotated[int, Field(ge=0)]


class SamplingParams(Config):
    """How completions are drawn; the same params and prompt give the same text."""

    max_new_tokens: int = Field(default=256, gt=0)
    """Longest completion, in tokens."""
    temperature: float = Field(default=0.8, ge=0)
    """0 takes the likeliest token every time; below 1 is safer, above 1 more surprising."""
    top_k: int | None = Field(default=None, gt=0)
    """Draw among this many likeliest tokens."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Draw among the fewest likeliest tokens whose probabilities sum to this."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    """Draw among tokens at least this fraction as likely as the likeliest."""
    typical_p: float | None = Field(default=None, gt=0, le=1)
    """Draw among the tokens whose surprise is nearest to what is expected, until their probabilities sum to this."""
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1 makes tokens that were already used, in the prompt too, less likely."""
    frequency_penalty: float = 0.0
    """Taken from a token's logit for each time that the completion has it."""
    presence_penalty: float = 0.0
    """Taken from the logits of all tokens that the completion has."""
    logit_bias: Mapping[TokenId, float] = {}
    """Added to the logits of these tokens."""
    bad_words: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Words that are never written, as their tokenizer writes them: alone and after a space."""
    bad_words_ids: tuple[Annotated[tuple[TokenId, ...], Field(min_length=1)], ...] = ()
    """Token sequences that are never written."""
    min_new_tokens: int = Field(default=0, ge=0)
    """A completion does not end by a stop token before it has this many tokens."""
    stop_token_ids: tuple[TokenId, ...] = ()
    """Tokens that end a completion, besides the model's own."""
    ignore_eos: bool = False
    """Go on after the model's own stop tokens."""
    seed: int | None = Field(default=None, ge=0, lt=2**64)
    """Start of the random streams; None draws one."""
    num_return_sequences: int = Field(default=1, gt=0)
    """Completions of the same prompt; number i is the same whatever their number."""
    best_of: int | None = Field(default=None, gt=0)
    """Draw this many and give the likeliest, by the mean log-probability of their tokens."""
    log_probabilities: int | None = Field(default=None, ge=0)
    """Tell the log-probability of every token, and of this many likeliest ones."""
    prompt_log_probabilities: int | None = Field(default=None, ge=0)
    """The same of the prompt's tokens, under the model itself."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """A completion ends before the first of these strings."""

    @model_validator(mode="after")
    def _check(self) -> "SamplingParams":
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens {self.min_new_tokens} exceeds max_new_tokens {self.max_new_tokens}")
        if self.best_of is not None and self.best_of < self.num_return_sequences:
            raise ValueError(f"best_of {self.best_of} is less than num_return_sequences {self.num_return_sequences}")
        return self

    @property
    def num_drawn(self) -> int:
        """Completions that are drawn of each prompt."""
        return self.best_of or self.num_return_sequences

    def ends(self, stop_ids: Collection[int]) -> frozenset[int]:
        """The tokens that end a completion, `stop_ids` being the model's own."""
        return frozenset(self.stop_token_ids) | (frozenset() if self.ignore_eos else frozenset(stop_ids))

    def with_seed(self) -> "SamplingParams":
        """The same params with a seed in any case."""
        return self if self.seed is not None else self.model_copy(update={"seed": secrets.randbits(32)})
