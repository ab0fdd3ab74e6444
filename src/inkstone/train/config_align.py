"""Settings of the stage `align`."""

from typing import Literal

from inkstone.train.config_teach import TeachConfig
from inkstone.train.objectives.preference_config import PreferenceConfig
from inkstone.train.rl.config import RLConfig


class AlignConfig(TeachConfig):
    """Teach a model what is preferred."""

    method: Literal["dpo", "ipo", "kto", "orpo", "grpo", "ppo"] = "dpo"
    """dpo, ipo and orpo learn from pairs of a better and a worse answer, kto from answers that were judged one by one
    (or from such pairs), grpo and ppo from rewards."""
    preference: PreferenceConfig = PreferenceConfig()
    """Of dpo, ipo, kto and orpo."""
    rl: RLConfig = RLConfig()
    """Of grpo and ppo."""
