"""From a file of examples to a folder that `transformers` and the tasks load: every method with a head."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import inkstone
from inkstone.checkpoint import save_checkpoint
from inkstone.core.errors import InputError
from inkstone.core.stage import execute
from inkstone.tasks.reward import rewards
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.metrics import read_metrics
from inkstone.train.stages import finetune
from tests.tiny_models import tiny_model, tiny_tokenizer
from tests.train.objectives.heads import KINDS, Kind, tiny_encoder, word_pieces

SETTINGS: dict[str, Any] = {
    "device": "cpu",
    "dtype": "float32",
    "fused": False,
    "compile": False,
    "batch_size": 4,
    "steps": 40,
    "log_every": 10,
    "learning_rate": 5e-3,
    "schedule": {"name": "constant", "warmup": 0.0},
    "examples": {"valid_fraction": 0.0},
}
WORDS = ("ink", "stone", "墨", "brush", "筆", "the ink", "black", "研磨", "wet")
THINGS = {"ink": "tool", "stone": "tool", "墨": "tool", "brush": "tool", "筆": "tool", "black": "color"}


def model_folder(folder: Path, kind: Kind) -> Path:
    if kind == "encoder":
        save_checkpoint(folder, tiny_encoder(tokenizer := word_pieces()), tokenizer)
    else:
        model = tiny_model()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.5)
        save_checkpoint(folder, model, tiny_tokenizer())
    return folder


def taught(tmp_path: Path, kind: Kind, method: str, rows: Sequence[Any], **changes: Any) -> Path:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    config = FinetuneConfig(method=method, **SETTINGS | changes)
    inputs = {"model": model_folder(tmp_path / "model", kind), "data": data}
    execute(finetune, config, inputs, tmp_path / "out")
    losses = [row["loss"] for row in read_metrics(tmp_path / "out") if "loss" in row]
    assert losses[-1] < losses[0] or config.steps == 2
    return tmp_path / "out"


@pytest.mark.parametrize("kind", KINDS)
def test_classify(tmp_path: Path, kind: Kind) -> None:
    rows = [{"text": word, "label": THINGS.get(word, "other")} for word in WORDS]
    folder = taught(tmp_path, kind, "classify", rows)
    found = inkstone.load(folder, device="cpu").classify([row["text"] for row in rows])
    assert sum(each.label == row["label"] for each, row in zip(found, rows, strict=True)) > 0.8 * len(rows)
    oracle = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    assert oracle.config.id2label == {0: "color", 1: "other", 2: "tool"}
    assert oracle.config.problem_type == "single_label_classification"


def test_regress(tmp_path: Path) -> None:
    rows = [{"text": word, "label": float(word in THINGS)} for word in WORDS]
    folder = taught(tmp_path, "encoder", "regress", rows, steps=60)
    oracle = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    assert (oracle.config.problem_type, oracle.config.num_labels) == ("regression", 1)
    found = [each.label for each in inkstone.load(folder, device="cpu").classify([row["text"] for row in rows])]
    assert sum(abs(float(a) - row["label"]) < 0.5 for a, row in zip(found, rows, strict=True)) > 0.8 * len(rows)


def test_tokens(tmp_path: Path) -> None:
    rows = []
    for word in THINGS:
        for before in ("the ", "", "研磨"):
            span = {"start": len(before), "end": len(before) + len(word), "label": THINGS[word]}
            rows.append({"text": f"{before}{word} wet", "spans": [span]})
    folder = taught(tmp_path, "encoder", "tokens", rows, steps=30)
    oracle = transformers.AutoModelForTokenClassification.from_pretrained(folder)
    assert list(oracle.config.id2label.values()) == ["O", "B-color", "I-color", "B-tool", "I-tool"]
    found = inkstone.load(folder, device="cpu").extract([row["text"] for row in rows])
    exact = [
        [(each.start, each.end, each.label) for each in spans] == [tuple(span.values()) for span in row["spans"]]
        for spans, row in zip(found, rows, strict=True)
    ]
    assert sum(exact) > 0.8 * len(rows)


def test_span(tmp_path: Path) -> None:
    rows = []
    for color in ("black", "wet", "墨"):
        for thing in ("ink", "stone", "筆"):
            context = f"the brush, the {thing} is {color}."
            answers = {"text": [color], "answer_start": [context.index(color)]}
            rows.append({"id": str(len(rows)), "question": "is?", "context": context, "answers": answers})
    folder = taught(tmp_path, "encoder", "span", rows, steps=60)
    assert not any(
        transformers.AutoModelForQuestionAnswering.from_pretrained(folder, output_loading_info=True)[1].values()
    )
    lm = inkstone.load(folder, device="cpu")
    found = [lm.answer(row["question"], row["context"]).text for row in rows]
    assert sum(text == row["answers"]["text"][0] for text, row in zip(found, rows, strict=True)) > 6


def test_reward(tmp_path: Path) -> None:
    rows = [{"prompt": f"{word} is", "chosen": " black", "rejected": f" {word}"} for word in WORDS[:5]]
    folder = taught(tmp_path, "decoder", "reward", rows, steps=15)
    assert transformers.AutoModelForSequenceClassification.from_pretrained(folder).config.num_labels == 1
    lm = inkstone.load(folder, device="cpu")
    prompts = [row["prompt"] for row in rows]
    chosen, rejected = (
        rewards(lm.model, lm.tokenizer, prompts, [row[name] for row in rows]) for name in ("chosen", "rejected")
    )
    assert all(first > second for first, second in zip(chosen, rejected, strict=True))


def test_too_long_texts(tmp_path: Path) -> None:
    rows = [{"text": "墨 " * count, "label": count % 2} for count in (1, 2, 3, 80)]
    with pytest.raises(InputError, match="82 tokens, and 64 are allowed"):
        taught(tmp_path, "encoder", "classify", rows)
    taught(tmp_path, "encoder", "classify", rows, truncate=True, max_length=16, steps=2)
