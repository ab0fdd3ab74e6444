"""Settings of learning from rewards."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from inkstone.core.config import Config


class PPOConfig(Config):
    """What only ppo has: a critic, and advantages made with it."""

    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """λ: 0 trusts the critic, 1 the reward that came in the end."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount of a reward that comes one token later."""
    value_coefficient: float = Field(default=0.1, ge=0)
    """Weight of the critic's loss."""
    value_clip: float = Field(default=0.2, gt=0)
    """How far a value may move from the rollout's before its loss stops to fall."""
    whiten: bool = True
    """Give the advantages of a round mean 0 and deviation 1."""


class RLConfig(Config):
    """How rollouts are drawn and learned from."""

    group_size: int = Field(default=8, gt=0)
    """Completions of a prompt; a step has `batch_size` prompts, each with so many."""
    max_new_tokens: int = Field(default=256, gt=0)
    """Longest completion."""
    temperature: float = Field(default=1.0, gt=0)
    """Of drawing; log-probabilities are of the same temperature everywhere."""
    rewards: Mapping[str, float] = Field(default_factory=dict)
    """Reward → weight: math, exact, length, format, plug-ins, and `model` for the reward model given as `reward`; by
    default that model where one is given, else math."""
    format_pattern: str | None = None
    """Regular expression that a whole completion must match to have the reward `format`."""
    overlong_tokens: int = Field(default=0, ge=0)
    """Completions that come so close to max_new_tokens lose up to 1 of their reward (DAPO's soft punishment)."""
    ignore_truncated: bool = False
    """Learn nothing from completions that were cut off."""
    updates_per_rollout: int = Field(default=1, gt=0)
    """Steps that learn from the same rollouts (μ)."""
    kl_coefficient: float = Field(default=0.01, ge=0)
    """Strength of the tie to the initial model: part of grpo's loss, of ppo's rewards; 0 keeps no copy of it."""
    clip_low: float = Field(default=0.2, gt=0, le=1)
    """How far the importance ratio may fall below 1."""
    clip_high: float = Field(default=0.2, gt=0)
    """How far it may rise above 1; 0.28 in DAPO, which lets rare tokens grow."""
    loss_type: Literal["grpo", "dapo", "dr_grpo"] = "grpo"
    """How tokens are weighed (grpo): grpo, the mean over completions of the mean over their tokens; dapo, the mean
    over all tokens; dr_grpo, the sum over tokens divided by max_new_tokens."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What advantages are divided by (grpo): the deviation of the rewards of the group or of the whole batch, or
    nothing, as in Dr. GRPO."""
    resample: int = Field(default=0, ge=0)
    """Draw up to so many further batches of prompts in place of groups whose rewards are all equal (dynamic sampling,
    DAPO)."""
    rollout_batch: int = Field(default=256, gt=0)
    """Completions generated at a time; changes memory and speed only."""
    ppo: PPOConfig = PPOConfig()
    """Of ppo."""

    @model_validator(mode="after")
    def _check(self) -> "RLConfig":
        if "format" in self.rewards and self.format_pattern is None:
            raise ValueError("the reward format needs format_pattern")
        if self.overlong_tokens > self.max_new_tokens:
            raise ValueError(f"overlong_tokens {self.overlong_tokens} is more than max_new_tokens")
        return self
