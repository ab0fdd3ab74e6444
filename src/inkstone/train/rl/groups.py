"""Groups of completions of the same prompt, drawn and judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inkstone.checkpoint.save import stop_ids
from inkstone.nn.models.base import Decoder
from inkstone.nn.sampling_params import SamplingParams
from inkstone.train.method import Lesson
from inkstone.train.precision import autocast
from inkstone.train.rl.advantages import is_equal, overlong_penalty
from inkstone.train.rl.config import RLConfig
from inkstone.train.rl.prompts import Prompt
from inkstone.train.rl.rollouts import Rollout, rollout
from inkstone.train.rl.scoring import Scoring


@dataclass(frozen=True)
class Groups:
    """P prompts with G completions each."""

    prompts: list[Prompt]
    rollouts: list[list[Rollout]]
    texts: list[list[str]]
    rewards: NDArray[np.float64]
    """(P, G), with the penalty of completions that are too long."""
    parts: Mapping[str, NDArray[np.float64]]
    """Reward → (P, G), not weighted."""

    @property
    def pairs(self) -> list[tuple[Prompt, Rollout]]:
        """Every completion with its prompt, group after group."""
        return [(prompt, each) for prompt, group in zip(self.prompts, self.rollouts, strict=True) for each in group]

    @property
    def is_equal(self) -> NDArray[np.bool_]:
        """(P,): whether all rewards of a group are equal."""
        return is_equal(self.rewards)

    def chosen(self, wanted: NDArray[np.bool_] | slice) -> "Groups":
        """Some of the groups."""
        numbers = np.arange(len(self.prompts))[wanted].tolist()
        return Groups(
            [self.prompts[number] for number in numbers],
            [self.rollouts[number] for number in numbers],
            [self.texts[number] for number in numbers],
            self.rewards[numbers],
            {name: values[numbers] for name, values in self.parts.items()},
        )

    def joined(self, other: "Groups") -> "Groups":
        """Both, one after the other."""
        return Groups(
            self.prompts + other.prompts,
            self.rollouts + other.rollouts,
            self.texts + other.texts,
            np.concatenate([self.rewards, other.rewards]),
            {name: np.concatenate([values, other.parts[name]]) for name, values in self.parts.items()},
        )

    def metrics(self) -> dict[str, float]:
        """What the completions are like, on average."""
        flat = [each for group in self.rollouts for each in group]
        return {
            "reward": float(self.rewards.mean()),
            "reward_std": float(self.rewards.std()),
            **{f"reward_{name}": float(values.mean()) for name, values in self.parts.items() if len(self.parts) > 1},
            "completion_tokens": float(np.mean([len(each.token_ids) for each in flat])),
            "truncated": float(np.mean([each.is_truncated for each in flat])),
        }


class Sampler:
    """Draws completions and judges them.

    Args:
        lesson: its model draws.
        config: how.
        scoring: judges.
    """

    def __init__(self, lesson: Lesson, config: RLConfig, scoring: Scoring) -> None:
        assert isinstance(lesson.model, Decoder)
        self._model: Decoder = lesson.model
        self._lesson, self._config, self._scoring = lesson, config, scoring
        self._stop_ids = stop_ids(lesson.tokenizer, lesson.model)

    def __call__(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], *, temperature: float, group_size: int
    ) -> Groups:
        """`group_size` completions of each prompt, each with the random streams of its seed."""
        config, settings, tokenizer = self._config, self._lesson.settings, self._lesson.tokenizer
        params = SamplingParams(
            max_new_tokens=config.max_new_tokens, temperature=temperature, num_return_sequences=group_size
        )
        with autocast(settings.device, settings.dtype):
            rollouts = rollout(
                self._model,
                [prompt.input_ids for prompt in prompts],
                params,
                seeds,
                stop_ids=self._stop_ids,
                at_once=config.rollout_batch,
            )
        texts = [[tokenizer.decode(each.text_ids) for each in group] for group in rollouts]
        problems = [prompt.problem for prompt in prompts for _ in range(group_size)]
        scores = self._scoring(problems, [text for group in texts for text in group])
        lengths = np.asarray([len(each.token_ids) for group in rollouts for each in group])
        rewards = scores.total + overlong_penalty(lengths, config.max_new_tokens, config.overlong_tokens)
        shape = (len(prompts), group_size)
        parts = {name: values.reshape(shape) for name, values in scores.parts.items()}
        return Groups(list(prompts), rollouts, texts, rewards.reshape(shape), parts)
