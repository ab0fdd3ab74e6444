"""`method: auto`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from inkstone.checkpoint import save_checkpoint
from inkstone.checkpoint.heads import with_head
from inkstone.core.errors import InputError
from inkstone.data.examples.config import ExamplesConfig
from inkstone.nn.heads import HeadConfig
from inkstone.train.config_align import AlignConfig
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.method import method_for
from inkstone.train.suggestion import suggested_method
from tests.tiny_models import tiny_model, tiny_tokenizer
from tests.train.objectives.heads import tiny_encoder

TURNS = [{"role": "user", "content": "砚?"}, {"role": "assistant", "content": "石"}]
ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "messages": ({"messages": TURNS}, "chat"),
    "alpaca": ({"instruction": "Say ink", "output": "ink"}, "chat"),
    "completion": ({"prompt": "a", "completion": "b"}, "chat"),
    "text": ({"text": "磨墨"}, "text"),
    "translation": ({"source": "ink", "target": "墨"}, "pairs"),
    "summary": ({"document": "a b c", "summary": "a"}, "pairs"),
    "classes": ({"text": "好", "label": 1}, "classify"),
    "named classes": ({"text": "好", "label": "good"}, "classify"),
    "numbers": ({"text": "好", "label": 0.5}, "regress"),
    "spans": ({"text": "Ink", "label": {"thing": {"Ink": [[0, 2]]}}}, "tokens"),
    "question": (
        {"id": "1", "question": "?", "context": "ink", "answers": {"text": ["ink"], "answer_start": [0]}},
        "span",
    ),
    "preferences": ({"prompt": "a", "chosen": "b", "rejected": "c"}, "reward"),
}
HEADS: dict[str, tuple[HeadConfig, str, str]] = {
    "classifier": (HeadConfig(kind="sequence", labels=("0", "1")), "numbers", "classify"),
    "number": (HeadConfig(kind="sequence", labels=("value",)), "classes", "regress"),
    "judge": (HeadConfig(kind="sequence", labels=("value",)), "preferences", "reward"),
    "tagger": (HeadConfig(kind="token", labels=("O", "B-thing")), "spans", "tokens"),
    "reader": (HeadConfig(kind="span"), "question", "span"),
}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoder")
    save_checkpoint(folder, tiny_model(), tiny_tokenizer())
    return folder


def data(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("name", ROWS)
def test_the_format_suggests_the_method(name: str, decoder: Path, tmp_path: Path) -> None:
    row, expected = ROWS[name]
    inputs = {"model": decoder, "data": data(tmp_path, row, row)}
    assert suggested_method(ExamplesConfig(), inputs) == expected
    assert method_for("finetune", FinetuneConfig(), inputs).name == expected


@pytest.mark.parametrize("name", HEADS)
def test_a_model_keeps_its_head(name: str, tmp_path: Path) -> None:
    head, row, expected = HEADS[name]
    tokenizer = tiny_tokenizer()
    model = with_head(tiny_encoder(tokenizer), head, torch.Generator().manual_seed(0))
    save_checkpoint(tmp_path, model, tokenizer)
    inputs = {"model": tmp_path, "data": data(tmp_path, ROWS[row][0])}
    assert method_for("finetune", FinetuneConfig(), inputs).name == expected
    with pytest.raises(InputError, match="messages"):
        method_for("finetune", FinetuneConfig(), {**inputs, "data": data(tmp_path, ROWS["messages"][0])})


def test_some_numbers_make_no_regression(decoder: Path, tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 0.5}, {"text": "b", "label": "good"}]
    assert suggested_method(ExamplesConfig(), {"model": decoder, "data": data(tmp_path, *rows)}) == "classify"


def test_what_is_said_counts(decoder: Path, tmp_path: Path) -> None:
    inputs = {"model": decoder, "data": data(tmp_path, ROWS["completion"][0])}
    assert method_for("finetune", FinetuneConfig(method="text"), inputs).name == "text"
    assert method_for("align", AlignConfig(method="kto"), inputs).name == "kto"
    with pytest.raises(InputError, match="dpo is a method of the stage align"):
        method_for("finetune", FinetuneConfig(method="dpo"), inputs)
    (tmp_path / "data.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no row"):
        suggested_method(ExamplesConfig(), inputs)
