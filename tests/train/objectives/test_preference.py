"""DPO, IPO and ORPO against values computed by hand and against TRL."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from inkstone.checkpoint import save_checkpoint
from inkstone.core.errors import InputError
from inkstone.data.examples.encoded import SequencePair, TokenSequence
from inkstone.data.examples.records import Preference
from inkstone.nn.models.base import Model
from inkstone.tasks.score import token_logprobs
from inkstone.train.objectives import reference
from inkstone.train.objectives.preference import DPO, IPO, ORPO
from inkstone.train.objectives.preference_losses import dpo_losses, ipo_losses, odds_ratio_losses
from tests.tiny_models import tiny_model
from tests.train.objectives.lessons import (
    CHATS,
    PREFERENCES,
    align_lesson,
    completed,
    layout_changes_nothing,
    perturbed,
    step_of,
)


def value(losses: Tensor) -> float:
    return float(losses)


def test_losses_computed_by_hand() -> None:
    margin = torch.tensor(2.0)
    sigmoid = 1 / (1 + math.exp(-0.6))
    assert value(dpo_losses(margin, 0.3)) == pytest.approx(-math.log(sigmoid), abs=1e-6)
    smoothed = -0.9 * math.log(sigmoid) - 0.1 * math.log(1 - sigmoid)
    assert value(dpo_losses(margin, 0.3, 0.1)) == pytest.approx(smoothed, abs=1e-6)
    assert value(ipo_losses(margin, 0.3)) == pytest.approx((2 - 1 / 0.6) ** 2, abs=1e-6)
    odds = [p / (1 - p) for p in (0.5, 0.2)]
    chosen, rejected = torch.tensor(0.5).log(), torch.tensor(0.2).log()
    expected = -math.log(1 / (1 + odds[1] / odds[0]))
    assert value(odds_ratio_losses(chosen, rejected)) == pytest.approx(expected, abs=1e-6)


def test_certain_answers_have_finite_odds() -> None:
    chosen = torch.zeros(1, requires_grad=True)
    loss = odds_ratio_losses(chosen, torch.tensor([-50.0])).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert chosen.grad is not None
    assert torch.isfinite(chosen.grad).all()


@pytest.mark.parametrize("examples", [PREFERENCES, CHATS], ids=["plain", "chat"])
def test_where_policy_is_reference_dpo_is_ln_2(tmp_path: Path, examples: list[Preference]) -> None:
    lesson = align_lesson(tmp_path)
    encoded = completed(DPO, lesson, examples)
    loss, gradient, metrics = step_of(DPO.objective(lesson, encoded), lesson.model, encoded)
    assert loss == pytest.approx(math.log(2), abs=1e-6)
    assert max(each.abs().max() for each in gradient.values()) > 1e-3
    assert metrics["reward_margin"] == pytest.approx(0, abs=1e-5)
    ipo = IPO.objective(lesson, encoded)
    assert step_of(ipo, lesson.model, encoded)[0] == pytest.approx((1 / 0.2) ** 2, abs=1e-4)


def test_log_probabilities_are_those_of_score(tmp_path: Path) -> None:
    """What the trainer adds up for an answer, stop token included, is what `score` gives for its tokens."""
    lesson = align_lesson(tmp_path, perturbed(tiny_model()), preference={"beta": 1.0})
    model: Any = lesson.model
    encoded = completed(DPO, lesson, CHATS)
    end = lesson.tokenizer.special_tokens["<|im_end|>"]
    for each in encoded:
        for sequence, found in zip(each.pair, each.reference, strict=True):
            assert sequence.input_ids[-1] == end
            scored = token_logprobs(model, sequence.input_ids.tolist())
            assert found == pytest.approx(sum(scored[-sequence.num_targets :]), abs=1e-4)
    perturbed(model, seed=6)
    objective = DPO.objective(lesson, encoded)
    metrics = step_of(objective, model, encoded)[2]
    rewards = [
        sum(token_logprobs(model, each.pair.chosen.input_ids.tolist())[-each.pair.chosen.num_targets :])
        - each.reference[0]
        for each in encoded
    ]
    assert metrics["reward_chosen"] == pytest.approx(sum(rewards) / len(rewards), abs=1e-4)


def test_metrics_are_means_over_pairs(tmp_path: Path) -> None:
    lesson = align_lesson(tmp_path, preference={"beta": 0.5})
    encoded = completed(DPO, lesson, PREFERENCES)
    perturbed(lesson.model)
    objective = DPO.objective(lesson, encoded)
    one_by_one = [step_of(objective, lesson.model, [each]) for each in encoded]
    together = step_of(objective, lesson.model, encoded)
    assert {step[2]["accuracy"] for step in one_by_one} == {0.0, 1.0}
    for name, mean in together[2].items():
        assert mean == pytest.approx(sum(step[2][name] for step in one_by_one) / len(encoded), abs=1e-5)
    for loss, _, metrics in one_by_one:
        margin = metrics["reward_margin"]
        assert metrics["reward_chosen"] - metrics["reward_rejected"] == pytest.approx(margin, abs=1e-4)
        assert loss == pytest.approx(math.log1p(math.exp(-margin)), abs=1e-5)


@pytest.mark.parametrize(
    ("method", "preference"),
    [
        (DPO, {"label_smoothing": 0.1, "sft_weight": 0.3}),
        (DPO, {"length_normalized": True}),
        (IPO, {}),
        (ORPO, {}),
    ],
    ids=["dpo", "dpo by length", "ipo", "orpo"],
)
def test_layout_changes_nothing(tmp_path: Path, method: Any, preference: dict[str, Any]) -> None:
    lesson = align_lesson(tmp_path, preference=preference)
    encoded = completed(method, lesson, PREFERENCES)
    layout_changes_nothing(method, lesson, encoded, perturbed(lesson.model))


class TheirModel:
    """A `transformers` model that answers as those that TRL patches do."""

    def __init__(self, folder: Path) -> None:
        from transformers import LlamaForCausalLM

        self.model = LlamaForCausalLM.from_pretrained(folder)
        self.training = True

    def __call__(self, input_ids: Tensor, labels: Tensor, attention_mask: Tensor, **_: Any) -> SimpleNamespace:
        logits = self.model(input_ids, attention_mask=attention_mask).logits[:, :-1]
        targets = labels[:, 1:]
        chosen = logits.log_softmax(-1).gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        nothing = torch.zeros_like(chosen)
        return SimpleNamespace(
            log_probs=chosen * (targets >= 0), entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
        )


def their_gradient(model: TheirModel, loss: Tensor) -> dict[str, Tensor]:
    model.model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: each.grad for name, each in model.model.named_parameters() if each.grad is not None}


def gathering() -> SimpleNamespace:
    """What trainers ask of accelerate, on one process."""

    def same(values: Any) -> Any:
        return values

    return SimpleNamespace(device=torch.device("cpu"), gather=same, gather_for_metrics=same)


def padded(sequences: list[TokenSequence]) -> dict[str, Tensor]:
    width = max(sequence.length for sequence in sequences)
    rows = torch.zeros(3, len(sequences), width, dtype=torch.long)
    for number, sequence in enumerate(sequences):
        rows[0, number, : sequence.length] = torch.from_numpy(sequence.input_ids)
        rows[1, number, : sequence.length] = 1
        rows[2, number, 1 : sequence.length] = torch.from_numpy(sequence.labels[:-1] >= 0)
    return dict(zip(("input_ids", "attention_mask", "completion_mask"), rows, strict=True))


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], TheirModel]:
    """Our model, loaded by `transformers`."""

    def save(lesson: Any) -> TheirModel:
        save_checkpoint(tmp_path / "saved", lesson.model, lesson.tokenizer)
        return TheirModel(tmp_path / "saved")

    return save


@pytest.mark.parametrize(
    ("method", "preference", "theirs"),
    [
        (DPO, {"beta": 0.3}, ("sigmoid",)),
        (DPO, {"beta": 0.3, "length_normalized": True}, ("sigmoid_norm",)),
        (IPO, {"beta": 0.2}, ("ipo",)),
    ],
)
def test_loss_and_gradient_are_those_of_trl(
    tmp_path: Path, saved: Callable[[Any], TheirModel], method: Any, preference: dict[str, Any], theirs: tuple[str, ...]
) -> None:
    from trl.trainer.dpo_trainer import DPOTrainer

    lesson = align_lesson(tmp_path, preference=preference)
    encoded = completed(method, lesson, PREFERENCES)
    model = saved_model = saved(SimpleNamespace(model=perturbed(lesson.model), tokenizer=lesson.tokenizer))
    trainer = _trainer(preference["beta"], loss_types=theirs, loss_weights=[1.0] * len(theirs))
    pairs = [each.pair for each in encoded]
    batch = padded([pair.chosen for pair in pairs] + [pair.rejected for pair in pairs])
    for name, column in (("ref_chosen_logps", 0), ("ref_rejected_logps", 1)):
        batch[name] = torch.tensor([each.reference[column] for each in encoded])
    expected = DPOTrainer._compute_loss(trainer, saved_model, batch, False)
    loss, gradient, metrics = step_of(method.objective(lesson, encoded), lesson.model, encoded)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    _assert_gradient(gradient, their_gradient(model, expected))
    for mine, name in (("reward_chosen", "chosen"), ("reward_margin", "margins"), ("accuracy", "accuracies")):
        assert metrics[mine] == pytest.approx(trainer._metrics["train"][f"rewards/{name}"][0], abs=1e-4)


def test_orpo_is_that_of_trl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: Callable[[Any], TheirModel]
) -> None:
    """The odds ratio by TRL's function; fine-tuning as in the paper, on the answer alone (TRL's reads the prompt)."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    lesson = align_lesson(tmp_path, preference={"beta": 0.4})
    encoded: list[SequencePair] = completed(ORPO, lesson, PREFERENCES)
    model = saved(lesson)
    batch = padded([pair.chosen for pair in encoded] + [pair.rejected for pair in encoded])
    mask = batch.pop("completion_mask")
    log_probabilities = model(**batch, labels=batch["input_ids"].masked_fill(mask == 0, -100)).log_probs
    chosen, rejected = (log_probabilities.sum(-1) / mask.sum(-1)).chunk(2)
    trainer = SimpleNamespace(beta=0.4, accelerator=gathering())
    odds, chosen_rewards, _, _, _ = ORPOTrainer.odds_ratio_loss(trainer, chosen, rejected)
    expected = -chosen.mean() - odds.mean()
    loss, gradient, metrics = step_of(ORPO.objective(lesson, encoded), lesson.model, encoded)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert metrics["reward_chosen"] == pytest.approx(float(chosen_rewards.mean()), abs=1e-5)
    _assert_gradient(gradient, their_gradient(model, expected))


def _trainer(beta: float, **attributes: Any) -> SimpleNamespace:
    """As much of a DPOTrainer as its loss reads."""
    from collections import defaultdict

    return SimpleNamespace(
        beta=beta,
        accelerator=gathering(),
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        label_smoothing=0.0,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
        **attributes,
    )


def _assert_gradient(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, atol=1e-5, rtol=1e-3)


def test_the_sft_term_is_minus_the_mean_log_probability(tmp_path: Path) -> None:
    lesson = align_lesson(tmp_path)
    encoded = completed(DPO, lesson, PREFERENCES)
    without = step_of(DPO.objective(lesson, encoded), lesson.model, encoded)[0]
    lesson = align_lesson(tmp_path, preference={"sft_weight": 0.5})
    term = sum(-each.reference[0] / each.pair.chosen.num_targets for each in encoded) / len(encoded)
    assert step_of(DPO.objective(lesson, encoded), lesson.model, encoded)[0] == pytest.approx(
        without + 0.5 * term, rel=1e-5
    )


def test_the_reference_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    real = reference._compute

    def compute(lesson: Any, sequences: Any) -> Tensor:
        computed.append(len(sequences))
        return real(lesson, sequences)

    monkeypatch.setattr(reference, "_compute", compute)

    def references(model: Model, examples: list[Preference]) -> list[tuple[float, float]]:
        return [each.reference for each in completed(DPO, align_lesson(tmp_path, model), examples)]

    first = references(tiny_model(), PREFERENCES)
    assert references(tiny_model(), PREFERENCES) == first
    assert computed == [8]
    fewer = references(tiny_model(), PREFERENCES[:3])
    torch.testing.assert_close(torch.tensor(fewer), torch.tensor(first[:3]))
    assert computed == [8, 6]
    moved = references(perturbed(tiny_model()), PREFERENCES[:3])
    assert computed == [8, 6, 6]
    assert moved != first[:3]
    (tmp_path / "reference" / "train.safetensors").write_bytes(b"damaged")
    assert references(tiny_model(), PREFERENCES) == first
    assert computed == [8, 6, 6, 8]


def test_with_an_adapter_the_reference_is_the_base_model(tmp_path: Path) -> None:
    from inkstone.train.switches import prepare_switches

    base = [each.reference for each in completed(DPO, align_lesson(tmp_path / "base"), PREFERENCES)]
    lesson = align_lesson(tmp_path / "lora", lora={"r": 4, "use_dora": True})
    prepare_switches(lesson)
    assert [each.reference for each in completed(DPO, lesson, PREFERENCES)] == base


def test_prompts_are_cut_from_the_left_for_both_answers_alike(tmp_path: Path) -> None:
    lesson = align_lesson(tmp_path)
    (pair,) = DPO.encoder(lesson)(CHATS[0])
    assert DPO.cut is not None
    length = DPO.longest(pair)
    assert length == max(pair.chosen.length, pair.rejected.length)
    shorter = DPO.cut(pair, length - 3)
    assert DPO.longest(shorter) == length - 3
    for whole, cut in zip(pair, shorter, strict=True):
        assert cut.input_ids.tolist() == whole.input_ids[3:].tolist()
        assert cut.num_targets == whole.num_targets


def test_answers_that_leave_no_room_for_a_prompt_are_refused(tmp_path: Path) -> None:
    lesson = align_lesson(tmp_path, max_length=12)
    with pytest.raises(InputError, match=r"(?s)plain\.jsonl:1: an answer has \d+ tokens.*only prompts are cut"):
        DPO.encoder(lesson)(PREFERENCES[0])
    with pytest.raises(InputError, match=r"chat\.jsonl:1: nothing of an answer is learned"):
        DPO.encoder(align_lesson(tmp_path))(
            Preference(
                prompt=[{"role": "user", "content": "?"}],
                chosen=[{"role": "user", "content": "!"}],
                rejected=[{"role": "assistant", "content": "!"}],
                where="chat.jsonl:1",
            )
        )
