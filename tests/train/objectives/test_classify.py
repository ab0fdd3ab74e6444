"""Classes and numbers of texts against `transformers`, and what must not change them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from inkstone.checkpoint import load_checkpoint, save_checkpoint
from inkstone.core.errors import ConfigError, InputError
from inkstone.data.examples.classes import class_names, in_order, number
from inkstone.data.examples.records import LabeledText
from inkstone.nn.heads import HeadedModel
from inkstone.nn.models.lstm import LstmConfig, LstmForCausalLM
from inkstone.tasks.classify import classify
from inkstone.train.objectives.classify import CLASSIFY, REGRESS, balanced_weights
from tests.tiny_models import tiny_tokenizer
from tests.train.objectives.heads import (
    KINDS,
    SENTENCES,
    Kind,
    layout_changes_nothing,
    lesson_of,
    prepared,
    step,
    tiny_encoder,
    word_pieces,
)

SINGLE = tuple(
    LabeledText(text=text, label=("noun", "verb", "墨")[index % 3], where=f"f:{index + 1}")
    for index, text in enumerate(SENTENCES)
)
SEVERAL = tuple(
    LabeledText(text=text, label=(("a",), (), ("b", "墨"))[index % 3]) for index, text in enumerate(SENTENCES)
)
PAIRS = tuple(
    LabeledText(text=text, pair=SENTENCES[-1 - index], label=str(index % 2)) for index, text in enumerate(SENTENCES)
)
NUMBERS = tuple(LabeledText(text=text, label=0.5 * index - 1) for index, text in enumerate(SENTENCES))
CASES: dict[str, tuple[Any, tuple[LabeledText, ...]]] = {
    "one class": (CLASSIFY, SINGLE),
    "several classes": (CLASSIFY, SEVERAL),
    "pairs": (CLASSIFY, PAIRS),
    "numbers": (REGRESS, NUMBERS),
}


def their_targets(oracle: Any, examples: tuple[LabeledText, ...]) -> torch.Tensor:
    ids = oracle.config.label2id
    if oracle.config.problem_type == "regression":
        return torch.tensor([float(example.label) for example in examples])  # type: ignore[arg-type]
    if oracle.config.problem_type == "single_label_classification":
        return torch.tensor([ids[example.label] for example in examples])
    return torch.tensor([[float(name in example.label) for name in ids] for example in examples])  # type: ignore[operator]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_are_those_of_transformers(tmp_path: Path, case: str, kind: Kind) -> None:
    """From the saved folder and the texts alone: its tokens, pairs, labels and loss."""
    method, examples = CASES[case]
    lesson = lesson_of(kind)
    encoded = prepared(method, lesson, examples)
    save_checkpoint(tmp_path, lesson.model, lesson.tokenizer)
    oracle, report = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    texts = [example.text for example in examples]
    pairs = [example.pair for example in examples] if case == "pairs" else None
    inputs = tokenizer(texts, pairs, padding=True, return_tensors="pt", return_token_type_ids=kind == "encoder")
    output = oracle.eval()(**inputs, labels=their_targets(oracle, examples))
    output.loss.backward()
    loss, gradient, metrics = step(method, lesson, encoded)
    assert abs(loss - output.loss.item()) < 1e-5
    expected = {name: parameter.grad for name, parameter in oracle.named_parameters() if parameter.grad is not None}
    assert gradient.keys() == expected.keys()
    for name, value in gradient.items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4)
    results = classify(lesson.model, lesson.tokenizer, texts, pairs)  # type: ignore[arg-type]
    for result, logits in zip(results, output.logits.detach(), strict=True):
        names = list(oracle.config.label2id)
        if case == "numbers":
            assert result.label == pytest.approx(float(logits))
            continue
        several = case == "several classes"
        probabilities = logits.sigmoid() if several else logits.softmax(-1)
        assert list(result.probabilities) == names
        np.testing.assert_allclose(list(result.probabilities.values()), probabilities, atol=1e-5)
        right = tuple(name for name, p in zip(names, probabilities, strict=True) if p > 0.5)
        assert result.label == (right if several else oracle.config.id2label[int(logits.argmax())])
    right_ones = [result.label == example.label for example, result in zip(examples, results, strict=True)]
    if case != "numbers":
        assert metrics["accuracy"] == pytest.approx(np.mean(right_ones))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_layout_changes_nothing(case: str, kind: Kind) -> None:
    method, examples = CASES[case]
    layout_changes_nothing(method, kind, examples, head={"class_weights": "balanced"}, label_smoothing=0.1)


def test_roberta_padded_on_the_left_is_the_same() -> None:
    """Its positions begin after that of padding, and its head reads the first token."""
    tokenizer = word_pieces()
    lesson = lesson_of(tiny_encoder(tokenizer, roberta=True), tokenizer=tokenizer)
    encoded = prepared(CLASSIFY, lesson, PAIRS)
    right = step(CLASSIFY, lesson, encoded)
    lesson.config = lesson.config.model_copy(update={"padding_side": "left"})
    left = step(CLASSIFY, lesson, encoded)
    assert left[0] == pytest.approx(right[0], abs=1e-5)


def test_class_weights_and_label_smoothing() -> None:
    """Against scikit-learn's formula and a cross-entropy written out."""
    examples = (*SINGLE, SINGLE[0], SINGLE[0])  # noun 4, verb 2, 墨 2
    lesson = lesson_of("encoder", head={"class_weights": "balanced"}, label_smoothing=0.2)
    encoded = prepared(CLASSIFY, lesson, examples)
    weights = balanced_weights([each.target for each in encoded], 3, "single_label_classification")
    torch.testing.assert_close(weights, torch.tensor([8 / 12, 8 / 6, 8 / 6]))
    loss, _, _ = step(CLASSIFY, lesson, encoded)
    batch = CLASSIFY.objective(lesson, encoded).collate(encoded)
    with torch.no_grad():
        logits = lesson.model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
    log_p = F.log_softmax(logits, -1)
    expected = 0.0
    for row, target in zip(log_p, batch["labels"], strict=True):
        expected -= 0.8 * float(weights[target] * row[target]) + 0.2 / 3 * float((weights * row).sum())
    assert loss == pytest.approx(expected / len(examples), abs=1e-5)
    targets = [np.array([1.0, 0, 1]), np.array([1.0, 0, 1]), np.array([0.0, 0, 1])]
    several = balanced_weights(targets, 3, "multi_label_classification")
    torch.testing.assert_close(several, torch.tensor([0.5, 1.0, 1.0]))


def test_labels_are_sorted_and_the_models_own_are_kept() -> None:
    lesson = lesson_of("encoder")
    encoded = prepared(CLASSIFY, lesson, SINGLE[::-1])
    first = lesson.model
    assert isinstance(first, HeadedModel)
    assert first.head_config.labels == ("noun", "verb", "墨")
    assert [each.target for each in encoded] == [2, 1, 0, 2, 1, 0]
    lesson.model = second = CLASSIFY.prepare(lesson, SINGLE[:2])
    assert isinstance(second, HeadedModel)
    assert second.head_config.labels == ("noun", "verb", "墨")
    assert torch.equal(second.output_layer.weight, first.output_layer.weight)
    lesson.model = third = CLASSIFY.prepare(lesson, [*SINGLE, LabeledText(text="x", label="other")])
    assert isinstance(third, HeadedModel)
    assert third.head_config.labels == ("noun", "other", "verb", "墨")
    assert third.backbone is first.backbone
    several = CLASSIFY.prepare(lesson, SEVERAL)
    assert isinstance(several, HeadedModel)
    assert several.head_config.problem_type == "multi_label_classification"


def test_a_model_goes_on_with_its_own_head_and_another_dropout() -> None:
    lesson = lesson_of("encoder", head={"dropout": 0.3})
    lesson.model = REGRESS.prepare(lesson, NUMBERS)
    again = REGRESS.prepare(lesson_of(lesson.model, tokenizer=lesson.tokenizer), NUMBERS)
    assert isinstance(again, HeadedModel)
    assert isinstance(lesson.model, HeadedModel)
    assert again.dropout.p == 0.3
    assert torch.equal(again.output_layer.weight, lesson.model.output_layer.weight)
    assert torch.equal(
        again.get_parameter("bert.pooler.dense.weight"), lesson.model.get_parameter("bert.pooler.dense.weight")
    )


def test_order_of_labels() -> None:
    assert in_order(["10", "9", "1"]) == ("1", "9", "10")
    assert in_order({"b", "10", "9"}) == ("10", "9", "b")
    assert class_names(2.0) == ("2",)
    assert class_names(0.25) == ("0.25",)
    assert class_names(("a",)) == ("a",)
    assert number("3") == 3.0
    for label in ("good", ("1",), "nan"):
        with pytest.raises(InputError, match="is no number"):
            number(label)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([LabeledText(text="x", label="a")], "the only label is a"),
        (
            [LabeledText(text="x", label="a"), LabeledText(text="x", label=("b",), where="f:2")],
            "f:2: some examples have a list",
        ),
        ([LabeledText(text="x", label=())], "the only label is none"),
    ],
)
def test_labels_that_teach_nothing(examples: list[LabeledText], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CLASSIFY.prepare(lesson_of("encoder"), examples)


def test_examples_that_cannot_be_learned_from() -> None:
    lesson = lesson_of("encoder")
    prepared(CLASSIFY, lesson, SINGLE)
    encode = CLASSIFY.encoder(lesson)
    with pytest.raises(InputError, match=r"f:7: the label 'nuon'.*\n.*did you mean 'noun'"):
        encode(LabeledText(text="x", label="nuon", where="f:7"))
    with pytest.raises(InputError, match="2 labels, and"):
        encode(LabeledText(text="x", label=("noun", "verb")))
    with pytest.raises(InputError, match="f:8: the text has no tokens"):
        encode(LabeledText(text=" ", label="noun", where="f:8"))
    with pytest.raises(InputError, match="f:9: character 0 is a lone surrogate"):
        encode(LabeledText(text="\ud800", label="noun", where="f:9"))


def test_families_without_such_a_head() -> None:
    shape = {"vocab_size": 320, "hidden_size": 16, "embedding_size": 8, "num_hidden_layers": 1}
    model = LstmForCausalLM(LstmConfig(**shape, max_position_embeddings=64))
    lesson = lesson_of(model, tokenizer=tiny_tokenizer())
    with pytest.raises(ConfigError, match="lstm model cannot have a sequence head"):
        CLASSIFY.prepare(lesson, SINGLE)


@pytest.mark.parametrize("kind", KINDS)
def test_cutting_is_that_of_transformers(tmp_path: Path, kind: Kind) -> None:
    """The longer text of a pair first, and what the tokenizer adds stays."""
    assert CLASSIFY.cut is not None
    lesson = lesson_of(kind)
    for examples in (SINGLE, PAIRS):
        encoded = prepared(CLASSIFY, lesson, examples)
        lesson.tokenizer.save(tmp_path)
        theirs = AutoTokenizer.from_pretrained(tmp_path)
        for example, each in zip(examples, encoded, strict=True):
            for length in range(6, each.length + 3):
                cut = CLASSIFY.cut(each, length)
                expected = theirs(example.text, example.pair, truncation="longest_first", max_length=length)
                assert cut.input_ids.tolist() == expected.input_ids
                assert cut.length == len(cut.token_type_ids) == len(cut.text_ids)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_what_is_saved_is_what_was_taught(tmp_path: Path, kind: Kind) -> None:
    """A few steps on the bare model are enough to tell three texts apart."""
    lesson = lesson_of(kind)
    encoded = prepared(CLASSIFY, lesson, SINGLE[:3])
    optimizer = torch.optim.Adam(lesson.model.parameters(), 0.003)
    for _ in range(60):
        step(CLASSIFY, lesson, encoded)
        optimizer.step()
    save_checkpoint(tmp_path, lesson.model, lesson.tokenizer)
    model, tokenizer = load_checkpoint(tmp_path, "cpu")
    texts = [example.text for example in SINGLE[:3]]
    assert [each.label for each in classify(model, tokenizer, texts)] == [example.label for example in SINGLE[:3]]
    oracle = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    for text, example in zip(texts, SINGLE, strict=False):
        logits = oracle(
            **AutoTokenizer.from_pretrained(tmp_path)(text, return_tensors="pt", return_token_type_ids=False)
        ).logits
        assert oracle.config.id2label[int(logits.argmax())] == example.label
