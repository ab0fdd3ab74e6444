"""Rewards of answers against the objective that teaches them."""

from pathlib import Path

import pytest
import torch

from inkstone.core.errors import InputError
from inkstone.data.examples.records import Preference
from inkstone.nn.heads import HeadConfig
from inkstone.tasks.reward import rewards
from inkstone.train.objectives.headed import RowLayout
from inkstone.train.objectives.reward import REWARD, RewardModeling
from tests.tasks.heads import KINDS, headed
from tests.train.objectives.heads import lesson_of

HEAD = HeadConfig(kind="sequence", labels=("reward",))
EXAMPLES = (
    Preference(prompt="The ink is", chosen=" black.", rejected=" wet and black"),
    Preference(prompt="墨分", chosen="五色。", rejected="。"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_rewards_are_those_that_were_taught(tmp_path: Path, kind: str) -> None:
    lm = headed(tmp_path, kind, HEAD)
    encode = REWARD.encoder(lesson_of(lm.model, tokenizer=lm.tokenizer))
    pairs = [pair for example in EXAMPLES for pair in encode(example)]
    objective = RewardModeling(RowLayout())
    with torch.no_grad():
        _, metrics = objective.loss(lm.model, objective.collate(pairs))  # type: ignore[arg-type]
    prompts = [str(example.prompt) for example in EXAMPLES]
    chosen = rewards(lm.model, lm.tokenizer, prompts, [example.chosen for example in EXAMPLES])
    rejected = rewards(lm.model, lm.tokenizer, prompts, [example.rejected for example in EXAMPLES])
    margins = [first - second for first, second in zip(chosen, rejected, strict=True)]
    assert sum(margins) == pytest.approx(float(metrics["margin"]), abs=1e-4)
    assert sum(margin > 0 for margin in margins) == int(metrics["accuracy"])
    assert rewards(lm.model, lm.tokenizer, [], []) == []


def test_what_has_no_reward(tmp_path: Path) -> None:
    lm = headed(tmp_path, "encoder", HEAD)
    with pytest.raises(InputError, match="1 prompts and 0 answers"):
        rewards(lm.model, lm.tokenizer, ["墨"], [])
    with pytest.raises(
        InputError, match=r"answers\[0\]: prompt and answer have \d+ tokens, and the reward model reads 48"
    ):
        rewards(lm.model, lm.tokenizer, ["墨" * 60], ["。"])
    classifier = headed(tmp_path / "c", "encoder", HeadConfig(kind="sequence", labels=("a", "b")))
    with pytest.raises(InputError, match="gives 2 numbers for a text, no reward"):
        rewards(classifier.model, classifier.tokenizer, ["墨"], ["。"])
