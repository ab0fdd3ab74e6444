"""The critic of PPO: a value head on the policy's own hidden states."""

import torch
from torch import Tensor, nn

from inkstone.nn.models.base import Decoder

_NAME = "value_head"


def add_critic(policy: Decoder) -> None:
    """Put a value head on a decoder, as a part that only training knows; it begins by expecting 0."""
    head = nn.Linear(policy.output_weight.shape[1], 1, device=policy.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    policy.add_module(_NAME, head)


def critic_parameters(policy: Decoder) -> list[nn.Parameter]:
    """Those of the value head."""
    return list(policy.get_submodule(_NAME).parameters())


def values(policy: Decoder, hidden_states: Tensor) -> Tensor:
    """Hidden states (M, C) → what the critic expects of the rewards to come (M,), float32."""
    with torch.autocast(hidden_states.device.type, enabled=False):
        expected: Tensor = policy.get_submodule(_NAME)(hidden_states.float())
    return expected.squeeze(-1)


def remove_critic(policy: Decoder) -> None:
    """Make the policy a plain decoder again."""
    delattr(policy, _NAME)


def has_critic(policy: nn.Module) -> bool:
    """Whether a value head is on a model."""
    return hasattr(policy, _NAME)
