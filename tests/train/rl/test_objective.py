import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from inkstone.tasks.score import token_logprobs
from inkstone.train.micro_batches import by_count
from inkstone.train.objectives import Batch
from inkstone.train.objectives.log_probabilities import target_log_probabilities
from inkstone.train.rl.advantages import group_advantages
from inkstone.train.rl.config import RLConfig
from inkstone.train.rl.critic import add_critic
from inkstone.train.rl.experience import Experience, from_tensors, sequence_of, to_tensors
from inkstone.train.rl.objective import LossType, PolicyGradient, clipped_loss, kl_estimate
from inkstone.train.rl.policy import Layout
from inkstone.train.rl.ppo import ActorCritic, clipped_value_loss
from tests.train.rl.helpers import tiny_policy, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
TYPES: tuple[LossType, ...] = ("grpo", "dapo", "dr_grpo")
TEMPERATURE = 1.02
SETTINGS: dict[str, Any] = {"max_new_tokens": 12, "temperature": TEMPERATURE, "clip_low": 0.1, "clip_high": 0.15}


def experiences(count: int = 8, **changes: Any) -> list[Experience]:
    """Completions of different lengths, whose log-probabilities were somewhat different from the policy's."""
    random = np.random.default_rng(0)
    model = policy()
    vocabulary = TOKENIZER.vocab_size
    advantages = group_advantages(random.integers(0, 3, (count // 4, 4)).astype(float), "group").flatten()
    result = []
    for number in range(count):
        prompt, completion = (random.integers(5, vocabulary, random.integers(2, 10)).tolist() for _ in range(2))
        sequence, size = sequence_of(prompt, completion), len(completion)
        now = np.asarray(token_logprobs(model, [*prompt, *completion])[-size:])
        old, reference = (random.normal(now, 0.15).astype(np.float32) for _ in range(2))
        values, returns = (random.normal(0, 1, size).astype(np.float32) for _ in range(2))
        advantage = np.full(size, advantages[number], dtype=np.float32)
        result.append(Experience(sequence, advantage, old, reference, values, returns)._replace(**changes))
    return result


def policy() -> Any:
    model = tiny_policy(TOKENIZER)
    add_critic(model)
    generator = torch.Generator().manual_seed(5)
    model.get_parameter("value_head.weight").data.normal_(0, 0.3, generator=generator)
    return model.eval()


def step(
    objective: PolicyGradient, parts: Sequence[Sequence[Experience]]
) -> tuple[float, dict[str, float], list[Tensor]]:
    """Loss, metrics and gradient of a step, as the loop computes them."""
    model = policy()
    batches: list[Batch] = [objective.collate(part) for part in parts]
    num_targets = sum(map(objective.num_targets, batches))
    objective.prepare_step(model, batches)
    total, metrics = 0.0, dict[str, float]()
    for batch in batches:
        loss, summed = objective.loss(model, batch)
        (loss / num_targets).backward()
        total += float(loss.detach()) / num_targets
        for name, value in summed.items():
            largest = name.startswith("max_")
            metrics[name] = (
                max(metrics.get(name, 0.0), float(value))
                if largest
                else (metrics.get(name, 0.0) + float(value) / num_targets)
            )
    return total, metrics, [each.grad for each in model.parameters() if each.grad is not None]


def test_the_clipped_loss_by_hand() -> None:
    old = torch.zeros(6)
    ratios = torch.tensor([1.0, 1.5, 0.5, 1.5, 0.5, 1.15])
    advantages = torch.tensor([2.0, 2.0, 2.0, -2.0, -2.0, 2.0])
    clipped = clipped_loss(ratios.log(), old, advantages, 0.2, 0.3)
    # A gain counts up to 1.3 and a loss from 0.8 on; what makes it worse always counts.
    assert clipped.loss.tolist() == pytest.approx([-2.0, -2.6, -1.0, 3.0, 1.6, -2.3])
    assert clipped.is_clipped.tolist() == [False, True, False, False, True, False]


def test_a_clipped_token_has_no_gradient() -> None:
    log_probabilities = torch.tensor([1.5, 0.5, 1.0]).log().requires_grad_()
    clipped = clipped_loss(log_probabilities, torch.zeros(3), torch.tensor([1.0, -1.0, 1.0]), 0.2, 0.2)
    clipped.loss.sum().backward()
    assert log_probabilities.grad is not None
    assert log_probabilities.grad.tolist() == [0.0, 0.0, -1.0]


def test_the_kl_estimate_is_never_negative_and_right_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    policy_logits, reference_logits = torch.randn(2, 50, generator=generator)
    log_policy, log_reference = policy_logits.log_softmax(0), reference_logits.log_softmax(0)
    estimates = kl_estimate(log_policy, log_reference)
    assert (estimates >= 0).all()
    assert kl_estimate(log_policy, log_policy).abs().max() == 0
    exact = (log_policy.exp() * (log_policy - log_reference)).sum()
    torch.testing.assert_close((log_policy.exp() * estimates).sum(), exact)


def test_the_value_loss_by_hand() -> None:
    expected, old = torch.tensor([1.0, 1.0, 0.1]), torch.tensor([0.0, 0.9, 0.0])
    returns = torch.tensor([2.0, 0.0, 0.0])
    # Bounded to 0.2, 1.0, 0.1: the larger error counts.
    losses = clipped_value_loss(expected, old, returns, 0.2)
    assert losses.tolist() == pytest.approx([0.5 * 1.8**2, 0.5, 0.005])


def test_equal_rewards_move_nothing() -> None:
    parts = [experiences(advantages=np.zeros(0, dtype=np.float32))]
    parts = [[each._replace(advantages=np.zeros_like(each.old_log_probabilities)) for each in parts[0]]]
    config = RLConfig(**SETTINGS)
    loss, _, gradients = step(PolicyGradient(config, "grpo", 0.0, Layout()), parts)
    assert loss == 0
    assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("loss_type", TYPES)
def test_how_tokens_are_weighed_by_hand(loss_type: LossType) -> None:
    """With a ratio of 1 the loss of each token is minus its advantage."""
    sizes, advantages = [1, 4, 2], [1.0, -2.0, 3.0]
    model = policy()
    objective = PolicyGradient(RLConfig(max_new_tokens=10), loss_type, 0.0, Layout())
    examples = [
        Experience(
            sequence_of([5, 6], list(range(7, 7 + size))),
            np.full(size, advantage, dtype=np.float32),
            np.zeros(size, dtype=np.float32),
        )
        for size, advantage in zip(sizes, advantages, strict=True)
    ]
    batch = objective.collate(examples)
    objective.prepare_step(model, [batch])
    batch["old_log_probabilities"] = target_log_probabilities(model, batch, 1.0).detach()
    loss, metrics = objective.loss(model, batch)
    expected = {
        "grpo": -(1 - 2 + 3) / 3,
        "dapo": -(1 - 8 + 6) / 7,
        "dr_grpo": -(1 - 8 + 6) / 10 / 3,
    }
    assert float(loss.detach()) / objective.num_targets(batch) == pytest.approx(expected[loss_type], abs=1e-6)
    assert float(metrics["max_ratio"]) == 1.0


def test_what_is_not_learned_has_no_weight() -> None:
    examples = experiences()
    examples[2] = examples[2]._replace(is_learned=False)
    changed = [*examples]
    changed[2] = changed[2]._replace(advantages=changed[2].advantages + 7)
    for loss_type in TYPES:
        objective = PolicyGradient(RLConfig(**SETTINGS), loss_type, 0.0, Layout())
        loss, _, gradients = step(objective, [examples])
        other, _, other_gradients = step(objective, [changed])
        assert loss == other
        assert all(torch.equal(one, two) for one, two in zip(gradients, other_gradients, strict=True))


@pytest.mark.parametrize("kind", [*TYPES, "ppo"])
def test_micro_batches_packing_and_padding_change_nothing(kind: Any) -> None:
    examples = experiences(12)
    config = RLConfig(**SETTINGS)

    def objective(layout: Layout) -> PolicyGradient:
        return ActorCritic(config, "dapo", 0.0, layout) if kind == "ppo" else PolicyGradient(config, kind, 0.1, layout)

    loss, metrics, gradients = step(objective(Layout(packed=False)), [examples])
    others = [
        step(objective(Layout(packed=True)), [examples]),
        step(objective(Layout(packed=False, padding_side="left")), [examples]),
        step(objective(Layout(packed=True, padding_side="left")), by_count(5)(examples)),
        step(objective(Layout()), by_count(1)(examples)),
        step(objective(Layout(packed=False)), by_count(4)(examples[::-1])),
    ]
    for other_loss, other_metrics, other_gradients in others:
        assert other_loss == pytest.approx(loss, abs=1e-5)
        assert other_metrics == pytest.approx(metrics, abs=1e-5)
        for one, two in zip(gradients, other_gradients, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("loss_type", TYPES)
def test_loss_and_gradient_are_those_of_trl(loss_type: LossType, beta: float) -> None:
    examples = experiences()
    objective = PolicyGradient(RLConfig(**SETTINGS), loss_type, beta, Layout())
    loss, metrics, gradients = step(objective, [examples])
    expected, model = trl_loss(examples, loss_type, beta)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), abs=1e-6)
    assert 0 < metrics["clip_share"] < 1
    theirs = [each.grad for each in model.parameters() if each.grad is not None]
    for one, two in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def trl_loss(examples: list[Experience], loss_type: str, beta: float) -> tuple[Tensor, Any]:
    """`GRPOTrainer._compute_loss` of TRL on the same completions, with our model's log-probabilities."""
    grpo_trainer = pytest.importorskip("trl.trainer.grpo_trainer")
    model = policy()

    def log_probabilities(
        _model: Any, input_ids: Tensor, attention_mask: Tensor, num_kept: int, **_: Any
    ) -> tuple[Tensor, Tensor, None]:
        logits = model(input_ids, attention_mask=attention_mask)[:, -num_kept - 1 : -1] / TEMPERATURE
        chosen = logits.log_softmax(-1).gather(-1, input_ids[:, -num_kept:, None]).squeeze(-1)
        return chosen, torch.zeros_like(chosen), None

    trainer = types.SimpleNamespace(
        _get_per_token_logps_and_entropies=log_probabilities,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        beta=beta,
        args=types.SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        loss_type=loss_type,
        epsilon_low=SETTINGS["clip_low"],
        epsilon_high=SETTINGS["clip_high"],
        use_vllm=False,
        model=types.SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        max_completion_length=SETTINGS["max_new_tokens"],
        accelerator=types.SimpleNamespace(
            num_processes=1, gather=lambda value: value, reduce=lambda value, reduction: value
        ),
        _entropy_bonus_enabled=False,
        aux_loss_enabled=False,
        _metrics={"train": _Anything()},
    )
    inputs = trl_inputs(examples)
    return grpo_trainer.GRPOTrainer._compute_loss(trainer, model, inputs), model


class _Anything(dict[str, list[float]]):
    def __missing__(self, key: str) -> list[float]:
        return []


def trl_inputs(examples: list[Experience]) -> dict[str, Tensor]:
    """Prompts padded on the left, completions on the right, as TRL has them."""
    sizes = [len(each.advantages) for each in examples]
    tokens = [each.sequence.input_ids.tolist() for each in examples]
    prompts = [ids[:-size] for ids, size in zip(tokens, sizes, strict=True)]
    completions = [ids[-size:] for ids, size in zip(tokens, sizes, strict=True)]
    width, longest = max(map(len, prompts)), max(sizes)

    def right(rows: Sequence[Any], fill: float = 0) -> Tensor:
        return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])

    return {
        "prompt_ids": torch.tensor([[0] * (width - len(row)) + row for row in prompts]),
        "prompt_mask": torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts]),
        "completion_ids": right(completions),
        "completion_mask": right([[1] * size for size in sizes]),
        "advantages": torch.tensor([float(each.advantages[0]) for each in examples]),
        "old_per_token_logps": right([each.old_log_probabilities.tolist() for each in examples], 0.0),
        "ref_per_token_logps": right([each.reference_log_probabilities.tolist() for each in examples], 0.0),
        "num_items_in_batch": torch.tensor(sum(sizes)),
    }


def test_experiences_survive_a_checkpoint() -> None:
    examples = experiences(4)
    examples[1] = examples[1]._replace(is_learned=False)
    for before, after in zip(examples, from_tensors(to_tensors(examples)), strict=True):
        assert after.is_learned == before.is_learned
        for one, two in zip([*before.sequence, *before[1:6]], [*after.sequence, *after[1:6]], strict=True):
            assert one.dtype == two.dtype
            assert np.array_equal(one, two)
