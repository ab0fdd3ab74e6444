"""Answers that the student writes itself, for the teacher to judge (GKD)."""

from collections.abc import Sequence

import numpy as np

from inkstone.checkpoint.save import stop_ids
from inkstone.data.examples.encoded import TokenSequence
from inkstone.nn.models.base import Decoder
from inkstone.nn.sampling_params import SamplingParams
from inkstone.train.config_distill import DistillConfig
from inkstone.train.loop import Examples
from inkstone.train.method import Lesson
from inkstone.train.objectives.answers import num_prompt_tokens
from inkstone.train.objectives.distill_logits import Taught
from inkstone.train.precision import autocast
from inkstone.train.rl.rollouts import rollout


class WithOwnAnswers:
    """Examples of which a share has an answer that the student, as it is now, writes after the same prompt.

    Agarwal et al. 2023 (arXiv:2306.13649), algorithm 1. Which examples these are, and the random numbers that draw
    each answer, depend on nothing but the seed, so that a resumed run draws the same answers.

    Args:
        examples: of the data.
        lesson: the student and its tokenizer.
        config: the share, and how long answers may be.
    """

    def __init__(self, examples: Examples[Taught], lesson: Lesson, config: DistillConfig) -> None:
        self._examples, self._lesson, self._config = examples, lesson, config
        self._stop_ids = stop_ids(lesson.tokenizer, lesson.model)
        self.per_epoch = examples.per_epoch

    def batch(self, start: int, size: int) -> Sequence[Taught]:
        """Examples `start` to `start + size`, counted over all epochs."""
        examples = list(self._examples.batch(start, size))
        seeds: dict[int, int] = {}
        for number in range(size):
            random = np.random.default_rng((self._lesson.config.seed, start + number))
            if random.random() < self._config.on_policy:
                seeds[number] = int(random.integers(1 << 31))
        prompts = [_prompt(examples[number]) for number in seeds]
        for number, prompt, answer in zip(seeds, prompts, self._answers(prompts, list(seeds.values())), strict=True):
            trained = [False] * len(prompt) + [True] * len(answer)
            examples[number] = Taught(TokenSequence.of([*prompt, *answer], trained), by_student=True)
        return examples

    def _answers(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> list[tuple[int, ...]]:
        """What the student writes, each with its stop token unless it was cut off."""
        lesson = self._lesson
        model = lesson.model
        assert isinstance(model, Decoder)
        params = SamplingParams(max_new_tokens=self._config.max_new_tokens)
        model.eval()
        with autocast(lesson.settings.device, lesson.settings.dtype):
            drawn = rollout(model, prompts, params, seeds, stop_ids=self._stop_ids)
        model.train()
        return [
            answer.token_ids[: lesson.max_length - len(prompt)]
            for prompt, (answer,) in zip(prompts, drawn, strict=True)
        ]


def _prompt(example: Taught) -> list[int]:
    sequence = example.encoded
    assert isinstance(sequence, TokenSequence)
    prompt: list[int] = sequence.input_ids[: num_prompt_tokens(sequence)].tolist()
    return prompt
