"""Rewards against `transformers` and the formula of TRL's RewardTrainer."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification

from inkstone.checkpoint import save_checkpoint
from inkstone.data.examples.records import Preference
from inkstone.nn.heads import HeadedModel
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.chat import CHATML
from inkstone.train.objectives.reward import REWARD
from tests.tiny_models import tiny_tokenizer
from tests.train.objectives.heads import (
    KINDS,
    Kind,
    layout_changes_nothing,
    lesson_of,
    prepared,
    step,
)

EXAMPLES = (
    Preference(prompt="The ink is", chosen=" black.", rejected=" the stone, and the brush begins to write"),
    Preference(prompt="墨分", chosen="五色。", rejected="。"),
    Preference(prompt="先注水,", chosen="然後慢慢研磨。", rejected="墨"),
)
CHAT = (
    Preference(
        prompt=[{"role": "user", "content": "墨?"}],
        chosen=[{"role": "assistant", "content": "黑。"}],
        rejected=[{"role": "assistant", "content": "wet"}],
    ),
)


@pytest.mark.parametrize("centering", [0.0, 0.05])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_those_of_trl(tmp_path: Path, kind: Kind, centering: float) -> None:
    """`-logsigmoid(chosen - rejected).mean() + coefficient * ((chosen + rejected) ** 2).mean()`, text by text."""
    lesson = lesson_of(kind, head={"reward_centering": centering})
    encoded = prepared(REWARD, lesson, EXAMPLES)
    save_checkpoint(tmp_path, lesson.model, lesson.tokenizer)
    oracle, report = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert oracle.config.num_labels == 1
    texts = [torch.from_numpy(each.input_ids).unsqueeze(0) for pair in encoded for each in pair]
    rewards = torch.cat([oracle.eval()(ids).logits for ids in texts])
    chosen, rejected = rewards.view(-1, 2).unbind(-1)
    expected = -F.logsigmoid(chosen - rejected).mean() + centering * ((chosen + rejected) ** 2).mean()
    expected.backward()
    loss, gradient, metrics = step(REWARD, lesson, encoded)
    assert abs(loss - expected.item()) < 1e-5
    for name, parameter in oracle.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradient[name], parameter.grad, atol=1e-5, rtol=1e-4)
    assert metrics["accuracy"] == pytest.approx((chosen > rejected).float().mean().item())
    assert metrics["margin"] == pytest.approx((chosen - rejected).mean().item(), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_layout_changes_nothing(kind: Kind) -> None:
    layout_changes_nothing(REWARD, kind, EXAMPLES, head={"reward_centering": 0.01})


def test_conversations_are_read_as_the_chat_template_writes_them() -> None:
    plain = tiny_tokenizer()
    lesson = lesson_of("decoder", tokenizer=Tokenizer(plain.backend, plain.special, CHATML))
    ((pair,),) = [REWARD.encoder(lesson)(CHAT[0])]
    text = "<|bos|><|im_start|>user\n墨?<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>"
    for sequence, answer in zip(pair, ("黑。", "wet"), strict=True):
        assert lesson.tokenizer.decode(sequence.input_ids.tolist(), skip_special_tokens=False) == text.format(answer)


def test_the_longest_sequence_must_fit_and_prompts_are_cut() -> None:
    lesson = lesson_of("decoder")
    pair = prepared(REWARD, lesson, EXAMPLES)[0]
    assert REWARD.longest(pair) == max(pair.chosen.length, pair.rejected.length)
    assert REWARD.cut is not None
    cut = REWARD.cut(pair, REWARD.longest(pair) - 1)
    assert REWARD.longest(cut) == REWARD.longest(pair) - 1
    assert cut.rejected.input_ids.tolist() == pair.rejected.input_ids[1:].tolist()


def test_a_reward_model_is_taught_further() -> None:
    lesson = lesson_of("decoder")
    lesson.model = first = REWARD.prepare(lesson, EXAMPLES)
    second = REWARD.prepare(lesson, EXAMPLES)
    assert isinstance(first, HeadedModel)
    assert isinstance(second, HeadedModel)
    assert first.head_config.labels == ("reward",)
    assert torch.equal(second.output_layer.weight, first.output_layer.weight)
