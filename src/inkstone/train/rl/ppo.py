"""Learning from rewards with a critic that says what to expect: PPO."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inkstone.data.examples.records import Example
from inkstone.nn.models.base import Decoder, Model
from inkstone.train.method import Lesson, Method
from inkstone.train.objectives import Batch
from inkstone.train.objectives.targets import target_states
from inkstone.train.order import shuffled
from inkstone.train.rl import common
from inkstone.train.rl.advantages import Floats, generalized_advantages, whitened
from inkstone.train.rl.critic import add_critic, critic_parameters, remove_critic, values
from inkstone.train.rl.experience import Experience
from inkstone.train.rl.groups import Groups
from inkstone.train.rl.objective import PolicyGradient
from inkstone.train.rl.policy import Layout, of_sequences
from inkstone.train.rl.prompts import Prompt
from inkstone.train.rl.rounds import Rounds


class CriticRounds(Rounds):
    """Rounds in which a token is as good as what followed is better than the critic expected (GAE).

    The reward comes with the last token; with a reference, `kl_coefficient` times the log-ratio of policy and
    reference is taken from the reward of each token (Ouyang et al. 2022, arXiv:2203.02155, eq. 2).
    """

    def with_advantages(self, groups: Groups, experiences: list[Experience]) -> list[Experience]:
        """Advantages, values and returns of each token."""
        config = self.config.ppo
        expected = of_sequences(
            lambda batch: values(self.model, target_states(self.model, batch)[0]),
            [each.sequence for each in experiences],
            self.lesson.settings,
            self.layout,
        )
        result = []
        for each, reward, old_values in zip(experiences, groups.rewards.flatten(), expected, strict=True):
            rewards = self._token_rewards(each, reward)
            advantages = generalized_advantages(rewards, old_values, config.gamma, config.gae_lambda)
            result.append(each._replace(advantages=advantages, old_values=old_values, returns=advantages + old_values))
        return _whitened(result) if config.whiten else result

    def teaches_nothing(self, groups: Groups) -> NDArray[np.bool_]:
        """All groups where all rewards are equal: the critic compares with other prompts, too."""
        return np.full(len(groups.prompts), groups.rewards.min() == groups.rewards.max())

    def _token_rewards(self, experience: Experience, reward: float) -> Floats:
        rewards = np.zeros_like(experience.old_log_probabilities)
        if self.config.kl_coefficient:
            log_ratios = experience.old_log_probabilities - experience.reference_log_probabilities
            rewards -= np.float32(self.config.kl_coefficient) * log_ratios
        rewards[-1] += np.float32(reward)
        return rewards


def _whitened(experiences: list[Experience]) -> list[Experience]:
    ends = np.cumsum([len(each.advantages) for each in experiences])[:-1]
    parts = np.split(whitened(np.concatenate([each.advantages for each in experiences])), ends)
    return [each._replace(advantages=part) for each, part in zip(experiences, parts, strict=True)]


class ActorCritic(PolicyGradient):
    """The clipped objective, all tokens of the step alike, plus `value_coefficient` times the critic's loss."""

    def loss(self, model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed over the completions."""
        states, labels = target_states(model, batch)
        loss, metrics = self.policy_loss(model, batch, states, labels)
        config = self.config.ppo
        value_losses = clipped_value_loss(
            values(model, states), batch["old_values"], batch["returns"], config.value_clip
        )
        metrics["value_loss"] = value_losses.detach().sum() * batch["token_share"]
        return loss + config.value_coefficient * (batch["weights"] * value_losses).sum(), metrics


def clipped_value_loss(expected: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Half the squared error of each value (M,), the larger one of the value and of it within `clip` of the old one.

    As in OpenAI's baselines (Huang et al. 2022, "The 37 implementation details of PPO", detail 9).
    """
    bounded = old + (expected - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((expected - returns) ** 2, (bounded - returns) ** 2)


def _prepare(lesson: Lesson, examples: Sequence[Example]) -> Model:
    policy = common.policy_of(lesson, examples)
    add_critic(policy)
    return policy


def _objective(lesson: Lesson, _prompts: Sequence[Prompt]) -> ActorCritic:
    return ActorCritic(common.rl_config(lesson), "dapo", 0.0, Layout.of(lesson))


def _draw(lesson: Lesson, prompts: Sequence[Prompt]) -> CriticRounds:
    assert isinstance(lesson.model, Decoder)
    for parameter in critic_parameters(lesson.model):
        parameter.requires_grad_(True)  # whatever an adapter or `freeze` left as it was
    return CriticRounds(lesson, common.rl_config(lesson), shuffled(lesson, prompts), common.sampler_of(lesson))


def _finish(model: Model) -> Model:
    assert isinstance(model, Decoder)
    remove_critic(model)
    return model


PPO = Method[Any](
    "ppo",
    "align",
    common.FORMATS,
    common.encoder,
    _objective,
    prepare=_prepare,
    draw=_draw,
    evaluate=common.evaluate,
    finish=_finish,
)
