"""How good completions of held-out problems are, while a model learns from rewards."""

from collections.abc import Sequence

from torch import nn

from inkstone.core.progress import say
from inkstone.train.method import Lesson
from inkstone.train.rl.config import RLConfig
from inkstone.train.rl.groups import Sampler
from inkstone.train.rl.prompts import Prompt


class ValidationReward:
    """Mean reward of the likeliest completions of the same problems, at every call.

    Args:
        lesson: its `eval_tokens` bound how many problems are tried.
        config: of the rollouts.
        prompts: of the validation split.
        sampler: draws and judges.
    """

    def __init__(self, lesson: Lesson, config: RLConfig, prompts: Sequence[Prompt], sampler: Sampler) -> None:
        most = max(1, lesson.config.eval_tokens // config.max_new_tokens)
        if most < len(prompts):
            say(f"validation tries {most:,} of {len(prompts):,} problems, as many as fit into eval_tokens")
        self._prompts, self._sampler = prompts[:most], sampler

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """`valid_reward`, the length of completions, and minus the reward as `valid_loss`."""
        model.eval()
        groups = self._sampler(self._prompts, [0] * len(self._prompts), temperature=0.0, group_size=1)
        metrics = groups.metrics()
        return {
            "valid_loss": -metrics["reward"],
            "valid_reward": metrics["reward"],
            **{
                f"valid_{name}": value
                for name, value in metrics.items()
                if name.startswith("reward_") and name != "reward_std"
            },
            "valid_completion_tokens": metrics["completion_tokens"],
        }
