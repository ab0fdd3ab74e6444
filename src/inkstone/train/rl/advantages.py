"""From rewards to advantages: how much better a completion, or a token of it, was than expected."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_EPSILON = 1e-4


def group_advantages(rewards: NDArray[np.float64], scale: Literal["group", "batch", "none"]) -> NDArray[np.float64]:
    """Rewards (P, G) of the completions of each prompt → advantages (P, G).

    `(r - mean of the group) / (std + 1e-4)` (Shao et al. 2024, arXiv:2402.03300, section 4.1.2), std being that of the
    group or of the batch, with Bessel's correction. With `none` the difference itself, which favors no prompts (Liu et
    al. 2025, arXiv:2503.20783, section 3.1). A group with equal rewards has advantages of exactly 0.
    """
    centered = np.where(is_equal(rewards)[:, None], 0.0, rewards - rewards.mean(axis=1, keepdims=True))
    if scale == "none":
        return centered
    if scale == "batch":
        return centered / (rewards.std(ddof=1) + _EPSILON)
    return centered / (rewards.std(axis=1, ddof=1, keepdims=True) + _EPSILON)


def is_equal(rewards: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Groups (P, G) → whether all rewards of each are equal (P,)."""
    equal: NDArray[np.bool_] = rewards.max(axis=1) == rewards.min(axis=1)
    return equal


def overlong_penalty(lengths: NDArray[np.int64], most: int, margin: int) -> NDArray[np.float64]:
    """What is added to the rewards of completions of so many tokens: 0 up to `most - margin`, falling to -1 at `most`.

    The soft overlong punishment of DAPO (Yu et al. 2025, arXiv:2503.14476, eq. 13).
    """
    if margin == 0:
        return np.zeros(len(lengths))
    return -np.clip((lengths - (most - margin)) / margin, 0.0, 1.0)


def generalized_advantages(rewards: Floats, values: Floats, gamma: float, lam: float) -> Floats:
    """Advantages of each token of a completion (n,).

    GAE (Schulman et al. 2015, arXiv:1506.02438, eq. 16): `A_t = δ_t + γλ A_{t+1}`, with
    `δ_t = r_t + γ V_{t+1} - V_t`, and 0 after the last token.

    Args:
        rewards: (n,), of drawing each token.
        values: (n,), what the critic expects before each token.
        gamma: discount.
        lam: λ.
    """
    following = np.append(values[1:], np.float32(0.0))
    deltas = rewards + gamma * following - values
    advantages = np.zeros_like(values)
    running = 0.0
    for step in range(len(values) - 1, -1, -1):
        running = deltas[step] + gamma * lam * running
        advantages[step] = running
    return advantages


def whitened(values: Floats) -> Floats:
    """Mean 0 and deviation 1, but where there is nothing but rounding to be told apart."""
    result: Floats = ((values - values.mean()) / np.sqrt(values.var() + _EPSILON**2)).astype(np.float32)
    return result
