"""The reward of a completion: several rewards, weighed and added."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from inkstone.checkpoint import load_checkpoint
from inkstone.core.errors import ConfigError, InputError
from inkstone.core.registry import lookup
from inkstone.data.examples.answers import sequence_to_judge
from inkstone.data.examples.records import Problem
from inkstone.nn.heads import HeadedModel
from inkstone.train.micro_batches import Split, numbered
from inkstone.train.objectives.headed import RowLayout, head_logits
from inkstone.train.rl.config import RLConfig
from inkstone.train.rl.rewards import Reward, matches

Judge = Callable[[Sequence[Problem], Sequence[str]], NDArray[np.float64]]
"""Problems and the texts of their completions → how good each is (N,)."""
_MODEL, _FORMAT, _DEFAULT = "model", "format", "math"
_SHORTEN = "lower rl.max_new_tokens, or train a reward model with a longer context"


class Scores(NamedTuple):
    """Of N completions."""

    total: NDArray[np.float64]
    """(N,), the weighted sum."""
    parts: Mapping[str, NDArray[np.float64]]
    """Reward → (N,), not weighted."""


class Scoring:
    """Judges completions.

    Args:
        config: names the rewards and their weights.
        model: the reward model, where there is one.

    Raises:
        ConfigError: a reward is not known, or lacks what it needs.
    """

    def __init__(self, config: RLConfig, model: Judge | None = None) -> None:
        self._weights = _weights(config, has_model=model is not None)
        functions = reward_functions(config, has_model=model is not None)
        self._judges: dict[str, Judge] = {name: _one_by_one(name, function) for name, function in functions.items()}
        if model is not None:
            self._judges[_MODEL] = model

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> Scores:
        """The rewards of completions of as many problems."""
        parts = {name: judge(problems, completions) for name, judge in self._judges.items()}
        total = np.zeros(len(completions))
        for name, values in parts.items():
            total += self._weights[name] * values
        return Scores(total, parts)


def reward_functions(config: RLConfig, *, has_model: bool) -> dict[str, Reward]:
    """The rewards that are computed, by name: all but the reward model's.

    Raises:
        ConfigError: one is not known, or a reward model is asked for and not given, or the other way round.
    """
    functions: dict[str, Reward] = {}
    for name in _weights(config, has_model=has_model):
        if name == _FORMAT:
            assert config.format_pattern is not None
            functions[name] = matches(config.format_pattern)
        elif name != _MODEL:
            functions[name] = lookup("rewards", name)
    return functions


def _weights(config: RLConfig, *, has_model: bool) -> Mapping[str, float]:
    weights = config.rewards or {_MODEL if has_model else _DEFAULT: 1.0}
    if (_MODEL in weights) == has_model:
        return weights
    if has_model:
        raise ConfigError("the reward model has no weight", where="rl.rewards", remedy=f"add {_MODEL}: 1 to it")
    raise ConfigError("there is no reward model", where="rl.rewards", remedy="give its folder as the input `reward`")


def _one_by_one(name: str, reward: Reward) -> Judge:
    def judge(problems: Sequence[Problem], completions: Sequence[str]) -> NDArray[np.float64]:
        values = np.asarray([reward(*each) for each in zip(problems, completions, strict=True)], dtype=np.float64)
        if not np.isfinite(values).all():
            number = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InputError(
                f"the reward {name} is {values[number]}",
                where=problems[number].where,
                remedy="let the reward return a finite number",
            )
        return values

    return judge


class RewardModel:
    """A judge that was learned: a model with a sequence head of one output, as the method `reward` makes it.

    It reads the conversation, or the plain text, with the completion; its own chat template and tokenizer render it.

    Args:
        folder: of the model.
        device: where it computes.
        split: how texts are divided among batches; shorter ones are padded.

    Raises:
        InputError: it is another kind of model.
    """

    def __init__(self, folder: Path, device: torch.device, split: Split) -> None:
        model, self._tokenizer = load_checkpoint(folder, str(device))
        if (
            not isinstance(model, HeadedModel)
            or model.head_config.kind != "sequence"
            or model.head_config.num_outputs != 1
        ):
            raise InputError(
                "not a reward model: it does not give one number for a text",
                where=folder,
                remedy="train one: stage finetune with method reward",
            )
        self._model, self._split = model, split
        self._layout = RowLayout(self._tokenizer.pad_id or 0)

    @torch.inference_mode()
    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> NDArray[np.float64]:
        """The reward of each completion (N,).

        Raises:
            InputError: a text does not fit into the model's context.
        """
        sequences = [
            sequence_to_judge(
                self._tokenizer, problem.prompt, completion, self._model.context, problem.where, remedy=_SHORTEN
            )
            for problem, completion in zip(problems, completions, strict=True)
        ]
        rewards = np.zeros(len(sequences))
        for numbers, part in numbered(self._split, sequences):
            batch = self._layout.batch([sequence.input_ids for sequence in part])
            logits = head_logits(self._model, {name: values.to(self._model.device) for name, values in batch.items()})
            rewards[numbers] = logits.squeeze(-1).double().cpu().numpy()
        return rewards
