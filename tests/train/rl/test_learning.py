from pathlib import Path
from typing import Any

import pytest
import torch

from inkstone.data.examples.records import Problem
from inkstone.nn.models.base import Decoder
from inkstone.tokenizer.train import train_characters
from inkstone.train.loop import Loop
from inkstone.train.method import Method
from inkstone.train.metrics import read_metrics
from inkstone.train.rl.grpo import GRPO
from inkstone.train.rl.ppo import PPO
from inkstone.train.samples import read_samples
from tests.train.rl.helpers import tiny_lesson, tiny_loop

LETTERS = train_characters(["abcd甲乙丙丁=1234"])
RIDDLES = [Problem(prompt=f"{letter}=", answer="1234"[number % 4]) for number, letter in enumerate("abcd甲乙丙丁")]
"""The answer is one of 18 tokens, another one for each of four letters."""
BANDIT: dict[str, Any] = {
    "problems": RIDDLES,
    "tokenizer": LETTERS,
    "rl": {"group_size": 16, "max_new_tokens": 1, "rewards": {"exact": 1}, "kl_coefficient": 0.0},
    "batch_size": 8,
    "steps": 60,
    "learning_rate": 5e-3,
}


def curve(out: Path, name: str) -> list[float]:
    return [row[name] for row in read_metrics(out) if name in row]


@pytest.mark.parametrize(
    ("method", "rl"),
    [
        (GRPO, {}),
        (GRPO, {"loss_type": "dapo", "clip_high": 0.28, "resample": 2, "updates_per_rollout": 2}),
        (GRPO, {"loss_type": "dr_grpo", "scale_rewards": "none", "kl_coefficient": 0.001}),
        (PPO, {"kl_coefficient": 0.001}),
        (PPO, {"updates_per_rollout": 2, "ppo": {"whiten": False}}),
    ],
    ids=["grpo", "dapo", "dr_grpo", "ppo", "ppo twice"],
)
def test_the_reward_rises_from_chance(tmp_path: Path, method: Method[Any], rl: dict[str, Any]) -> None:
    tiny_loop(tmp_path, method=method, **BANDIT | {"rl": BANDIT["rl"] | rl}).run()
    rewards = curve(tmp_path, "reward")
    assert sum(rewards[:2]) / 2 < 0.2
    assert sum(rewards[-5:]) / 5 > 0.9


def test_an_adapter_learns_and_its_reference_is_the_base(tmp_path: Path) -> None:
    rl = BANDIT["rl"] | {"kl_coefficient": 0.001}
    changes = BANDIT | {"rl": rl, "lora": {"r": 8}, "learning_rate": 2e-2, "steps": 30}
    lesson, _ = tiny_lesson(tmp_path / "as before", **changes)
    before = {name: value.clone() for name, value in lesson.model.state_dict().items()}
    loop = tiny_loop(tmp_path / "taught", **changes)
    loop.run()
    kl, rewards = curve(tmp_path / "taught", "kl"), curve(tmp_path / "taught", "reward")
    assert kl[0] == pytest.approx(0, abs=1e-6)
    assert kl[-1] > 0.1
    assert rewards[-1] > rewards[0] + 0.3
    after = loop.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if "lora" not in name)


@pytest.mark.parametrize("lora", [None, {"r": 4}])
def test_the_critic_learns_and_is_not_saved(tmp_path: Path, lora: dict[str, Any] | None) -> None:
    loop = tiny_loop(tmp_path, method=PPO, **BANDIT | {"steps": 3, "lora": lora})
    names = {name for name, parameter in loop.model.named_parameters() if parameter.requires_grad}
    assert {"value_head.weight", "value_head.bias"} <= names
    loop.run()
    assert loop.model.get_parameter("value_head.weight").any()
    plain = PPO.finish(loop.model)
    assert isinstance(plain, Decoder)
    assert not [name for name, _ in plain.named_parameters() if "value_head" in name]
    assert not hasattr(plain, "value_head")


def test_the_kl_holds_the_policy_back(tmp_path: Path) -> None:
    ends = []
    for coefficient in (0.001, 1.0):
        out = tmp_path / str(coefficient)
        tiny_loop(out, **BANDIT | {"rl": BANDIT["rl"] | {"kl_coefficient": coefficient}, "steps": 20}).run()
        ends.append(curve(out, "kl")[-1])
    assert ends[1] < 0.6 * ends[0]


def test_the_first_ratio_is_one_with_dropout_too(tmp_path: Path) -> None:
    loop: Loop[Any] = tiny_loop(tmp_path, **BANDIT | {"lora": {"r": 4, "lora_dropout": 0.5}, "steps": 4})
    loop.model.get_submodule("model.layers.0.self_attn.q_proj.lora_B").weight.data.normal_()  # type: ignore[union-attr]
    loop.run()
    assert curve(tmp_path, "max_ratio") == pytest.approx([1.0] * 4, abs=1e-4)


def test_a_second_update_of_the_same_rollouts_has_another_ratio(tmp_path: Path) -> None:
    tiny_loop(tmp_path, **BANDIT | {"rl": BANDIT["rl"] | {"updates_per_rollout": 2}, "steps": 4}).run()
    rows = read_metrics(tmp_path)
    assert [row["max_ratio"] > 1.001 for row in rows] == [False, True, False, True]
    assert rows[0]["reward"] == rows[1]["reward"]
    assert [row["step"] for row in read_samples(tmp_path)] == [1, 3]


def test_a_sample_is_logged_with_what_it_was_worth(tmp_path: Path) -> None:
    tiny_loop(tmp_path, **BANDIT | {"steps": 2}).run()
    for step, row in enumerate(read_samples(tmp_path), 1):
        problem = next(each for each in RIDDLES if row["prompt"].endswith(str(each.prompt)))
        assert row["step"] == step
        assert row["answer"] == problem.answer
        assert row["reward"] == row["rewards"]["exact"] == float(row["completion"] == problem.answer)


def test_groups_with_equal_rewards_are_replaced(tmp_path: Path) -> None:
    shares = []
    for resample in (0, 6):
        out = tmp_path / str(resample)
        loop = tiny_loop(out, **BANDIT | {"rl": BANDIT["rl"] | {"resample": resample, "group_size": 2}})
        examples = loop.examples.batch(0, 8)
        assert len(examples) == 8 * 2
        shares.append(sum(each.advantages.any() for each in examples) / 16)
        assert loop.examples.batch(0, 8) is examples
    assert shares[1] > shares[0]


def test_ppo_learns_without_groups(tmp_path: Path) -> None:
    rl = BANDIT["rl"] | {"group_size": 1, "rewards": {"length": 1, "exact": 1}, "max_new_tokens": 3}
    loop = tiny_loop(tmp_path, method=PPO, **BANDIT | {"rl": rl, "steps": 2})
    loop.run()
    assert curve(tmp_path, "equal_groups") == [0.0, 0.0]
    assert len(loop.examples.batch(16, 8)) == 8


def test_validation_is_the_reward_of_the_likeliest_completions(tmp_path: Path) -> None:
    lesson, prompts = tiny_lesson(tmp_path, **BANDIT | {"eval_tokens": 5})
    assert GRPO.draw is not None
    assert GRPO.evaluate is not None
    evaluate = GRPO.evaluate(lesson, prompts, GRPO.draw(lesson, prompts))
    metrics = evaluate(lesson.model, 1)
    right = 0
    for prompt in prompts[:5]:
        logits = lesson.model(torch.tensor([prompt.input_ids]))[0, -1]
        right += lesson.tokenizer.decode([int(logits.argmax())]) == prompt.problem.answer
    assert metrics["valid_reward"] == -metrics["valid_loss"] == right / 5
