"""Settings of the methods that put a head on a model."""

from typing import Literal

from pydantic import Field

from inkstone.core.config import Config


class HeadTeaching(Config):
    """The head of classify, regress, tokens, span and reward."""

    dropout: float | None = Field(default=None, ge=0, lt=1)
    """On what the head reads; by default the model's own."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: a text of a rare class counts more, so that all classes count alike (classify)."""
    doc_stride: int = Field(default=128, ge=0)
    """Tokens that two windows of a long context have in common (span)."""
    reward_centering: float = Field(default=0.0, ge=0)
    """How strongly rewards are held around 0 (reward); 0.01 is usual."""
