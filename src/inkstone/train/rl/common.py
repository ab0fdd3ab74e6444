"""What grpo and ppo ask of a recipe, a model and its data alike."""

from collections.abc import Sequence
from typing import Any

from inkstone.data.examples.records import Example, Problem
from inkstone.nn.models.base import Decoder, Model
from inkstone.train.config_align import AlignConfig
from inkstone.train.loop import Evaluator, Examples
from inkstone.train.method import Encode, Lesson, as_decoder
from inkstone.train.micro_batches import by_length
from inkstone.train.objectives.settings import settings_of
from inkstone.train.rl.config import RLConfig
from inkstone.train.rl.groups import Sampler
from inkstone.train.rl.prompts import Prompt, prompt_encoder
from inkstone.train.rl.rewards import Reward
from inkstone.train.rl.rounds import Rounds
from inkstone.train.rl.scoring import RewardModel, Scoring, reward_functions
from inkstone.train.rl.validation import ValidationReward

FORMATS = ("problems",)


def rl_config(lesson: Lesson) -> RLConfig:
    """The settings of learning from rewards."""
    return settings_of(lesson, AlignConfig).rl


def policy_of(lesson: Lesson, _examples: Sequence[Example]) -> Decoder:
    """The loaded model, where it continues text."""
    model: Model = as_decoder(lesson.model)
    assert isinstance(model, Decoder)
    return model


def encoder(lesson: Lesson) -> Encode[Prompt]:
    """Problems → prompts, those refused that lack what a reward needs."""
    config = rl_config(lesson)
    functions: list[Reward] = list(reward_functions(config, has_model="reward" in lesson.inputs).values())

    def check(problem: Problem) -> None:
        for function in functions:
            function(problem, "")

    return prompt_encoder(lesson, config, check)


def sampler_of(lesson: Lesson) -> Sampler:
    """What draws completions of the lesson's model and judges them."""
    config, settings, folder = rl_config(lesson), lesson.settings, lesson.inputs.get("reward")
    split = by_length(lesson.config.chosen_micro_batch_tokens(settings.device.type), packed=False)
    model = None if folder is None else RewardModel(folder, settings.device, split)
    return Sampler(lesson, config, Scoring(config, model))


def evaluate(lesson: Lesson, prompts: Sequence[Prompt], rounds: Examples[Any]) -> Evaluator:
    """The mean reward on held-out problems."""
    assert isinstance(rounds, Rounds)
    return ValidationReward(lesson, rl_config(lesson), prompts, rounds.sampler)
