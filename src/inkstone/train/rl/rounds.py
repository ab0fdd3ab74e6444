"""Rounds of rollouts: drawn by the model as it stands, judged, and learned from in one or several steps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inkstone.nn.models.base import Decoder, Model
from inkstone.train.loop import Examples
from inkstone.train.method import Lesson
from inkstone.train.metrics import MetricsLog
from inkstone.train.objectives.log_probabilities import target_log_probabilities
from inkstone.train.rl.config import RLConfig
from inkstone.train.rl.diagnosis import Diagnosis
from inkstone.train.rl.experience import NOTHING, Experience, from_tensors, sequence_of, to_tensors
from inkstone.train.rl.groups import Groups, Sampler
from inkstone.train.rl.policy import Layout, of_sequences
from inkstone.train.rl.prompts import Prompt
from inkstone.train.rl.reference import Reference


class Rounds(ABC):
    """The endless examples of grpo and ppo; `batch` counts prompts, and gives `group_size` completions for each.

    Every `updates_per_rollout` steps prompts are drawn in the order of `prompts`, and completions of them by the model
    as it stands then. Everything follows from the seed and the weights.

    Args:
        lesson: its model draws.
        config: how.
        prompts: the endless prompts.
        sampler: draws and judges.
    """

    def __init__(self, lesson: Lesson, config: RLConfig, prompts: Examples[Prompt], sampler: Sampler) -> None:
        assert isinstance(lesson.model, Decoder)
        self.model: Decoder = lesson.model
        self.lesson, self.config = lesson, config
        self.layout = Layout.of(lesson)
        self.per_epoch = prompts.per_epoch
        self._prompts, self.sampler = prompts, sampler
        self._reference = Reference(lesson) if config.kl_coefficient else None
        self._diagnosis = Diagnosis(config)
        self._round = -1
        self._num_drawn = 0
        """Prompts drawn so far."""
        self._experiences: list[Experience] = []
        self._metrics: dict[str, float] = {}
        self._sample: dict[str, Any] | None = None
        """Of a round that was just drawn."""
        self._used_up = True

    @abstractmethod
    def with_advantages(self, groups: Groups, experiences: list[Experience]) -> list[Experience]:
        """The completions of all groups, one after the other, told how good they are."""

    def teaches_nothing(self, groups: Groups) -> NDArray[np.bool_]:
        """(P,): of which groups nothing can be learned, since rewards that are compared are equal."""
        return groups.is_equal

    def batch(self, start: int, size: int) -> Sequence[Experience]:
        """All completions of the round in which step `start / size` falls."""
        step = start // size
        without_dropout(self.model)
        number = step // self.config.updates_per_rollout
        if number != self._round:
            groups = self._draw(size)
            self._experiences = self.with_advantages(groups, self._experiences_of(groups))
            self._round, self._sample = number, self._sample_of(groups)
        return self._experiences

    def step_done(self, step: int, metrics: Mapping[str, float], log: MetricsLog) -> dict[str, float]:
        """What the rollouts were like; one of each round is logged, and a diagnosis where something is wrong."""
        self._used_up = step % self.config.updates_per_rollout == 0
        if self._sample is not None:
            log.write_sample(step, **self._sample)
            self._sample = None
        for text in self._diagnosis.after_step({**self._metrics, **metrics}):
            log.write(step, diagnosis=text)
        return self._metrics

    def state_tensors(self) -> dict[str, Tensor]:
        """Where the prompts stand, and the rollouts that are not used up."""
        tensors = {
            "position": torch.tensor([self._round, self._num_drawn]),
            **{f"diagnosis.{name}": value for name, value in self._diagnosis.state_tensors().items()},
        }
        if not self._used_up:
            metrics = sorted(self._metrics.items())
            tensors |= {f"metrics.{name}": torch.tensor(value, dtype=torch.float64) for name, value in metrics}
            tensors |= {f"experiences.{name}": value for name, value in to_tensors(self._experiences).items()}
        return tensors

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state_tensors` gave."""
        self._round, self._num_drawn = tensors["position"].tolist()
        self._diagnosis.load_state_tensors(_part(tensors, "diagnosis."))
        self._metrics = {name: float(value) for name, value in _part(tensors, "metrics.").items()}
        experiences = _part(tensors, "experiences.")
        self._experiences = from_tensors(experiences) if experiences else []
        self._used_up = not experiences

    def _draw(self, size: int) -> Groups:
        """`size` groups; those with equal rewards are replaced, as far as `resample` allows."""
        drawn = self._draw_once(size)
        is_equal = self.teaches_nothing(drawn)
        self._metrics = {**drawn.metrics(), "equal_groups": float(is_equal.mean())}
        useful, equal = drawn.chosen(~is_equal), drawn.chosen(is_equal)
        for _ in range(self.config.resample):
            if len(useful.prompts) >= size:
                break
            further = self._draw_once(size)
            useful = useful.joined(further.chosen(~self.teaches_nothing(further)))
        return useful.joined(equal).chosen(slice(size)) if self.config.resample else drawn

    def _draw_once(self, size: int) -> Groups:
        config = self.config
        prompts = self._prompts.batch(self._num_drawn, size)
        seeds = [prompt_seed(self.lesson.config.seed, self._num_drawn + number) for number in range(size)]
        self._num_drawn += size
        return self.sampler(prompts, seeds, temperature=config.temperature, group_size=config.group_size)

    def _experiences_of(self, groups: Groups) -> list[Experience]:
        """What is known of the completions before they are compared."""
        sequences = [sequence_of(prompt.input_ids, each.token_ids) for prompt, each in groups.pairs]
        reference = [NOTHING] * len(sequences)
        if self._reference is not None:
            with self._reference.model() as model:
                reference = of_sequences(
                    lambda batch: target_log_probabilities(model, batch, self.config.temperature),
                    sequences,
                    self.lesson.settings,
                    self.layout,
                )
        return [
            Experience(
                sequence,
                advantages=NOTHING,
                old_log_probabilities=each.log_probabilities,
                reference_log_probabilities=known,
                is_learned=not (each.is_truncated and self.config.ignore_truncated),
            )
            for (_, each), sequence, known in zip(groups.pairs, sequences, reference, strict=True)
        ]

    def _sample_of(self, groups: Groups) -> dict[str, Any]:
        prompt, each = groups.pairs[0]
        return {
            "prompt": self.lesson.tokenizer.decode(prompt.input_ids, skip_special_tokens=False),
            "completion": groups.texts[0][0],
            "answer": prompt.problem.answer,
            "reward": float(groups.rewards[0, 0]),
            "rewards": {name: float(values[0, 0]) for name, values in groups.parts.items()},
            "tokens": len(each.token_ids),
            "finish_reason": each.finish_reason,
        }


def prompt_seed(seed: int, number: int) -> int:
    """Of the random streams of the completions of the prompt that is drawn as number `number`."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0])


def without_dropout(model: Model) -> None:
    """Let the model compute the same every time, so that the first importance ratio is 1.

    Blocks keep to know that they are trained, since only then they forget what they compute (gradient checkpointing).
    """
    model.eval()
    for block in model.blocks:
        block.training = True


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
