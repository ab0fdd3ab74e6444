"""The stage that measures a model on held-out text, beside two baselines on the same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from inkstone.core.config import Config
from inkstone.core.device import resolve_dtype, tune_allocator
from inkstone.core.errors import CheckpointError, InputError
from inkstone.core.files import atomic_file, write_json
from inkstone.core.progress import progress, say
from inkstone.core.records import Document
from inkstone.core.stage import Summary, stage
from inkstone.data.noise import NoiseConfig
from inkstone.evaluate.cost import plan_evaluate
from inkstone.evaluate.held_out import EvaluationText, open_text
from inkstone.evaluate.likelihood import DocumentScore, fitting_context, score_documents
from inkstone.evaluate.markdown import to_markdown
from inkstone.evaluate.ngram import MAX_ORDER, ByteNgram
from inkstone.evaluate.report import Facts, build_report
from inkstone.evaluate.units import build_units
from inkstone.evaluate.xz import measure_xz
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.sample import sample_blocks, sample_documents

if TYPE_CHECKING:
    import torch

    from inkstone.nn.models.base import Model

_BYTES_PER_TOKEN = 8
"""More than any tokenizer reaches on average, so that a sample of so many bytes has enough tokens."""


class EvaluateConfig(Config):
    """What to measure on, and how much of it."""

    split: Literal["valid", "train"] = "valid"
    """Documents to measure on; train tells how well the model fits what it has seen."""
    max_tokens: int = Field(200_000, ge=1)
    """Tokens to score: whole documents are sampled until the next would not fit; there is always one."""
    max_document_bytes: int = Field(65_536, ge=1)
    """A longer document counts with its beginning, so that a few books do not fill the budget."""
    context_length: int | None = Field(None, ge=1)
    """Tokens the model reads at once; its own maximum when not given."""
    stride: int | None = Field(None, ge=1)
    """Tokens that each further window of a long document scores; half the context when not given."""
    noise: NoiseConfig = NoiseConfig()
    """What is hidden from models that restore text; as in their training, for a loss like that of its validation."""
    ngram_order: int = Field(MAX_ORDER, ge=1, le=MAX_ORDER)
    """Longest n-gram of the baseline, in bytes."""
    ngram_train_bytes: int = Field(16_000_000, ge=0)
    """Training text that the n-gram model counts, sampled evenly."""
    xz_train_bytes: int = Field(4_000_000, ge=0)
    """Training text that xz may refer back to, sampled evenly; about 2 seconds per 1,000,000."""
    device: str = "auto"
    """cpu, cuda, mps …"""
    dtype: str = "auto"
    """float32, bfloat16 …; auto multiplies in bfloat16 where the device has it in hardware."""
    seed: int = 0
    """Of the samples and the bootstrap."""


@dataclass(frozen=True, slots=True)
class _Text:
    """The documents that are measured on, with their tokens."""

    documents: list[Document]
    token_ids: list[list[int]]

    @property
    def raw(self) -> list[bytes]:
        return [document.text.encode() for document in self.documents]


@stage("evaluate", inputs=("model", "corpus"), plan=plan_evaluate)
def evaluate(config: EvaluateConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Loss, perplexity and bits per byte with intervals, beside xz and an n-gram model on the same bytes."""
    from inkstone.checkpoint import load_checkpoint
    from inkstone.nn.models.base import Decoder

    tune_allocator()
    corpus = open_text(inputs["corpus"])
    model, tokenizer = load_checkpoint(inputs["model"], device=config.device, dtype=config.dtype)
    text = _choose(config, corpus, tokenizer)
    if not isinstance(model, Decoder):
        return _evaluate_restoration(config, model, tokenizer, text, inputs["model"].name, out)
    context_length, stride = _window(config, model)
    autocast = _autocast(config, model)
    scores = _score(model, tokenizer, text, context_length, stride, autocast)
    if not all(np.isfinite(score.nll).all() for score in scores):
        raise CheckpointError(
            "the model's likelihoods are not finite numbers",
            where=inputs["model"],
            remedy="train it again; it diverged",
        )
    ngram_bits = _score_ngram(config, corpus, text)
    say("compressing with xz")
    train = b"".join(_training_text(config, corpus, config.xz_train_bytes))
    xz = measure_xz(b"".join(text.raw), train)
    facts = Facts(
        model=inputs["model"].name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        context_length=context_length,
        stride=stride,
        dtype=str(autocast or next(model.parameters()).dtype).removeprefix("torch."),
        split=config.split,
        of_documents=corpus.num_documents(config.split),
        of_bytes=corpus.num_bytes(config.split),
        cut_documents=sum("cut_from_bytes" in document.meta for document in text.documents),
        max_document_bytes=config.max_document_bytes,
        unknown_tokens=sum(ids.count(tokenizer.unk_id) for ids in text.token_ids if tokenizer.unk_id is not None),
        ngram_order=config.ngram_order,
        ngram_train_bytes=min(config.ngram_train_bytes, corpus.num_bytes("train")),
        seed=config.seed,
    )
    units = build_units(text.documents, text.token_ids, scores, ngram_bits, tokenizer)
    eos_nll = [score.eos_nll for score in scores if score.eos_nll is not None]
    report = build_report(facts, text.documents, units, xz, eos_nll)
    write_json(out / "report.json", report)
    with atomic_file(out / "report.md", "w") as file:
        file.write(to_markdown(report))
    return _summary(report)


def _evaluate_restoration(
    config: EvaluateConfig, model: "Model", tokenizer: Tokenizer, text: _Text, name: str, out: Path
) -> Summary:
    from inkstone.evaluate.restoration import evaluate_restoration, restoration_markdown

    report = evaluate_restoration(
        model,
        tokenizer,
        [document.text for document in text.documents],
        context_length=config.context_length,
        noise=config.noise,
        autocast=_autocast(config, model),
        seed=config.seed,
    )
    write_json(out / "report.json", report)
    with atomic_file(out / "report.md", "w") as file:
        file.write(restoration_markdown(name, report))
    return {
        "learning": report["learning"],
        **_with_ends("loss", report["loss"]),
        "sequences": report["sequences"],
        "restored_tokens": report["restored_tokens"],
    }


def _choose(config: EvaluateConfig, corpus: EvaluationText, tokenizer: Tokenizer) -> _Text:
    documents = sample_documents(
        corpus.documents(config.split),
        config.max_tokens * _BYTES_PER_TOKEN,
        seed=config.seed,
        max_document_bytes=config.max_document_bytes,
    )
    if not any(document.text for document in documents):
        raise InputError(
            f"the {config.split} split has no text to evaluate on",
            where=corpus.path,
            remedy="hold out more in `prepare` (valid_fraction), or add documents",
        )
    token_ids = tokenizer.encode_plain_batch([document.text for document in documents])
    taken, num_tokens = 0, 0
    for ids in token_ids:
        if taken and num_tokens + len(ids) > config.max_tokens:
            break
        taken, num_tokens = taken + 1, num_tokens + len(ids)
    return _Text(documents[:taken], token_ids[:taken])


def _window(config: EvaluateConfig, model: Any) -> tuple[int, int]:
    context_length = fitting_context(model.context, config.context_length)
    return context_length, config.stride or max(1, context_length // 2)


def _autocast(config: EvaluateConfig, model: Any) -> "torch.dtype | None":
    """The dtype to multiply in when it is not that of the weights."""
    weights = next(model.parameters())
    wanted = resolve_dtype(config.dtype, weights.device)
    return None if wanted.itemsize >= weights.dtype.itemsize else wanted


def _score(
    model: Any, tokenizer: Tokenizer, text: _Text, context_length: int, stride: int, autocast: "torch.dtype | None"
) -> list[DocumentScore]:
    num_eos = 0 if tokenizer.eos_id is None else len(text.documents)
    with progress("score tokens", total=sum(map(len, text.token_ids)) + num_eos, unit="token") as bar:
        return score_documents(
            model,
            tokenizer,
            text.token_ids,
            context_length=context_length,
            stride=stride,
            autocast=autocast,
            on_scored=bar.update,
        )


def _score_ngram(config: EvaluateConfig, corpus: EvaluationText, text: _Text) -> Sequence[Any]:
    say(f"training an n-gram model of order {config.ngram_order}")
    ngram = ByteNgram.train(_training_text(config, corpus, config.ngram_train_bytes), config.ngram_order)
    raw = text.raw
    with progress("score n-grams", total=sum(map(len, raw)), unit="byte") as bar:
        return ngram.score(raw, on_scored=bar.update)


def _training_text(config: EvaluateConfig, corpus: EvaluationText, max_bytes: int) -> list[bytes]:
    pairs = ((document, None) for document in corpus.texts("train"))
    return [block.encode() for block in sample_blocks(pairs, max_bytes, seed=config.seed)] if max_bytes else []


def _summary(report: Mapping[str, Any]) -> Summary:
    return {
        "loss": report["loss"]["value"],
        "perplexity": report["perplexity"]["value"],
        **_with_ends("bits_per_byte", report["bits_per_byte"]),
        "xz_bits_per_byte": report["baselines"]["xz_bits_per_byte"],
        "ngram_bits_per_byte": report["baselines"]["ngram_bits_per_byte"]["value"],
        "documents": report["documents"],
        "bytes": report["bytes"],
    }


def _with_ends(name: str, interval: Mapping[str, Any]) -> dict[str, Any]:
    """An estimate and the ends of its interval, which are the estimate itself where there is none."""
    ends = {f"{name}_{end}": interval["value"] if interval[end] is None else interval[end] for end in ("low", "high")}
    return {name: interval["value"], **ends}
