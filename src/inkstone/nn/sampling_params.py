"""How completions are drawn, for Python and for the command line; imported without torch."""

import secrets
from typing import Annotated

from pydantic import Field

from inkstone.core.config import Config


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
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1 makes tokens that were already used less likely."""
    seed: int | None = Field(default=None, ge=0, lt=2**64)
    """Start of the random streams; None draws one."""
    num_return_sequences: int = Field(default=1, gt=0)
    """Completions of the same prompt; number i is the same whatever their number."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """A completion ends before the first of these strings."""

    def with_seed(self) -> "SamplingParams":
        """The same params with a seed in any case."""
        return self if self.seed is not None else self.model_copy(update={"seed": secrets.randbits(32)})
