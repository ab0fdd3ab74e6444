"""Tiny models and data for every method, on disk, and the job that teaches one."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from inkstone.checkpoint import save_checkpoint
from inkstone.nn.models.base import Model
from inkstone.nn.models.transformer import Transformer, TransformerConfig
from inkstone.tokenizer import Tokenizer
from tests.tiny_models import randomized, tiny_model
from tests.train.kill import Job
from tests.train.objectives.heads import tiny_encoder, word_pieces
from tests.train.objectives.lessons import chat_tokenizer

TINY_TEACHING: dict[str, Any] = {
    "device": "cpu",
    "dtype": "float32",
    "fused": False,
    "compile": False,
    "batch_size": 4,
    "steps": 8,
    "checkpoint_every": 2,
    "eval_every": 4,
    "log_every": 3,
    "learning_rate": 1e-3,
}
_LINES = (
    ("The stick of ink", "is ground on the stone", "en"),
    ("學而不思則罔", "思而不學則殆", "zh"),
    ("He who learns", "but does not think is lost", "en"),
    ("三人行", "必有我師焉", "zh"),
)
_FORMATS: Mapping[str, Callable[[int, str, str, str], dict[str, Any]]] = {
    "chat": lambda n, first, second, source: {
        "messages": [{"role": "user", "content": f"{first} {n}"}, {"role": "assistant", "content": second}],
        "dataset": source,
    },
    "text": lambda n, first, second, source: {"text": f"{n} {first}, {second}", "dataset": source},
    "pairs": lambda n, first, second, source: {"source": f"{first} {n}", "target": second},
    "labels": lambda n, first, second, source: {"text": f"{first} {n}", "label": source},
    "scores": lambda n, first, second, source: {"text": f"{first} {n}", "label": n / 10},
    "spans": lambda n, first, second, source: {
        "text": f"{first} {n}",
        "spans": [{"start": 0, "end": 3, "label": source}],
    },
    "questions": lambda n, first, second, source: {
        "id": str(n),
        "context": f"{first} {second} {n}",
        "question": first,
        "answers": {"text": [second], "answer_start": [len(first) + 1]},
    },
    "preferences": lambda n, first, second, source: {"prompt": f"{first} {n}", "chosen": second, "rejected": first},
    "judged": lambda n, first, second, source: {"prompt": f"{first} {n}", "completion": second, "label": n % 2 == 0},
    "problems": lambda n, first, second, source: {"prompt": f"{n} + 1 =", "answer": str(n + 1)},
}
_RL = {"rl": {"group_size": 2, "max_new_tokens": 6, "rewards": {"length": 1.0}, "updates_per_rollout": 2}}
METHODS: Mapping[str, tuple[str, str, str, dict[str, Any]]] = {
    "chat": ("finetune", "decoder", "chat", {}),
    "text": ("finetune", "decoder", "text", {}),
    "pairs": ("finetune", "encoder_decoder", "pairs", {}),
    "classify": ("finetune", "encoder", "labels", {}),
    "regress": ("finetune", "encoder", "scores", {}),
    "tokens": ("finetune", "encoder", "spans", {}),
    "span": ("finetune", "encoder", "questions", {}),
    "reward": ("finetune", "decoder", "preferences", {}),
    "dpo": ("align", "decoder", "preferences", {}),
    "ipo": ("align", "decoder", "preferences", {}),
    "orpo": ("align", "decoder", "preferences", {}),
    "kto": ("align", "decoder", "judged", {}),
    "grpo": ("align", "decoder", "problems", _RL),
    "ppo": ("align", "decoder", "problems", _RL),
    "distill": ("distill", "decoder", "chat", {}),
}
"""Stage, kind of the model, format of the data, settings."""


def make_model(kind: str, folder: Path, seed: int = 0) -> Path:
    """A folder with a tiny model with dropout, where its family has it, so that random streams matter."""
    path = folder / f"{kind}-{seed}"
    if not path.is_dir():
        model, tokenizer = _model(kind, seed)
        save_checkpoint(path, model, tokenizer)
    return path


def _model(kind: str, seed: int) -> tuple[Model, Tokenizer]:
    if kind == "encoder":
        tokenizer = word_pieces()
        model: Model = tiny_encoder(tokenizer)
        dropout = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
        again = type(model)(model.config.model_copy(update=dropout))  # type: ignore[call-arg]
        again.load_state_dict(model.state_dict())
        return again, tokenizer
    tokenizer = chat_tokenizer()
    if kind == "decoder":
        return tiny_model(seed), tokenizer
    config = TransformerConfig(
        vocab_size=tokenizer.vocab_size,
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=48,
        max_position_embeddings=64,
        decoder_start_token_id=tokenizer.pad_id or 0,
    )
    torch.manual_seed(seed)
    return randomized(Transformer(config), seed, spread=0.1), tokenizer


def make_data(format_name: str, folder: Path, count: int = 16) -> Path:
    """A folder with `train.jsonl` and `valid.jsonl` in a format."""
    path = folder / f"{format_name}-data"
    path.mkdir(exist_ok=True)
    make = _FORMATS[format_name]
    for split, numbers in (("train", range(count)), ("valid", range(count, count + 4))):
        rows = [make(number, *_LINES[number % 4]) for number in numbers]
        (path / f"{split}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def job_of(method: str, folder: Path, **changes: Any) -> Job:
    """The run that teaches a tiny model by a method; models and data lie in `folder`."""
    stage, kind, format_name, settings = METHODS[method]
    inputs = {"model": str(make_model(kind, folder)), "data": str(make_data(format_name, folder))}
    if stage == "distill":
        inputs["teacher"] = str(make_model(kind, folder, seed=1))
    named = {} if stage == "distill" else {"method": method}
    return Job(stage, {**TINY_TEACHING, **named, **settings, **changes}, inputs)
