"""Distillation: divergences, teachers asked once or at every step, and what must not change the loss."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from inkstone.checkpoint import save_checkpoint
from inkstone.checkpoint.heads import with_head
from inkstone.core.errors import InputError
from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.examples.records import Chat, Completion, Example, LabeledSpans, LabeledText, Pair, PlainText, Span
from inkstone.nn.heads import HeadConfig, HeadedModel
from inkstone.nn.models.base import Model
from inkstone.nn.models.bert import BertConfig
from inkstone.nn.models.masked_lm import BertForMaskedLM
from inkstone.nn.models.t5 import T5, T5Config
from inkstone.nn.sampling_params import SamplingParams
from inkstone.tokenizer import Tokenizer
from inkstone.train.config_distill import DistillConfig
from inkstone.train.method import Lesson
from inkstone.train.objectives import distill_logits, distill_teacher
from inkstone.train.objectives.distill import DISTILL
from inkstone.train.objectives.distill_losses import bucketed, forward_kl, jensen_shannon, reverse_kl
from inkstone.train.rl.rollouts import rollout
from inkstone.train.teach import teach_settings
from tests.tiny_models import randomized, tiny_model
from tests.train.objectives.heads import SENTENCES, tiny_encoder, word_pieces
from tests.train.objectives.lessons import (
    assert_same_step,
    chat_tokenizer,
    completed,
    layout_changes_nothing,
    lesson_of,
    step_of,
)

LANGUAGE: list[Example] = [
    Chat(messages=[{"role": "user", "content": "墨?"}, {"role": "assistant", "content": "The ink is black."}]),
    Completion(prompt="What is wet? ", completion="the stone"),
    PlainText(text="磨墨者先注水,然後慢慢研磨。筆走龍蛇"),
    Pair(source_text="brush", target_text="筆"),
]
PAIRS = [
    Pair(source_text="The ink is black", target_text="墨"),
    Pair(source_text="brush", target_text="筆走龍蛇,墨分五色。"),
]
CLASSES = [LabeledText(text=text, label=("noun", "verb", "墨")[n % 3]) for n, text in enumerate(SENTENCES)]
SEVERAL = [LabeledText(text=text, label=(("a",), (), ("a", "b"))[n % 3]) for n, text in enumerate(SENTENCES)]
NUMBERS = [LabeledText(text=text, label=0.5 * n) for n, text in enumerate(SENTENCES)]
SPANS = [LabeledSpans(text=text, spans=(Span(0, 1, "first"),)) for text in SENTENCES]
HEADS = {
    "classes": (CLASSES, HeadConfig(kind="sequence", labels=("noun", "verb", "墨"))),
    "several": (
        SEVERAL,
        HeadConfig(kind="sequence", labels=("a", "b"), problem_type="multi_label_classification"),
    ),
    "numbers": (NUMBERS, HeadConfig(kind="sequence", labels=("value",))),
    "spans": (SPANS, HeadConfig(kind="token", labels=("O", "B-first", "I-first"))),
}


def distribution(*shape: int, seed: int = 0, spread: float = 2.0) -> Tensor:
    """Random log-probabilities over the last dimension."""
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread).log_softmax(-1)


def tiny_t5(seed: int = 0) -> T5:
    shape = {"vocab_size": 320, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    config = T5Config(**shape, num_decoder_layers=2, decoder_start_token_id=2, dropout_rate=0.0)
    return randomized(T5(config), seed, spread=0.2)


def distill_lesson(
    out: Path, student: Model, teacher: Model, tokenizer: Tokenizer | None = None, **changes: Any
) -> Lesson:
    """A lesson with a saved teacher."""
    tokenizer = tokenizer or chat_tokenizer()
    save_checkpoint(out / "given", teacher, tokenizer)
    config = DistillConfig(**{"device": "cpu", "dtype": "float32"} | changes)
    lesson = lesson_of(config, out / "out", student, {"teacher": out / "given"})
    lesson.tokenizer = tokenizer
    return lesson


def of_language(out: Path, examples: list[Example] | None = None, **changes: Any) -> tuple[Lesson, list[Any]]:
    """A student of another size than its teacher, with examples."""
    teacher = tiny_model(1, hidden_size=16, num_hidden_layers=1)
    lesson = distill_lesson(out, tiny_model(2), teacher, **changes)
    return lesson, completed(DISTILL, lesson, examples or LANGUAGE)


def narrow_encoder(tokenizer: Tokenizer) -> BertForMaskedLM:
    config = tiny_encoder(tokenizer).config.model_dump() | {"hidden_size": 16, "num_hidden_layers": 1}
    return BertForMaskedLM(BertConfig(**config))


def of_head(out: Path, case: str, **changes: Any) -> tuple[Lesson, list[Any]]:
    """An encoder without a head, half as wide as the teacher, with examples."""
    examples, head = HEADS[case]
    tokenizer = word_pieces()
    teacher = randomized(with_head(tiny_encoder(tokenizer), head), 3, spread=0.4)
    student = narrow_encoder(tokenizer)
    lesson = distill_lesson(out, student, teacher, tokenizer, **changes)
    encoded = completed(DISTILL, lesson, examples)
    randomized(lesson.model, 4, spread=0.15)
    return lesson, encoded


def test_padding_counts_in_micro_batches(tmp_path: Path) -> None:
    """A long text does not make many short ones as long as itself."""
    lesson, encoded = of_head(tmp_path, "classes", micro_batch_tokens=60)
    settings = teach_settings(lesson.config, len(encoded), packed=lesson.config.packing and DISTILL.packs)
    parts = settings.split(encoded)
    assert max(map(len, parts)) > 1
    assert all(len(part) * max(each.length for each in part) <= 60 for part in parts)


def test_divergences_are_zero_only_where_both_are_the_same() -> None:
    student, teacher = distribution(50, 7, seed=1), distribution(50, 7, seed=2)
    for divergence in (forward_kl, reverse_kl, lambda q, p: jensen_shannon(q, p, 0.3)):
        assert (divergence(student, teacher) > 1e-3).all()
        torch.testing.assert_close(divergence(teacher, teacher), torch.zeros(50), atol=1e-6, rtol=0)
    q, p = torch.tensor([0.25, 0.75]).log(), torch.tensor([0.5, 0.5]).log()
    assert float(forward_kl(q, p)) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert float(reverse_kl(q, p)) == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert (jensen_shannon(student, teacher, 0.5) <= math.log(2)).all()


@pytest.mark.parametrize(("name", "beta"), [("forward_kl", 0.0), ("reverse_kl", 1.0), ("jensen_shannon", 0.3)])
def test_loss_and_gradient_are_those_of_trl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, beta: float
) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.gkd.gkd_trainer import GKDTrainer

    temperature = 1.7
    lesson, encoded = of_language(
        tmp_path, divergence=name, interpolation=beta if 0 < beta < 1 else 0.5, temperature=temperature, hard_weight=0.0
    )
    objective, model = DISTILL.objective(lesson, encoded), lesson.model
    loss, gradient, metrics = step_of(objective, model, encoded)
    teacher = distill_teacher.load_teacher(lesson)
    total, count = torch.zeros(()), 0
    for each in encoded:
        input_ids = torch.from_numpy(each.encoded.input_ids).unsqueeze(0)
        labels = torch.from_numpy(each.encoded.labels).unsqueeze(0)
        theirs = GKDTrainer.generalized_jsd_loss(
            model(input_ids), teacher(input_ids), labels, beta, temperature, reduction="sum"
        )
        total, count = total + theirs, count + each.num_targets
    expected = temperature**2 * total / count
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert metrics["divergence"] == pytest.approx(float(total.detach()) / count, rel=1e-5)
    model.zero_grad()
    expected.backward()  # type: ignore[no-untyped-call]
    for parameter, value in gradient.items():
        torch.testing.assert_close(value, model.get_parameter(parameter).grad, atol=1e-5, rtol=1e-3)


def test_all_other_tokens_together_are_one() -> None:
    student, teacher = distribution(40, 9, seed=1), distribution(40, 9, seed=2)
    ids = teacher.topk(3).indices
    small, others = bucketed(teacher, ids), 1 - teacher.gather(-1, ids).exp().sum(-1)
    torch.testing.assert_close(small[:, -1].exp(), others)
    for divergence in (forward_kl, reverse_kl):
        in_buckets = divergence(bucketed(student, ids), small)
        assert (in_buckets >= 0).all()
        assert (in_buckets <= divergence(student, teacher) + 1e-6).all()
        torch.testing.assert_close(divergence(small, small), torch.zeros(40), atol=1e-6, rtol=0)
    assert bucketed(teacher, teacher.argsort(descending=True)).shape == teacher.shape


def test_a_cached_teacher_with_all_tokens_is_the_one_asked_at_every_step(tmp_path: Path) -> None:
    lesson, encoded = of_language(tmp_path / "online", temperature=2.0, hard_weight=0.3)
    online = step_of(DISTILL.objective(lesson, encoded), lesson.model, encoded)
    lesson, encoded = of_language(tmp_path / "cached", temperature=2.0, hard_weight=0.3, top_k=320)
    assert_same_step(step_of(DISTILL.objective(lesson, encoded), lesson.model, encoded), online)
    lesson, encoded = of_language(tmp_path / "fewer", temperature=2.0, hard_weight=0.3, top_k=8)
    fewer = step_of(DISTILL.objective(lesson, encoded), lesson.model, encoded)
    assert 0 < fewer[2]["divergence"] < online[2]["divergence"]
    assert fewer[2]["hard_loss"] == pytest.approx(online[2]["hard_loss"], rel=1e-5)
    assert fewer[2]["agreement"] == online[2]["agreement"]


def test_a_student_that_is_its_teacher_has_nothing_to_learn(tmp_path: Path) -> None:
    lesson = distill_lesson(tmp_path, tiny_model(1), tiny_model(1), hard_weight=0.0)
    encoded = completed(DISTILL, lesson, LANGUAGE)
    loss, _, metrics = step_of(DISTILL.objective(lesson, encoded), lesson.model, encoded)
    assert loss == pytest.approx(0, abs=1e-6)
    assert metrics["agreement"] == 1


def test_the_hard_loss_is_that_of_fine_tuning(tmp_path: Path) -> None:
    from inkstone.train.objectives.sft import SupervisedFineTuning

    lesson, encoded = of_language(tmp_path, hard_weight=1.0)
    loss, gradient, _ = step_of(DISTILL.objective(lesson, encoded), lesson.model, encoded)
    expected = step_of(SupervisedFineTuning(), lesson.model, [each.encoded for each in encoded])
    assert loss == pytest.approx(expected[0], rel=1e-5)
    for name, value in expected[1].items():
        torch.testing.assert_close(gradient[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("top_k", [None, 5])
def test_layout_changes_nothing_for_decoders(tmp_path: Path, top_k: int | None) -> None:
    lesson, encoded = of_language(tmp_path, top_k=top_k, temperature=1.5)
    layout_changes_nothing(DISTILL, lesson, encoded, lesson.model)


@pytest.mark.parametrize("top_k", [None, 5])
def test_layout_changes_nothing_for_encoder_decoders(tmp_path: Path, top_k: int | None) -> None:
    lesson = distill_lesson(tmp_path, tiny_t5(1), tiny_t5(2), top_k=top_k, divergence="jensen_shannon")
    encoded = completed(DISTILL, lesson, PAIRS)
    layout_changes_nothing(DISTILL, lesson, encoded, lesson.model)


@pytest.mark.parametrize("case", HEADS)
def test_layout_changes_nothing_for_heads(tmp_path: Path, case: str) -> None:
    lesson, encoded = of_head(tmp_path, case, temperature=2.0, hard_weight=0.3)
    layout_changes_nothing(DISTILL, lesson, encoded, lesson.model)


def test_chunks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lesson, encoded = of_language(tmp_path)
    objective = DISTILL.objective(lesson, encoded)
    whole = step_of(objective, lesson.model, encoded)
    monkeypatch.setattr(distill_logits, "_CHUNK_LOGITS", 320 * 7)
    assert_same_step(step_of(objective, lesson.model, encoded), whole)


@pytest.mark.parametrize("case", HEADS)
def test_heads_learn_what_the_teacher_says(tmp_path: Path, case: str) -> None:
    """The head is made like the teacher's; its loss is the formula written out, one text at a time."""
    temperature, weight = 2.0, 0.3
    lesson, encoded = of_head(tmp_path, case, temperature=temperature, hard_weight=weight)
    student, teacher = lesson.model, distill_teacher.load_teacher(lesson)
    assert isinstance(student, HeadedModel)
    assert isinstance(teacher, HeadedModel)
    assert student.head_config.labels == teacher.head_config.labels
    losses = []
    for each in encoded:
        input_ids = torch.from_numpy(each.encoded.input_ids).unsqueeze(0)
        mine, theirs = student(input_ids), teacher(input_ids)
        if case == "spans":
            kept = torch.from_numpy(each.encoded.labels) >= 0
            mine, theirs = mine[0, kept], theirs[0, kept]
            hard = torch.nn.functional.cross_entropy(
                mine, torch.from_numpy(each.encoded.labels)[kept], reduction="none"
            )
        elif case == "classes":
            hard = -mine.log_softmax(-1)[:, each.encoded.target]
        elif case == "several":
            p = mine.sigmoid()
            hard = -torch.where(torch.tensor(each.encoded.target) > 0, p, 1 - p).log().mean(-1)
        else:
            losses.append(weight * (mine - each.encoded.target) ** 2 + (1 - weight) * (mine - theirs) ** 2)
            continue
        if case == "several":
            q, p = (mine / temperature).sigmoid(), (theirs / temperature).sigmoid()
            soft = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean(-1)
        else:
            q, p = (mine / temperature).softmax(-1), (theirs / temperature).softmax(-1)
            soft = (p * (p / q).log()).sum(-1)
        losses.append(weight * hard + (1 - weight) * temperature**2 * soft)
    expected = torch.cat([loss.flatten() for loss in losses]).mean()
    loss, gradient, _ = step_of(DISTILL.objective(lesson, encoded), student, encoded)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4)
    student.zero_grad()
    expected.backward()  # type: ignore[no-untyped-call]
    for name, value in gradient.items():
        torch.testing.assert_close(value, student.get_parameter(name).grad, atol=1e-5, rtol=1e-3)


def test_the_teacher_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = distill_teacher.computed_once

    def computed_once(path: Path, key: str, compute: Any) -> dict[str, Tensor]:
        def compute_and_note() -> dict[str, Tensor]:
            asked.append(path.name)
            result: dict[str, Tensor] = compute()
            return result

        return real(path, key, compute_and_note)

    monkeypatch.setattr(distill_teacher, "computed_once", computed_once)
    monkeypatch.setattr(distill_teacher, "_PART", 3)
    first = of_language(tmp_path, top_k=4)[1]
    assert asked == ["train-00000.safetensors", "train-00001.safetensors"]
    again = of_language(tmp_path, top_k=4)[1]
    assert len(asked) == 2
    for mine, other in zip(first, again, strict=True):
        assert torch.equal(mine.log_probabilities, other.log_probabilities)
        assert torch.equal(mine.ids, other.ids)
        assert mine.ids.shape == (mine.num_targets, 4)
    of_language(tmp_path, [*LANGUAGE[:3], PlainText(text="another")], top_k=4)
    assert asked[2:] == ["train-00001.safetensors"]
    of_language(tmp_path, top_k=4, temperature=2.0)
    assert len(asked) == 5
    lesson = distill_lesson(tmp_path, tiny_model(2), tiny_model(3), top_k=4, temperature=2.0)
    completed(DISTILL, lesson, LANGUAGE)
    assert len(asked) == 7


def _prompt(sequence: TokenSequence) -> tuple[int, ...]:
    first = sequence.labels.tolist().index(next(label for label in sequence.labels if label >= 0))
    return tuple(sequence.input_ids[: first + 1].tolist())


def test_answers_of_the_student_are_judged_by_the_teacher_alone(tmp_path: Path) -> None:
    lesson, encoded = of_language(tmp_path, LANGUAGE[:2], on_policy=1.0, max_new_tokens=6, hard_weight=0.9, seed=3)
    assert DISTILL.draw is not None
    drawn = DISTILL.draw(lesson, encoded).batch(0, 4)
    assert [each.by_student for each in drawn] == [True] * 4
    assert len({tuple(each.encoded.input_ids) for each in drawn}) == 4
    prompts = {_prompt(each.encoded) for each in encoded}
    assert {_prompt(each.encoded) for each in drawn} == prompts
    for each in drawn:
        assert 1 <= each.num_targets <= 6
    again = DISTILL.draw(lesson, encoded).batch(0, 4)
    assert [each.encoded.input_ids.tolist() for each in again] == [each.encoded.input_ids.tolist() for each in drawn]
    loss, _, metrics = step_of(DISTILL.objective(lesson, encoded), lesson.model, drawn)
    assert loss == pytest.approx(metrics["divergence"], rel=1e-5)
    assert lesson.model.training


def test_answers_are_drawn_from_the_student_as_it_is(tmp_path: Path) -> None:
    lesson, encoded = of_language(tmp_path, LANGUAGE[:2], on_policy=0.5, max_new_tokens=5)
    assert DISTILL.draw is not None
    examples = DISTILL.draw(lesson, encoded)
    drawn = examples.batch(0, 32)
    assert 8 <= sum(each.by_student for each in drawn) <= 24
    written = next(each for each in drawn if each.by_student).encoded
    prompt = list(_prompt(written))
    lesson.model.eval()
    likely = [
        rollout(lesson.model, [prompt], SamplingParams(max_new_tokens=5), [seed], stop_ids=[1])[0][0]  # type: ignore[arg-type]
        for seed in range(3)
    ]
    assert all(answer.token_ids for answer in likely)
    before = [each.encoded.input_ids.tolist() for each in drawn if each.by_student]
    randomized(lesson.model, 9)
    after = [each.encoded.input_ids.tolist() for each in examples.batch(0, 32) if each.by_student]
    assert after != before


def test_what_cannot_be_distilled_is_refused(tmp_path: Path) -> None:
    other = chat_tokenizer()
    lesson = distill_lesson(tmp_path / "vocabulary", tiny_model(), tiny_model())
    lesson.tokenizer = Tokenizer(word_pieces().backend)
    with pytest.raises(InputError, match="different vocabularies, of"):
        DISTILL.prepare(lesson, LANGUAGE)
    lesson = distill_lesson(tmp_path / "kind", tiny_t5(), tiny_model(), other)
    with pytest.raises(InputError, match="the student is a T5, the teacher a Llama"):
        DISTILL.prepare(lesson, LANGUAGE)
    lesson = distill_lesson(tmp_path / "examples", tiny_model(), tiny_model(), other)
    with pytest.raises(InputError, match="cannot learn from examples of the kind LabeledText"):
        DISTILL.encoder(lesson)(CLASSES[0])
    pieces = word_pieces()
    teacher = with_head(tiny_encoder(pieces), HeadConfig(kind="sequence", labels=("a", "b")))
    student = with_head(tiny_encoder(pieces), HeadConfig(kind="sequence", labels=("b", "a")))
    lesson = distill_lesson(tmp_path / "labels", student, teacher, pieces)
    with pytest.raises(InputError, match=r"the student's head says sequence \(b, a\), the teacher's sequence \(a, b\)"):
        DISTILL.prepare(lesson, CLASSES)
    teacher = with_head(tiny_encoder(pieces), HeadConfig(kind="span"))
    lesson = distill_lesson(tmp_path / "span", tiny_encoder(pieces), teacher, pieces)
    with pytest.raises(InputError, match="a HeadedModel cannot be distilled"):
        DISTILL.prepare(lesson, CLASSES)
    with pytest.raises(ValidationError, match="leave one of them out"):
        DistillConfig(top_k=4, on_policy=0.5)


def test_padding_of_the_larger_matrix_is_left_out(tmp_path: Path) -> None:
    teacher = tiny_model(1, vocab_size=352)
    lesson = distill_lesson(tmp_path, tiny_model(2), teacher, hard_weight=0.0)
    encoded = completed(DISTILL, lesson, LANGUAGE)
    loss = step_of(DISTILL.objective(lesson, encoded), lesson.model, encoded)[0]
    with torch.no_grad():
        teacher.output_weight[320:] += 1.0
    lesson = distill_lesson(tmp_path, tiny_model(2), teacher, hard_weight=0.0)
    encoded = completed(DISTILL, lesson, LANGUAGE)
    assert step_of(DISTILL.objective(lesson, encoded), lesson.model, encoded)[0] == pytest.approx(loss, rel=1e-5)
