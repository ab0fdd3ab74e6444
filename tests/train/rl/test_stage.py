from pathlib import Path
from typing import Any

import pytest
import torch

from inkstone.checkpoint import load_checkpoint, load_decoder, save_checkpoint
from inkstone.checkpoint.adapters import load_adapter
from inkstone.checkpoint.heads import with_head
from inkstone.core.config import parse_config
from inkstone.core.errors import InputError
from inkstone.core.stage import execute
from inkstone.data.examples.answers import answer_ids_of
from inkstone.data.examples.records import Problem
from inkstone.nn.heads import HeadConfig
from inkstone.train.config_align import AlignConfig
from inkstone.train.metrics import read_metrics
from inkstone.train.micro_batches import by_length
from inkstone.train.rl.scoring import RewardModel
from inkstone.train.samples import read_samples
from inkstone.train.stages import align
from tests.train.objectives.lessons import chat_tokenizer
from tests.train.rl.helpers import tiny_policy
from tests.train.taught import TINY_TEACHING, make_data, make_model

RL = {"group_size": 3, "max_new_tokens": 6, "rewards": {"math": 1.0, "length": 0.1}}


def run(
    folder: Path, method: str, inputs: dict[str, Path] | None = None, **changes: Any
) -> tuple[Path, dict[str, Any]]:
    given = {"model": make_model("decoder", folder), "data": make_data("problems", folder), **(inputs or {})}
    config = {**TINY_TEACHING, "method": method, "rl": RL, "steps": 4, "log_every": 1, **changes}
    out = folder / "out"
    return out, execute(align, parse_config(AlignConfig, config, where="align"), given, out).summary


@pytest.mark.parametrize("method", ["grpo", "ppo"])
def test_a_stage_makes_a_plain_policy(tmp_path: Path, method: str) -> None:
    out, summary = run(tmp_path, method)
    before, _ = load_decoder(tmp_path / "decoder-0")
    after, _ = load_decoder(out)
    assert dict(after.named_parameters()).keys() == dict(before.named_parameters()).keys()
    assert summary["parameters"] == before.num_parameters()
    rows = read_metrics(out)
    names = {"reward", "reward_std", "reward_math", "reward_length", "equal_groups", "clip_share", "kl", "entropy"}
    assert names | {"completion_tokens", "truncated", "max_ratio"} <= rows[0].keys()
    valid = [row for row in rows if "valid_reward" in row]
    assert [row["valid_loss"] for row in valid] == [-row["valid_reward"] for row in valid]
    assert {"valid_reward_math", "valid_reward_length", "valid_completion_tokens"} <= valid[0].keys()
    assert summary["valid_loss"] == min(row["valid_loss"] for row in valid)
    assert len(read_samples(out)) == 4


@pytest.mark.parametrize("method", ["grpo", "ppo"])
def test_an_adapter_is_saved_under_the_names_of_the_policy(tmp_path: Path, method: str) -> None:
    out, _ = run(tmp_path, method, lora={"r": 2})
    policy, _ = load_decoder(tmp_path / "decoder-0")
    adapter = load_adapter(out, policy)
    assert all("q_proj" in name or "layers" in name for name in adapter.parameters())


def test_a_problem_that_leaves_no_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.jsonl:1: the prompt has \d+ tokens, which with 60 of a completion"):
        run(tmp_path, "grpo", rl=RL | {"max_new_tokens": 60})


def test_a_group_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        run(tmp_path, "grpo", rl=RL | {"group_size": 1})


def reward_folder(folder: Path) -> Path:
    tokenizer = chat_tokenizer()
    head = HeadConfig(kind="sequence", labels=("reward",), problem_type="regression")
    model = with_head(tiny_policy(tokenizer), head, torch.Generator().manual_seed(0))
    model.output_layer.weight.data.normal_(generator=torch.Generator().manual_seed(1))  # type: ignore[union-attr,operator]
    save_checkpoint(folder / "judge", model, tokenizer)
    return folder / "judge"


def test_a_reward_model_judges(tmp_path: Path) -> None:
    folder = reward_folder(tmp_path)
    model, _ = load_checkpoint(folder)
    judge = RewardModel(folder, torch.device("cpu"), by_length(40, packed=False))
    problems = [
        Problem(prompt="1 + 1 =", answer="2"),
        Problem(prompt=[{"role": "user", "content": "磨墨者先注水"}]),
        Problem(prompt=[{"role": "user", "content": "Why?"}]),
    ]
    completions = ["2", "然後慢慢研磨", ""]
    rewards = judge(problems, completions)
    for problem, completion, reward in zip(problems, completions, rewards, strict=True):
        ids = [token for part in answer_ids_of(chat_tokenizer(), problem.prompt, completion, "") for token in part]
        assert judge([problem], [completion])[0] == pytest.approx(reward, abs=1e-5)
        assert float(model(torch.tensor([ids])).detach()) == pytest.approx(reward, abs=1e-5)
    assert len({round(float(reward), 4) for reward in rewards}) == 3


def test_a_learned_reward_is_learned_from(tmp_path: Path) -> None:
    out, _ = run(tmp_path, "grpo", {"reward": reward_folder(tmp_path)}, rl={"group_size": 3, "max_new_tokens": 6})
    assert read_metrics(out)[0]["reward_std"] > 0
    assert set(read_samples(out)[0]["rewards"]) == {"model"}


def test_another_model_is_no_reward_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a reward model"):
        run(tmp_path, "grpo", {"reward": make_model("decoder", tmp_path)}, rl={"max_new_tokens": 6})
