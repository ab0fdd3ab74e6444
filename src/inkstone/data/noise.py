"""Settings of what is hidden of a text, to be restored."""

from typing import Literal

from pydantic import Field

from inkstone.core.config import Config


class NoiseConfig(Config):
    """What is hidden from models that learn by restoring text."""

    density: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens."""
    mean_span_length: float = Field(default=3.0, ge=1)
    """Tokens of a span on average (t5 and marian)."""
    restore: Literal["spans", "text"] = "spans"
    """What t5 and marian write: the spans, or the whole text, which takes longer and teaches them to copy."""
    whole_words: bool = False
    """Hide words and Chinese characters with all their tokens (encoders)."""
