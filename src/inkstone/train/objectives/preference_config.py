"""Settings of learning from preferences."""

from pydantic import Field

from inkstone.core.config import Config


class PreferenceConfig(Config):
    """How strongly preferences move the policy away from the reference."""

    beta: float = Field(default=0.1, gt=0)
    """dpo, kto: strength of the tie to the reference, higher is closer; ipo: the same, τ in its paper; orpo: weight of
    the odds ratio, λ in its paper."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of preferences that are the wrong way round (dpo)."""
    length_normalized: bool | None = None
    """Divide the log-probability of an answer by its number of tokens (dpo, ipo); by default only ipo does."""
    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of minus the mean log-probability of the preferred answer's tokens, which keeps that answer likely (dpo,
    ipo)."""
    desirable_weight: float = Field(default=1.0, ge=0)
    """Weight of good answers (kto); weights times counts should be of similar size for good and bad ones."""
    undesirable_weight: float = Field(default=1.0, ge=0)
    """Weight of bad answers (kto)."""
