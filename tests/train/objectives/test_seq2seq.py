"""Targets of sources against `transformers`, on encoder–decoders and on decoders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch

from inkstone.checkpoint import load_model
from inkstone.core.errors import InputError
from inkstone.data.examples.encoded import SourceTarget
from inkstone.data.examples.records import Pair
from inkstone.data.layout import fill
from inkstone.nn.layers.loss import IGNORED
from inkstone.nn.models.base import EncoderDecoder, Model
from inkstone.tasks.score import token_logprobs
from inkstone.tokenizer import Tokenizer
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.objectives.seq2seq import PAIRS, encode_target
from inkstone.train.objectives.source_target import SequenceToSequence
from tests.checkpoint.encoder_decoder_parity import add_noise
from tests.tiny_models import tiny_model, tiny_tokenizer
from tests.train.objectives.heads import tiny_encoder
from tests.train.objectives.lessons import chat_tokenizer, completed, layout_changes_nothing, lesson_of, step_of

EXAMPLES = [
    Pair(source_text="The ink is black.", target_text="墨黑", where="a.tsv:1"),
    Pair(source_text="stone", target_text="a long target: the stone is wet"),
    Pair(source_text="磨墨者先注水,然後慢慢研磨。", target_text="grind"),
    Pair(source_text="?", target_text="!"),
]
# Theirs drop the gradient of the padding token's embedding, so that another token begins targets here.
_SHAPE = {"vocab_size": 320, "pad_token_id": 2, "decoder_start_token_id": 3, "eos_token_id": 1}
_STACKS = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 64} | {
    f"{stack}_{size}": value
    for stack in ("encoder", "decoder")
    for size, value in (("attention_heads", 4), ("ffn_dim", 48), ("layerdrop", 0.0))
}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0} | {
    "initializer_factor": 0.2,  # smaller numbers, smaller rounding
}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bart": ("BartConfig", "BartForConditionalGeneration", _STACKS | {"dropout": 0.0, "bos_token_id": 0}),
    "marian": ("MarianConfig", "MarianMTModel", _STACKS | {"dropout": 0.0}),
    "t5": ("T5Config", "T5ForConditionalGeneration", _T5),
    "mt5": ("MT5Config", "MT5ForConditionalGeneration", _T5 | {"tie_word_embeddings": False}),
}


def config(**changes: Any) -> FinetuneConfig:
    return FinetuneConfig(**{"device": "cpu", "dtype": "float32"} | changes)


def oracle(family: str) -> Any:
    transformers = pytest.importorskip("transformers")
    config_class, model_class, shape = FAMILIES[family]
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**_SHAPE | shape))
    add_noise(model, 0.1)
    return model


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[EncoderDecoder, Any]:
    """A model and the same in `transformers`."""
    folder = tmp_path_factory.mktemp(request.param)
    theirs = oracle(request.param)
    theirs.save_pretrained(folder)
    model = load_model(folder, device="cpu")
    assert isinstance(model, EncoderDecoder)
    return model.train(), theirs.train()


def encodings(model: Model, out: Path, **changes: Any) -> list[SourceTarget]:
    lesson = lesson_of(config(**changes), out, model)
    return completed(PAIRS, lesson, EXAMPLES)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_loss_and_gradient_are_those_of_transformers(
    pair: tuple[EncoderDecoder, Any], label_smoothing: float, tmp_path: Path
) -> None:
    from transformers.trainer_pt_utils import LabelSmoother

    model, theirs = pair
    encoded = encodings(model, tmp_path)
    sources, targets = [each.source_ids for each in encoded], [each.target_ids for each in encoded]
    inputs = {
        "input_ids": fill(sources, 2, "right"),
        "attention_mask": fill([np.ones_like(each) for each in sources], 0, "right"),
        "labels": fill(targets, IGNORED, "right"),
    }
    theirs.zero_grad()
    output = theirs(**inputs)
    expected = LabelSmoother(label_smoothing)(output, inputs["labels"]) if label_smoothing else output.loss
    expected.backward()
    loss, gradient, _ = step_of(SequenceToSequence(2, label_smoothing=label_smoothing), model, encoded)
    assert loss == pytest.approx(float(expected.detach()), abs=1e-5)
    for name, parameter in theirs.named_parameters():
        if name in gradient:
            torch.testing.assert_close(gradient[name], parameter.grad, atol=1e-5, rtol=1e-4, msg=name)
    assert len(gradient) >= 20


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_layout_changes_nothing(pair: tuple[EncoderDecoder, Any], label_smoothing: float, tmp_path: Path) -> None:
    model, _ = pair
    encoded = encodings(model, tmp_path)
    assert all(len({len(each[side]) for each in encoded}) > 2 for side in (0, 1))
    lesson = lesson_of(config(label_smoothing=label_smoothing), tmp_path, model)
    layout_changes_nothing(PAIRS, lesson, encoded, model)


def test_sources_and_targets_are_those_of_the_tokenizer(pair: tuple[EncoderDecoder, Any], tmp_path: Path) -> None:
    tokenizer = chat_tokenizer()
    first = encodings(pair[0], tmp_path)[0]
    assert first.source_ids.tolist() == tokenizer.encode("The ink is black.")
    assert first.target_ids.tolist() == [*tokenizer.encode_plain("墨黑"), tokenizer.eos_id]
    # A tokenizer that ends texts itself says what a target looks like.
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|bos|> $A <|eos|>", special_tokens=[("<|bos|>", 0), ("<|eos|>", 1)]
    )
    framing = Tokenizer(backend, tokenizer.special)
    assert encode_target(framing, "墨黑") == [0, *tokenizer.encode_plain("墨黑"), 1]


def test_decoders_answer_the_source_with_the_target(tmp_path: Path) -> None:
    lesson = lesson_of(config(), tmp_path)
    encoded = completed(PAIRS, lesson, EXAMPLES)
    tokenizer = lesson.tokenizer
    chat = [{"role": "user", "content": "stone"}]
    prompt = tokenizer.encode_rendered(tokenizer.apply_chat_template(chat, add_generation_prompt=True))
    second = encoded[1]
    assert second.input_ids[: len(prompt)].tolist() == prompt
    learned = second.labels[second.labels != IGNORED].tolist()
    assert tokenizer.decode(learned, skip_special_tokens=False) == "a long target: the stone is wet<|im_end|>"
    layout_changes_nothing(PAIRS, lesson, encoded, lesson.model)
    objective = PAIRS.objective(lesson, encoded)
    model: Any = lesson.model
    expected = sum(
        -sum(np.asarray(token_logprobs(model, each.input_ids.tolist()))[each.labels[:-1] != IGNORED])
        for each in encoded
    )
    loss = step_of(objective, model, encoded)[0]
    assert loss == pytest.approx(expected / sum(each.num_targets for each in encoded), abs=1e-4)


def test_cut_texts_keep_the_end_of_the_source_and_not_of_the_target(tmp_path: Path) -> None:
    assert PAIRS.cut is not None
    whole = SourceTarget(np.array([5, 6, 7, 8, 1]), np.array([9, 8, 7, 1]))
    source, target = PAIRS.cut(whole, 3)
    assert (source.tolist(), target.tolist()) == ([5, 6, 1], [9, 8, 7])
    source, target = PAIRS.cut(SourceTarget(np.array([5, 6, 7, 8]), np.array([9, 1])), 3)
    assert (source.tolist(), target.tolist()) == ([5, 6, 7], [9, 1])


def test_models_and_texts_that_cannot_be_taught(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    lesson = lesson_of(config(), tmp_path, tiny_encoder(tokenizer))
    with pytest.raises(InputError, match=r"a bert model \(BertForMaskedLM\) writes no text"):
        completed(PAIRS, lesson, EXAMPLES)
    endless = Tokenizer(tokenizer.backend)
    with pytest.raises(InputError, match="no token that ends a text"):
        encode_target(endless, "x")
    lesson = lesson_of(config(), tmp_path, tiny_model())
    lesson.tokenizer = Tokenizer(tokenizer.backend, tokenizer.special, "{{ raise_exception('no') }}")
    with pytest.raises(InputError, match=r"a\.tsv:1: (.|\n)*cannot render"):
        completed(PAIRS, lesson, EXAMPLES)
