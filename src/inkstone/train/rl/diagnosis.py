"""Why nothing is learned, in plain language: said once, with the numbers and what to do."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from inkstone.core.progress import say
from inkstone.train.rl.config import RLConfig

WINDOW = 10
"""Steps that are looked at together."""
_MOSTLY_EQUAL = 0.9
_MUCH_CLIPPED = 0.25
_DISAGREEING_RATIO = 1.5
_MOSTLY_TRUNCATED = 0.5
_SHRUNK = 0.25
_COLLAPSED = 0.1
_FAR = 1.0
_NOTICEABLE = 0.25


class Means(NamedTuple):
    """Of `WINDOW` steps."""

    reward: float
    reward_std: float
    equal_groups: float
    completion_tokens: float
    truncated: float
    entropy: float
    kl: float
    clip_share: float
    max_ratio: float


class Diagnosis:
    """Looks at the metrics of the last steps beside those of the first ones.

    Args:
        config: of the rollouts, named in remedies.
    """

    def __init__(self, config: RLConfig) -> None:
        self._config = config
        self._first: list[Means] = []
        self._last: list[Means] = []
        self._said = [False] * len(_CAUSES)

    def after_step(self, metrics: Mapping[str, float]) -> list[str]:
        """What is wrong since this step, if anything; it is printed, too."""
        row = Means(**{name: metrics.get(name, 0.0) for name in Means._fields})
        if len(self._first) < WINDOW:
            self._first.append(row)
        self._last = [*self._last[1 - WINDOW :], row]
        if len(self._last) < WINDOW:
            return []
        first, last = _mean(self._first), _mean(self._last)
        return list(self._news(first, last))

    def _news(self, first: Means, last: Means) -> Iterator[str]:
        for number, cause in enumerate(_CAUSES):
            text = None if self._said[number] else cause(first, last, self._config)
            if text is not None:
                self._said[number] = True
                say(f"diagnosis: {text}")
                yield text

    def state_tensors(self) -> dict[str, Tensor]:
        """All that it remembers."""
        return {
            "first": torch.tensor(self._first, dtype=torch.float64).view(-1, len(Means._fields)),
            "last": torch.tensor(self._last, dtype=torch.float64).view(-1, len(Means._fields)),
            "said": torch.tensor(self._said),
        }

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state_tensors` gave."""
        self._first = [Means(*row) for row in tensors["first"].tolist()]
        self._last = [Means(*row) for row in tensors["last"].tolist()]
        self._said = tensors["said"].tolist()


def _mean(rows: list[Means]) -> Means:
    return Means(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))


def _has_risen(first: Means, last: Means) -> bool:
    return last.reward > first.reward + _NOTICEABLE * first.reward_std


def _equal_rewards(first: Means, last: Means, config: RLConfig) -> str | None:
    if last.equal_groups < _MOSTLY_EQUAL:
        return None
    equal = f"in {last.equal_groups:.0%} of the groups all rewards are equal, so that there is nothing to learn from; "
    if _has_risen(first, last):
        return (
            f"{equal}the mean reward rose from {first.reward:.3f} to {last.reward:.3f}: these problems have nothing "
            f"more to teach, give harder ones; if too many are still wrong, raise rl.kl_coefficient (now "
            f"{config.kl_coefficient:g}) or lower learning_rate, so that the model tries longer"
        )
    return (
        f"{equal}the mean reward is {last.reward:.3f}. If the answers are all wrong (look at samples.jsonl): fine-tune "
        "on a few examples first, give easier problems, or check the reward and the column answer. If they are all "
        f"right: give harder problems. For more variety raise rl.group_size (now {config.group_size}) or "
        f"rl.temperature (now {config.temperature:g})"
    )


def _ratio_drift(first: Means, last: Means, config: RLConfig) -> str | None:
    if config.updates_per_rollout == 1 and last.max_ratio > _DISAGREEING_RATIO:
        return (
            f"importance ratios reach {last.max_ratio:.2f} where they should be 1: drawing and training compute with "
            "different precision; set dtype: float32"
        )
    if last.clip_share < _MUCH_CLIPPED:
        return None
    return (
        f"the policy runs away from the one that drew the completions: {last.clip_share:.0%} of the tokens are clipped "
        f"and the ratio reaches {last.max_ratio:.1f}; lower learning_rate or rl.updates_per_rollout "
        f"(now {config.updates_per_rollout})"
    )


def _truncation(first: Means, last: Means, config: RLConfig) -> str | None:
    if last.truncated < _MOSTLY_TRUNCATED or last.equal_groups < _MOSTLY_EQUAL or _has_risen(first, last):
        return None
    return (
        f"{last.truncated:.0%} of the completions are cut off before they end; raise rl.max_new_tokens (now "
        f"{config.max_new_tokens}), set rl.overlong_tokens, or fine-tune on examples that end with the stop token first"
    )


def _length_collapse(first: Means, last: Means, config: RLConfig) -> str | None:
    if last.completion_tokens > _SHRUNK * first.completion_tokens or _has_risen(first, last):
        return None
    return (
        f"completions shrank from {first.completion_tokens:.1f} to {last.completion_tokens:.1f} tokens while the "
        f"reward did not rise ({first.reward:.3f} at first, {last.reward:.3f} now): the model evades; lower the weight "
        "of length in rl.rewards, raise rl.kl_coefficient, or set rl.loss_type: dr_grpo"
    )


def _entropy_collapse(first: Means, last: Means, config: RLConfig) -> str | None:
    if last.entropy > _COLLAPSED * first.entropy or _has_risen(first, last):
        return None
    return (
        f"the model always writes the same: its entropy fell from {first.entropy:.3f} to {last.entropy:.3f} nats per "
        f"token while the reward did not rise ({first.reward:.3f} at first, {last.reward:.3f} now); lower "
        f"learning_rate, raise rl.clip_high (now {config.clip_high:g}; 0.28 in DAPO) or rl.kl_coefficient"
    )


def _kl_blow_up(first: Means, last: Means, config: RLConfig) -> str | None:
    if last.kl < _FAR:
        return None
    return (
        f"the model is far from where it began: KL {last.kl:.2f} nats per token, after {first.kl:.3f} at first; raise "
        f"rl.kl_coefficient (now {config.kl_coefficient:g}) or lower learning_rate"
    )


_Cause = Callable[[Means, Means, RLConfig], str | None]
_CAUSES: tuple[_Cause, ...] = (
    _equal_rewards,
    _ratio_drift,
    _truncation,
    _length_collapse,
    _entropy_collapse,
    _kl_blow_up,
)
