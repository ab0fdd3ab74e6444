"""Learning from rewards by comparing completions of the same prompt: GRPO, with what DAPO and Dr. GRPO correct."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from inkstone.core.errors import ConfigError
from inkstone.data.examples.records import Example
from inkstone.nn.models.base import Model
from inkstone.train.method import Lesson, Method
from inkstone.train.order import shuffled
from inkstone.train.rl import common
from inkstone.train.rl.advantages import group_advantages
from inkstone.train.rl.experience import Experience
from inkstone.train.rl.groups import Groups
from inkstone.train.rl.objective import PolicyGradient
from inkstone.train.rl.policy import Layout
from inkstone.train.rl.prompts import Prompt
from inkstone.train.rl.rounds import Rounds


class GroupRounds(Rounds):
    """Rounds in which a completion is as good as it is better than its group (Shao et al. 2024, arXiv:2402.03300)."""

    def with_advantages(self, groups: Groups, experiences: list[Experience]) -> list[Experience]:
        """All tokens of a completion have its advantage."""
        advantages = group_advantages(groups.rewards, self.config.scale_rewards).flatten()
        return [
            each._replace(advantages=np.full_like(each.old_log_probabilities, advantage))
            for each, advantage in zip(experiences, advantages, strict=True)
        ]


def _prepare(lesson: Lesson, examples: Sequence[Example]) -> Model:
    if common.rl_config(lesson).group_size < 2:
        raise ConfigError(
            "grpo compares completions of the same prompt, and a group of 1 has nothing to compare",
            where="rl.group_size",
            remedy="set it to 2 or more; 8 is usual",
        )
    return common.policy_of(lesson, examples)


def _objective(lesson: Lesson, _prompts: Sequence[Prompt]) -> PolicyGradient:
    config = common.rl_config(lesson)
    return PolicyGradient(config, config.loss_type, config.kl_coefficient, Layout.of(lesson))


def _draw(lesson: Lesson, prompts: Sequence[Prompt]) -> GroupRounds:
    return GroupRounds(lesson, common.rl_config(lesson), shuffled(lesson, prompts), common.sampler_of(lesson))


GRPO = Method[Any](
    "grpo",
    "align",
    common.FORMATS,
    common.encoder,
    _objective,
    prepare=_prepare,
    draw=_draw,
    evaluate=common.evaluate,
)
