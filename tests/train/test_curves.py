"""Curves: which panels there are, and what is in them."""

from pathlib import Path
from typing import Any

import pytest

from inkstone.train import curves
from inkstone.train.curves import families_of, moving_average, plot_losses, points
from inkstone.train.objectives.classify import SequenceClassification
from inkstone.train.objectives.headed import RowLayout
from inkstone.train.objectives.preference import DirectPreference, IdentityPreference
from inkstone.train.objectives.pretrain import Pretrain
from inkstone.train.rl.objective import PolicyGradient

MACHINE = {"time": 0.0, "tokens": 10, "tokens_per_s": 5.0, "of_peak": 0.1, "memory_bytes": 7}
PRETRAIN: list[dict[str, Any]] = [
    {"step": 1, "loss": 3.0, "gradient_norm": 1.0, "learning_rate": 0.1, **MACHINE},
    {"step": 2, "loss": 2.0, "gradient_norm": 1.0, "learning_rate": 0.1, **MACHINE},
    {"step": 2, "time": 0.0, "valid_loss": 2.5},
]


def test_panels_of_pretraining() -> None:
    assert families_of(PRETRAIN) == {
        "loss": ["loss", "valid_loss"],
        "learning rate": ["learning_rate"],
        "gradient norm": ["gradient_norm"],
        "tokens per second": ["tokens_per_s"],
    }
    assert points(PRETRAIN, "loss") == ([1, 2], [3.0, 2.0])
    assert points(PRETRAIN, "valid_loss") == ([2], [2.5])


def test_panels_of_preferences_and_rewards() -> None:
    preferences = [{"step": 1, "loss": 1, "reward_margin": 1, "accuracy": 1, "valid_accuracy": 1, "sft_loss": 1}]
    assert families_of(preferences) == {
        "loss": ["loss"],
        "parts of the loss": ["sft_loss"],
        "reward": ["reward_margin"],
        "accuracy": ["accuracy", "valid_accuracy"],
    }
    names = ["loss", "clip_share", "entropy", "max_ratio", "kl", "reward", "reward_std", "truncated"]
    names += ["completion_tokens", "valid_loss", "valid_reward", "valid_completion_tokens"]
    rewards = [{"step": 1, **dict.fromkeys(names, 0.5), "diagnosis": "text"}]
    assert families_of(rewards) == {
        "loss": ["loss"],  # the validation loss is minus the reward, and says nothing beside a policy gradient's
        "reward": ["reward", "reward_std", "valid_reward"],
        "KL divergence (nats)": ["kl"],
        "entropy (nats)": ["entropy"],
        "length (tokens)": ["completion_tokens", "valid_completion_tokens"],
        "share": ["clip_share", "truncated"],
        "max ratio": ["max_ratio"],
    }


def test_a_moving_average_does_not_lag() -> None:
    straight = [float(value) for value in range(100)]
    assert moving_average(straight) == pytest.approx(straight)
    values = [0.0] * 20
    values[10] = 3.0
    assert moving_average(values) == pytest.approx([1.0 if index in (9, 10, 11) else 0.0 for index in range(20)])
    assert moving_average([1.0, 2.0]) == [1.0, 2.0]


def test_the_picture_has_a_panel_for_each_family_and_names_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: figures.append(figure))
    plot_losses(tmp_path / "loss.png", PRETRAIN, "nats per pair")
    panels = [axes for axes in figures[0].axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == [
        "loss (nats per pair)",
        "learning rate",
        "gradient norm",
        "tokens per second",
    ]
    lines = {line.get_label(): line.get_xydata().tolist() for line in panels[0].get_lines()}
    assert lines == {"training": [[1, 3], [2, 2]], "validation": [[2, 2.5]]}


def test_nothing_measured_nothing_drawn(tmp_path: Path) -> None:
    plot_losses(tmp_path / "loss.png", [{"step": 1, "time": 0.0, "diagnosis": "text"}], "nats")
    assert list(tmp_path.iterdir()) == []


def test_objectives_name_what_their_loss_counts() -> None:
    assert Pretrain.loss_unit == "nats per token"
    assert DirectPreference.loss_unit == "nats per pair"
    assert "squared" in IdentityPreference.loss_unit
    assert "policy" in PolicyGradient.loss_unit
    layout = RowLayout.__new__(RowLayout)
    assert SequenceClassification("single_label_classification", layout).loss_unit == "nats per text"
    assert SequenceClassification("regression", layout).loss_unit == "squared error"
