import numpy as np
import pytest

from inkstone.train.rl.advantages import generalized_advantages, group_advantages, overlong_penalty, whitened


def test_group_advantages_by_hand() -> None:
    rewards = np.array([[1.0, 0.0, 0.0, 1.0], [3.0, 1.0, 2.0, 2.0]])
    # Deviations with Bessel's correction: sqrt(1/3) and sqrt(2/3).
    expected = [[0.5, -0.5, -0.5, 0.5], [1.0, -1.0, 0.0, 0.0]]
    assert group_advantages(rewards, "none") == pytest.approx(np.array(expected))
    scaled = np.array(expected) / np.array([[(1 / 3) ** 0.5 + 1e-4], [(2 / 3) ** 0.5 + 1e-4]])
    assert group_advantages(rewards, "group") == pytest.approx(scaled)
    # All eight: mean 1.25, squares 1+0+0+1+9+1+4+4 = 20, variance (20 - 8·1.5625) / 7.
    whole = np.array(expected) / ((20 - 12.5) / 7) ** 0.5
    assert group_advantages(rewards, "batch") == pytest.approx(whole, rel=2e-4)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_rewards_have_no_advantage(scale: str) -> None:
    rewards = np.array([[0.1] * 7, [0.1 + 0.2, *[0.0] * 6]])
    advantages = group_advantages(rewards, scale)  # type: ignore[arg-type]
    assert advantages[0].tolist() == [0.0] * 7
    assert advantages[1, 0] > 0


def test_generalized_advantages_by_hand() -> None:
    rewards = np.array([0.0, 0.5, 1.0], dtype=np.float32)
    values = np.array([0.2, 0.4, 0.6], dtype=np.float32)
    # δ = (0 + 0.9·0.4 - 0.2, 0.5 + 0.9·0.6 - 0.4, 1 - 0.6) = (0.16, 0.64, 0.4); γλ = 0.45
    expected = [0.16 + 0.45 * (0.64 + 0.45 * 0.4), 0.64 + 0.45 * 0.4, 0.4]
    assert generalized_advantages(rewards, values, 0.9, 0.5) == pytest.approx(expected, abs=1e-6)


def test_generalized_advantages_between_its_extremes() -> None:
    random = np.random.default_rng(0)
    rewards, values = random.normal(size=(2, 9)).astype(np.float32)
    to_come = np.cumsum(rewards[::-1])[::-1] - values
    assert generalized_advantages(rewards, values, 1.0, 1.0) == pytest.approx(to_come, abs=1e-5)
    one_step = rewards + np.append(values[1:], 0) - values
    assert generalized_advantages(rewards, values, 1.0, 0.0) == pytest.approx(one_step, abs=1e-6)


def test_overlong_completions_are_punished_softly() -> None:
    lengths = np.array([1, 80, 85, 95, 100])
    assert overlong_penalty(lengths, most=100, margin=20) == pytest.approx([0, 0, -0.25, -0.75, -1])
    assert overlong_penalty(lengths, most=100, margin=0).tolist() == [0.0] * 5


def test_whitened_values() -> None:
    values = np.array([1.0, 2.0, 3.0, 6.0], dtype=np.float32)
    assert whitened(values) == pytest.approx((values - 3) / 3.5**0.5, abs=1e-6)
    assert abs(whitened(np.array([1e-9, -1e-9], dtype=np.float32))).max() < 1e-4
