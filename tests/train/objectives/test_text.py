"""Learning on from plain texts: decoders, masked language models, encoder–decoders."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from inkstone.checkpoint import load_checkpoint, save_checkpoint
from inkstone.core.errors import InputError
from inkstone.core.stage import execute
from inkstone.data.examples.records import PlainText
from inkstone.nn.layers.loss import IGNORED
from inkstone.nn.models.base import Model
from inkstone.tokenizer import Tokenizer
from inkstone.train.config import NewModelConfig
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.learning import build_model, equip
from inkstone.train.method import Lesson
from inkstone.train.objectives.source_target import SequenceToSequence
from inkstone.train.objectives.text import TEXT
from inkstone.train.stages import finetune
from inkstone.train.teach import teach_settings
from tests.tiny_models import TEXTS, randomized, tiny_tokenizer
from tests.train.objectives.heads import tiny_encoder, word_pieces
from tests.train.objectives.lessons import completed, layout_changes_nothing, step_of

Arch = Literal["llama", "bert", "t5"]
EXAMPLES = [PlainText(text=text, where=f"a.txt:{number}") for number, text in enumerate(TEXTS, start=1)]


def lesson_of(arch: Arch, out: Path, context: int = 64, **changes: Any) -> Lesson:
    """A lesson about a tiny random model."""
    shape = {"arch": arch, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings = NewModelConfig(model=shape, context_length=context)  # type: ignore[arg-type]
    tokenizer = equip(tiny_tokenizer(), settings)
    model = randomized(build_model(settings, tokenizer), spread=0.1)
    return new_lesson(model, tokenizer, out, **changes)


def new_lesson(model: Model, tokenizer: Tokenizer, out: Path, **changes: Any) -> Lesson:
    config = FinetuneConfig(**{"device": "cpu", "dtype": "float32"} | changes)
    return Lesson(model, tokenizer, config, teach_settings(config, 4, packed=False), {}, out)


def test_decoders_learn_every_token_of_a_text_once_whatever_its_length(tmp_path: Path) -> None:
    lesson = lesson_of("llama", tmp_path, max_length=16)
    tokenizer = lesson.tokenizer
    for example in EXAMPLES:
        parts = completed(TEXT, lesson, [example])
        document = [tokenizer.bos_id, *tokenizer.encode_plain(example.text), tokenizer.eos_id]
        assert len(parts) == -(-(len(document) - 1) // 15)
        assert all(2 <= part.length <= 16 for part in parts)
        learned = [token for part in parts for token in part.labels.tolist() if token != IGNORED]
        assert learned == document[1:]
        assert parts[0].input_ids[0] == document[0]
    layout_changes_nothing(TEXT, lesson, completed(TEXT, lesson, EXAMPLES), lesson.model)


@pytest.mark.parametrize("roberta", [False, True])
def test_hidden_tokens_have_the_loss_of_transformers(tmp_path: Path, roberta: bool) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = word_pieces()
    model = tiny_encoder(tokenizer, roberta=roberta)
    save_checkpoint(tmp_path, model, tokenizer)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    lesson = new_lesson(model, tokenizer, tmp_path)
    texts = completed(TEXT, lesson, EXAMPLES)
    assert [text.input_ids.tolist() for text in texts] == [tokenizer.encode(example.text) for example in EXAMPLES]
    hidden = TEXT.complete(lesson, texts, "valid")
    total, count = 0.0, 0
    for each, text in zip(hidden, texts, strict=True):
        labels = torch.full((1, each.length), IGNORED)
        kept = each.labels != IGNORED
        labels[0, each.positions[kept]] = torch.from_numpy(each.labels[kept])
        unchanged = labels[0].numpy() == IGNORED
        assert (each.input_ids == text.input_ids)[unchanged].all()
        assert (text.input_ids == labels[0].numpy())[~unchanged].all()
        output = theirs(input_ids=torch.from_numpy(each.input_ids).unsqueeze(0), labels=labels)
        total, count = total + float(output.loss.detach()) * each.num_targets, count + each.num_targets
    loss = step_of(TEXT.objective(lesson, hidden), model, hidden)[0]
    assert loss == pytest.approx(total / count, abs=1e-5)
    layout_changes_nothing(TEXT, lesson, hidden, model)


def test_encoder_decoders_write_back_what_was_cut_out(tmp_path: Path) -> None:
    lesson = lesson_of("t5", tmp_path)
    tokenizer = lesson.tokenizer
    texts = completed(TEXT, lesson, EXAMPLES)
    hidden = TEXT.complete(lesson, texts, "valid")
    sentinels = {token for name, token in tokenizer.special_tokens.items() if name.startswith("<extra_id")}
    for text, each in zip(texts, hidden, strict=True):
        assert text.input_ids[0] == tokenizer.bos_id
        # Sentinel by sentinel, the target's spans put into the source give the text again.
        spans: dict[int, list[int]] = {}
        for token in each.target_ids[:-1].tolist():
            if token in sentinels:
                spans[token] = current = []
            else:
                current.append(token)
        parts = [spans[token] if token in sentinels else [token] for token in each.source_ids[:-1].tolist()]
        assert [token for part in parts for token in part] == text.input_ids.tolist()
        assert each.source_ids[-1] == each.target_ids[-1] == tokenizer.eos_id
    assert isinstance(TEXT.objective(lesson, hidden), SequenceToSequence)
    layout_changes_nothing(TEXT, lesson, hidden, lesson.model)


def test_texts_longer_than_sentinels_or_context_allow_are_read_in_parts(tmp_path: Path) -> None:
    long = PlainText(text="墨分五色。" * 40)
    for arch in ("bert", "t5"):
        lesson = lesson_of(arch, tmp_path, max_length=32)
        texts = completed(TEXT, lesson, [long])
        tokenizer = lesson.tokenizer
        added = [tokenizer.bos_id, tokenizer.eos_id] if arch == "bert" else [tokenizer.bos_id]
        joined = [token for text in texts for token in text.input_ids.tolist() if token not in added]
        assert joined == tokenizer.encode_plain(long.text)
        for each in TEXT.complete(lesson, texts, "valid"):
            assert each.length <= 32
    # With three sentinels, two spans can be cut out: of 3 tokens each, 15 % of the text.
    settings = NewModelConfig(model={"arch": "t5"}, context_length=32)  # type: ignore[arg-type]
    lesson.tokenizer = equip(tiny_tokenizer(), settings)
    lesson.config = lesson.config.model_copy(update={"max_length": 64})
    assert max(text.length for text in completed(TEXT, lesson, [long])) < 60


def test_what_is_hidden_changes_from_epoch_to_epoch_and_not_with_a_resumed_run(tmp_path: Path) -> None:
    for arch in ("bert", "t5"):
        lesson = lesson_of(arch, tmp_path)
        texts = completed(TEXT, lesson, EXAMPLES)
        assert TEXT.draw is not None
        drawn = TEXT.draw(lesson, texts)
        assert drawn.per_epoch == len(EXAMPLES)
        epochs = [drawn.batch(start, 4) for start in (0, 4)]
        again = TEXT.draw(lesson, texts).batch(4, 4)
        assert_equal(epochs[1], again)
        with pytest.raises(AssertionError):
            assert_equal(sorted(epochs[0], key=lambda each: each.length), sorted(again, key=lambda each: each.length))


def assert_equal(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_models_and_texts_that_cannot_be_learned_from(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_encoder(tokenizer)
    with pytest.raises(InputError, match="has no output layer for text"):
        completed(TEXT, new_lesson(model.backbone, tokenizer, tmp_path), EXAMPLES)
    with pytest.raises(InputError, match=r"no mask token(.|\n)*initialize"):
        TEXT.draw(new_lesson(model, tokenizer, tmp_path), [])  # type: ignore[misc]
    lesson = lesson_of("t5", tmp_path)
    lesson.tokenizer = tokenizer
    with pytest.raises(InputError, match=r"no sentinels(.|\n)*initialize"):
        completed(TEXT, lesson, EXAMPLES)
    with pytest.raises(InputError, match=r"a\.txt:7: the text has 1 tokens"):
        completed(TEXT, lesson_of("llama", tmp_path), [PlainText(text="x", where="a.txt:7")])


@pytest.mark.parametrize("arch", ["llama", "bert", "t5"])
def test_texts_in_a_file_are_learned(arch: Arch, tmp_path: Path) -> None:
    lesson = lesson_of(arch, tmp_path)
    save_checkpoint(tmp_path / "model", lesson.model, lesson.tokenizer)
    rows = [json.dumps({"text": f"{number} {text}"}) for number in range(3) for text in TEXTS]
    (tmp_path / "texts.jsonl").write_text("\n".join(rows), "utf-8")
    settings = FinetuneConfig(
        device="cpu",
        dtype="float32",
        steps=12,
        batch_size=4,
        learning_rate=3e-3,
        compile=False,
        log_every=1,
        eval_every=12,
        checkpoint_every=12,
    )
    inputs = {"model": tmp_path / "model", "data": tmp_path / "texts.jsonl"}
    execute(finetune, settings, inputs, tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-3:]) < losses[0]
    assert type(load_checkpoint(tmp_path / "out", device="cpu")[0]) is type(lesson.model)
