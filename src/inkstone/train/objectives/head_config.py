"""Settings of the methods that put a head on a model."""

from pydantic import Field

from inkstone.core.config import Config


class HeadTeaching(Config):
    """The head of classify, regress, tokens, span and reward."""

    dropout: float | None = Field(default=None, ge=0, lt=1)
    """On what the head reads; by default the model's own."""
