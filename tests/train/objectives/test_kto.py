"""KTO against values computed by hand and against TRL."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from inkstone.checkpoint import save_checkpoint
from inkstone.core.errors import InputError
from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.examples.records import Judged
from inkstone.train.objectives.kto import KTO, mismatch
from inkstone.train.objectives.preference_losses import kto_losses
from tests.tiny_models import tiny_model
from tests.train.objectives.lessons import (
    JUDGED,
    PREFERENCES,
    align_lesson,
    completed,
    layout_changes_nothing,
    perturbed,
    step_of,
)
from tests.train.objectives.test_preference import TheirModel, gathering, padded, their_gradient


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_losses_computed_by_hand() -> None:
    kl = torch.tensor(0.5, requires_grad=True)
    ratios = torch.tensor([2.0, 2.0, -1.0])
    losses = kto_losses(ratios, torch.tensor([True, False, False]), kl, 0.4)
    expected = [1 - sigmoid(0.4 * 1.5), 1 - sigmoid(-0.4 * 1.5), 1 - sigmoid(0.4 * 1.5)]
    torch.testing.assert_close(losses, torch.tensor(expected))
    assert not losses.requires_grad


def test_where_policy_is_reference_the_loss_is_one_half(tmp_path: Path) -> None:
    lesson = align_lesson(tmp_path, preference={"desirable_weight": 2.0, "undesirable_weight": 0.5})
    encoded = completed(KTO, lesson, JUDGED)
    loss, _, metrics = step_of(KTO.objective(lesson, encoded), lesson.model, encoded)
    assert loss == pytest.approx((2.0 + 0.5) / 2 / 2, abs=1e-5)
    assert metrics["kl"] == pytest.approx(0, abs=1e-4)


def test_a_preference_is_two_judgments(tmp_path: Path) -> None:
    of_pairs = completed(KTO, align_lesson(tmp_path / "pairs"), PREFERENCES)
    of_judgments = completed(KTO, align_lesson(tmp_path / "judged"), JUDGED)
    assert [each.reference for each in of_pairs] == [each.reference for each in of_judgments]
    assert [each.judged.desirable for each in of_pairs] == [True, False] * len(PREFERENCES)
    for mine, other in zip(of_pairs, of_judgments, strict=True):
        np.testing.assert_array_equal(mine.judged.sequence, other.judged.sequence)
        np.testing.assert_array_equal(mine.mismatched, other.mismatched)


def test_prompts_are_matched_with_answers_to_the_next_other_prompt() -> None:
    def sequence(prompt: list[int], answer: list[int]) -> TokenSequence:
        return TokenSequence.of(prompt + answer, [False] * len(prompt) + [True] * len(answer))

    given = [sequence([1, 2], [10]), sequence([1, 2], [11, 12]), sequence([3], [13]), sequence([1, 2], [14])]
    others = mismatch(given, 4)
    expected = [([1, 2], [13]), ([1, 2], [13]), ([3], [14]), ([1, 2], [13])]
    for other, (prompt, answer) in zip(others, expected, strict=True):
        wanted = sequence(prompt, answer)
        np.testing.assert_array_equal(other, wanted)
    (cut, _) = mismatch([sequence([5, 6, 7], [8]), sequence([9], [1, 2])], 4)
    np.testing.assert_array_equal(cut, sequence([6, 7], [1, 2]))
    with pytest.raises(InputError, match="all prompts are the same"):
        mismatch(given[:2], 4)


def test_layout_changes_nothing(tmp_path: Path) -> None:
    """Not even the reference point, which is the mean of the whole step."""
    start = perturbed(tiny_model())
    lesson = align_lesson(tmp_path, start, preference={"desirable_weight": 1.5, "beta": 0.05})
    encoded = completed(KTO, lesson, JUDGED)
    model = perturbed(lesson.model, seed=9)
    assert step_of(KTO.objective(lesson, encoded), model, encoded)[2]["kl"] > 0.1
    layout_changes_nothing(KTO, lesson, encoded, model)


def test_loss_and_gradient_are_those_of_trl(tmp_path: Path) -> None:
    from collections import defaultdict

    from trl.trainer.kto_trainer import KTOTrainer

    lesson = align_lesson(tmp_path, perturbed(tiny_model()), preference={"beta": 0.3, "desirable_weight": 1.5})
    encoded = completed(KTO, lesson, JUDGED)
    save_checkpoint(tmp_path / "saved", perturbed(lesson.model, seed=9), lesson.tokenizer)
    model = TheirModel(tmp_path / "saved")
    batch = padded([each.judged.sequence for each in encoded])
    batch |= {f"KL_{name}": rows for name, rows in padded([each.mismatched for each in encoded]).items()}
    batch["label"] = torch.tensor([each.judged.desirable for each in encoded])
    batch["ref_logps"] = torch.tensor([each.reference for each in encoded])
    batch["ref_KL_logps"] = torch.tensor([each.mismatched_reference for each in encoded])
    labels = batch["KL_input_ids"].masked_fill(batch["KL_completion_mask"] == 0, -100)

    def kl_log_probabilities(model: TheirModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(batch["KL_input_ids"], labels, batch["KL_attention_mask"]).log_probs.sum(-1)

    trainer: Any = SimpleNamespace(
        beta=0.3,
        desirable_weight=1.5,
        undesirable_weight=1.0,
        loss_type="kto",
        accelerator=gathering(),
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        calculate_KL=True,
        _compute_kl_logps=kl_log_probabilities,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    expected = KTOTrainer._compute_loss(trainer, model, batch, False)
    loss, gradient, metrics = step_of(KTO.objective(lesson, encoded), lesson.model, encoded)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert metrics["kl"] == pytest.approx(trainer._metrics["train"]["kl"][0], rel=1e-4)
    assert metrics["kl"] > 0.1
    for name, theirs in their_gradient(model, expected).items():
        torch.testing.assert_close(gradient[name], theirs, atol=1e-5, rtol=1e-3)


def test_one_prompt_in_all_examples_is_refused(tmp_path: Path) -> None:
    same = [Judged(prompt="?", completion=text, desirable=text == "a") for text in "ab"]
    with pytest.raises(InputError, match="two prompts"):
        completed(KTO, align_lesson(tmp_path), same)
