"""Settings of learning from preferences."""

from pydantic import Field

from inkstone.core.config import Config


class PreferenceConfig(Config):
    """How strongly preferences move the policy away from the reference."""

    beta: float = Field(default=0.1, gt=0)
    """Strength of the tie to the reference."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of preferences that are the wrong way round (dpo)."""
