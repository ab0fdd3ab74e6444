"""The texts of examples: what a tokenizer learns from."""

import json
from pathlib import Path

from inkstone.core.stage import execute
from inkstone.data.examples.records import Chat, Judged, LabeledText, Pair, Preference, Problem
from inkstone.data.examples.texts import ExampleTexts, texts_of
from inkstone.data.tokenizer_stage import TokenizerConfig, tokenizer
from inkstone.tokenizer import Tokenizer

USER, ASSISTANT = {"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}


def test_everything_that_is_written_is_a_text() -> None:
    tool_call = {"role": "assistant", "content": None, "tool_calls": []}
    assert list(texts_of(Chat(messages=[USER, tool_call, ASSISTANT]))) == ["问", "答"]
    assert list(texts_of(LabeledText(text="a", label="x"))) == ["a"]
    assert list(texts_of(Preference(prompt=[USER], chosen=[ASSISTANT], rejected="no"))) == ["问", "答", "no"]
    assert list(texts_of(Judged(prompt="p", completion="c", desirable=True))) == ["p", "c"]
    assert list(texts_of(Problem(prompt="1+1=", answer="2"))) == ["1+1=", "2"]
    assert list(texts_of(Pair(source_text="ink", target_text="墨"))) == ["ink", "墨"]


def test_a_tokenizer_learns_from_the_training_examples_alone(tmp_path: Path) -> None:
    rows = {"train": [("The ink is black", "墨是黑的")] * 3, "valid": [("The stone", "砚")], "test": [("Q", "龘")]}
    data = tmp_path / "data"
    data.mkdir()
    for split, pairs in rows.items():
        lines = [json.dumps({"source": source, "target": target}) for source, target in pairs]
        (data / f"{split}.jsonl").write_text("\n".join(lines))
    texts = ExampleTexts(data)
    assert list(texts.texts("valid")) == ["The stone", "砚"]
    assert [document.text for document in texts.documents("train")] == ["The ink is black", "墨是黑的"] * 3
    assert texts.num_documents("train") == 6
    assert texts.num_bytes("valid") == 9 + 3
    execute(tokenizer, TokenizerConfig(kind="bytes_bpe", vocab_size=300), {"corpus": data}, tmp_path / "out")
    learned = Tokenizer.load(tmp_path / "out")
    assert len(learned.encode_plain("墨是黑的")) < len("墨是黑的".encode())
    assert len(learned.encode_plain("龘")) == 3


def test_examples_are_read_in_the_format_that_loses_nothing(tmp_path: Path) -> None:
    row = {
        "id": "1",
        "context": "墨是黑的",
        "question": "What is it?",
        "answers": {"text": ["墨"], "answer_start": [0]},
    }
    (tmp_path / "train.jsonl").write_text(json.dumps(row), "utf-8")
    texts = ExampleTexts(tmp_path)
    assert [*texts.texts("train"), *texts.texts("valid")] == ["墨是黑的", "What is it?"]
