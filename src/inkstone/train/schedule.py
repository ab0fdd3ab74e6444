"""Learning-rate schedules: a factor for each step."""

import math
from typing import Literal

from pydantic import Field

from inkstone.core.config import Config


class ScheduleConfig(Config):
    """How the learning rate moves over a run."""

    name: Literal["wsd", "cosine", "constant"] = "wsd"
    """wsd: warm up, stay, decay linearly (Hu et al. 2024, arXiv:2404.06395). cosine: Loshchilov & Hutter 2017."""
    warmup: float = Field(default=0.02, ge=0, lt=1)
    """Share of the steps that warm up linearly from 0."""
    decay: float = Field(default=0.4, ge=0, le=1)
    """Share of the steps that decay (wsd only; cosine decays over all steps after the warm-up)."""
    final: float = Field(default=0.0, ge=0, le=1)
    """Learning rate at the end, as a share of its highest value."""


def learning_rate_factor(config: ScheduleConfig, step: int, num_steps: int) -> float:
    """Factor in [0, 1] of the learning rate for step `step` (counted from 0) of `num_steps`."""
    warmup = round(config.warmup * num_steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.name == "constant":
        return 1.0
    if config.name == "cosine":
        progress = (step - warmup) / max(1, num_steps - warmup)
        return config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * progress))
    decay = min(round(config.decay * num_steps), num_steps - warmup)
    left = num_steps - step
    if left > decay:
        return 1.0
    return config.final + (1 - config.final) * left / (decay + 1)
