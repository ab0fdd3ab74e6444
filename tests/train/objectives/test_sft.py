"""Supervised fine-tuning against `transformers`, and what of an example is learned."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inkstone
from inkstone.checkpoint import save_checkpoint
from inkstone.core.errors import InputError
from inkstone.core.stage import execute
from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.examples.records import Chat, Completion, Example
from inkstone.nn.kernels import llama_block
from inkstone.nn.layers.loss import IGNORED
from inkstone.tasks.score import token_logprobs
from inkstone.train.config import NewModelConfig
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.learning import build_model
from inkstone.train.objectives.log_probabilities import sequence_log_probabilities, target_log_probabilities
from inkstone.train.objectives.sft import CHAT, SupervisedFineTuning, cut_sequence
from inkstone.train.objectives.targets import by_sequence, owners
from inkstone.train.stages import finetune
from tests.tiny_models import randomized, tiny_model
from tests.train.objectives.lessons import (
    assert_same_step,
    chat_tokenizer,
    completed,
    layout_changes_nothing,
    lesson_of,
    step_of,
)

SYSTEM = {"role": "system", "content": "短"}
ASKED = {"role": "user", "content": "砚?"}
ANSWERED = {"role": "assistant", "content": "ink"}
EXAMPLES: list[Example] = [
    Chat(messages=[ASKED, ANSWERED], where="a.jsonl:1"),
    Chat(messages=[SYSTEM, ASKED, ANSWERED]),
    Chat(messages=[ASKED, {**ANSWERED, "train": False}, ASKED, {**ANSWERED, "content": "磨墨"}]),
    Completion(prompt="The ink", completion=" is black"),
    Completion(prompt="墨分", completion="五色。"),
]


def config(**changes: Any) -> FinetuneConfig:
    return FinetuneConfig(**{"device": "cpu", "dtype": "float32"} | changes)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> list[TokenSequence]:
    return completed(CHAT, lesson_of(config(), tmp_path_factory.mktemp("lesson")), EXAMPLES)


def test_labels_are_the_next_tokens_of_answers_alone(encoded: list[TokenSequence]) -> None:
    tokenizer = chat_tokenizer()
    ids = tokenizer.special_tokens
    (line,) = tokenizer.encode_plain("\n")
    user, assistant, asked, answer = map(tokenizer.encode_plain, ("user", "assistant", "砚?", "ink"))
    start, end = ids["<|im_start|>"], ids["<|im_end|>"]
    before = [ids["<|bos|>"], start, *user, line, *asked, end, line, start, *assistant, line]
    sequence = encoded[0]
    assert sequence.input_ids.tolist() == [*before, *answer, end, line]
    # The label of a position is the token after it: the answer's first is that of the prompt's last.
    assert sequence.labels.tolist() == [IGNORED] * (len(before) - 1) + [*answer, end] + [IGNORED] * 2
    assert sequence.num_targets == len(answer) + 1


def test_completions_are_learned_with_their_end(encoded: list[TokenSequence]) -> None:
    tokenizer = chat_tokenizer()
    for sequence, prompt, completion in ((encoded[3], "The ink", " is black"), (encoded[4], "墨分", "五色。")):
        prompt_ids = tokenizer.encode(prompt)
        assert sequence.input_ids[: len(prompt_ids)].tolist() == prompt_ids
        learned = sequence.labels[sequence.labels != IGNORED].tolist()
        assert tokenizer.decode(learned, skip_special_tokens=False) == f"{completion}<|eos|>"
        assert sequence.labels[len(prompt_ids) - 1 : -1].tolist() == learned


def test_loss_and_gradient_are_those_of_transformers(encoded: list[TokenSequence], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = tiny_model(num_key_value_heads=2)
    save_checkpoint(tmp_path, model, chat_tokenizer())
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    width = max(sequence.length for sequence in encoded)
    rows = {"input_ids": [], "attention_mask": [], "labels": []}  # type: ignore[var-annotated]
    for ids, labels in encoded:
        padding = width - len(ids)
        rows["input_ids"].append([*ids, *[2] * padding])
        rows["attention_mask"].append([1] * len(ids) + [0] * padding)
        # Theirs are not shifted: the label of a position is its own token.
        rows["labels"].append([IGNORED, *labels[:-1], *[IGNORED] * padding])
    expected = theirs(**{name: torch.tensor(np.array(each)) for name, each in rows.items()}).loss
    expected.backward()
    loss, gradient, _ = step_of(SupervisedFineTuning(), model, encoded)
    assert loss == pytest.approx(float(expected.detach()), abs=1e-5)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_layout_changes_nothing(encoded: list[TokenSequence], tmp_path: Path, label_smoothing: float) -> None:
    from inkstone.train.objectives.seq2seq import PAIRS

    lesson = lesson_of(config(label_smoothing=label_smoothing), tmp_path)
    layout_changes_nothing(PAIRS if label_smoothing else CHAT, lesson, encoded, lesson.model)


@pytest.mark.parametrize("arch", ["gpt2", "lstm", "mixtral"])
def test_layout_changes_nothing_in_other_families(arch: str, encoded: list[TokenSequence], tmp_path: Path) -> None:
    heads = {} if arch == "lstm" else {"num_attention_heads": 2}
    shape = {"arch": arch, "hidden_size": 32, "num_hidden_layers": 2, **heads}
    new = NewModelConfig(model=shape, context_length=64)  # type: ignore[arg-type]
    model = randomized(build_model(new, chat_tokenizer()), spread=0.2)
    layout_changes_nothing(CHAT, lesson_of(config(), tmp_path, model), encoded, model)


@pytest.mark.skipif(llama_block.unavailable() is not None, reason="no fused block here")
@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 2, "model_type": "qwen3"}])
def test_fused_blocks_change_nothing_whatever_the_layout(
    encoded: list[TokenSequence], tmp_path: Path, changes: dict[str, Any]
) -> None:
    model = tiny_model(**changes)
    expected = step_of(SupervisedFineTuning(packed=False), model, encoded)
    assert model.fuse(torch.float32)
    for packed in (False, True):
        for side in ("left", "right"):
            objective = SupervisedFineTuning(packed=packed, padding_side=side)  # type: ignore[arg-type]
            assert_same_step(step_of(objective, model, encoded), expected)
    layout_changes_nothing(CHAT, lesson_of(config(), tmp_path, model), encoded, model)


def test_label_smoothing_is_that_of_torch(encoded: list[TokenSequence], monkeypatch: pytest.MonkeyPatch) -> None:
    from inkstone.nn.layers import loss as losses

    model = tiny_model()
    smoothed, gradient, _ = step_of(SupervisedFineTuning(label_smoothing=0.2), model, encoded)
    logits, labels = [], []
    for ids, targets in encoded:
        logits.append(model(torch.from_numpy(ids).unsqueeze(0))[0])
        labels.append(torch.from_numpy(targets))
    model.zero_grad()
    expected = torch.nn.functional.cross_entropy(torch.cat(logits), torch.cat(labels), label_smoothing=0.2)
    expected.backward()
    assert smoothed == pytest.approx(float(expected.detach()), abs=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, atol=1e-5, rtol=1e-4)
    monkeypatch.setattr(losses, "_CHUNK_LOGITS", 3 * 320)  # three rows of logits at a time
    assert_same_step(step_of(SupervisedFineTuning(label_smoothing=0.2), model, encoded), (smoothed, gradient, {}))


def test_log_probabilities_in_training_are_those_of_score(encoded: list[TokenSequence]) -> None:
    model = tiny_model()
    batch = SupervisedFineTuning(packed=True).collate(encoded)
    with torch.no_grad():
        found = target_log_probabilities(model, batch)
        sums = sequence_log_probabilities(model, batch, len(encoded))
    for index, (sequence, ours) in enumerate(
        zip(encoded, by_sequence(found, owners(batch), len(encoded)), strict=True)
    ):
        learned = torch.from_numpy(sequence.labels[:-1] != IGNORED)
        expected = torch.tensor(token_logprobs(model, sequence.input_ids.tolist()))[learned]
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
        assert float(sums[index]) == pytest.approx(float(expected.sum()), abs=1e-3)
    loss = step_of(SupervisedFineTuning(), model, encoded)[0]
    assert loss == pytest.approx(-float(found.sum()) / sum(each.num_targets for each in encoded), abs=1e-5)


def test_what_is_cut_is_the_end(encoded: list[TokenSequence]) -> None:
    whole = encoded[0]
    cut = cut_sequence(whole, whole.length - 2)
    assert cut.length == whole.length - 2
    assert cut.input_ids.tolist() == whole.input_ids[:-2].tolist()
    assert cut.labels[:-1].tolist() == whole.labels[: cut.length - 1].tolist()
    assert cut.labels[-1] == IGNORED
    assert whole.num_targets == cut.num_targets + 1  # the stop token


@pytest.mark.parametrize(
    ("example", "match"),
    [
        (Chat(messages=[ASKED, {**ANSWERED, "weight": 0}], where="a.jsonl:3"), r"a\.jsonl:3: nothing of it is learned"),
        (Chat(messages=[ASKED, {**ANSWERED, "weight": 2}], where="a.jsonl:4"), r"a\.jsonl:4: a message has weight 2"),
    ],
)
def test_errors_name_the_row(example: Chat, match: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=match):
        completed(CHAT, lesson_of(config(), tmp_path), [example])


def test_a_conversation_that_was_taught_is_held(tmp_path: Path) -> None:
    """From files to a folder that answers, `method: auto`."""
    model, tokenizer = tiny_model(), chat_tokenizer()
    model.init_weights(torch.Generator().manual_seed(0))
    save_checkpoint(tmp_path / "model", model, tokenizer)
    answers = {"砚?": "一石", "Ink?": "Black", "Who?": "I am Ink"}
    rows = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
        for asked, answer in answers.items()
    ]
    (tmp_path / "data").mkdir()
    for split in ("train", "valid"):
        (tmp_path / "data" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    settings = config(steps=60, batch_size=3, learning_rate=1e-2, compile=False, eval_every=60, checkpoint_every=60)
    inputs = {"model": tmp_path / "model", "data": tmp_path / "data"}
    result = execute(finetune, settings, inputs, tmp_path / "out")
    assert result.summary["valid_loss"] < 0.1
    taught = inkstone.load(tmp_path / "out", device="cpu")
    for asked, answer in answers.items():
        assert taught.chat(asked, temperature=0, max_new_tokens=20) == answer
