"""Settings of learning from rewards."""

from pydantic import Field

from inkstone.core.config import Config


class RLConfig(Config):
    """How rollouts are drawn and learned from."""

    group_size: int = Field(default=8, gt=1)
    """Completions of a prompt."""
