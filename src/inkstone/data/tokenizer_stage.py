"""The stage that trains a tokenizer on a corpus (or takes an existing one) and reports how it does there."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from inkstone.core.config import Config
from inkstone.core.errors import ConfigError, InputError
from inkstone.core.files import write_json
from inkstone.core.progress import progress, say
from inkstone.core.stage import Summary, stage
from inkstone.data.corpus import SPLITS, Corpus, Split
from inkstone.data.examples.texts import ExampleTexts, open_texts
from inkstone.data.tokenizer_outline import assumed_tokenizer, mark_assumed
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.extend import extend_tokenizer
from inkstone.tokenizer.report import build_report
from inkstone.tokenizer.sample import sample_blocks, sample_documents
from inkstone.tokenizer.train import train_bytes_bpe, train_characters
from inkstone.tokenizer.train_subwords import train_unigram, train_word_pieces

DEFAULT_VOCAB_SIZE = 8192
_OUTLINE_BYTES = 2_000_000
_TOKENIZER_SUFFIXES = (".json", ".txt", ".model", ".spm", ".jinja")


class TokenizerConfig(Config):
    """How to get a tokenizer."""

    kind: Literal["bytes_bpe", "wordpiece", "unigram", "characters", "existing"] = "bytes_bpe"
    """bytes_bpe: learn merges of bytes. wordpiece: as BERT. unigram: as T5. characters: one token per character of the
    corpus. existing: take `path`."""
    vocab_size: int | None = Field(None, ge=1)
    """Tokens in all, special ones included, of a tokenizer that is learned (8192 when not given)."""
    path: Path | None = None
    """Folder or tokenizer.json to take (existing only)."""
    max_train_bytes: int = Field(16_000_000, ge=1)
    """UTF-8 bytes of text to learn merges from, sampled evenly from the train split. Memory grows with this, not with
    the corpus: about 30 bytes per byte of English or code, 80 of Chinese."""
    balance_languages: bool = False
    """Give every language at most an equal share of max_train_bytes."""
    min_frequency: int = Field(2, ge=1)
    """A pair of tokens seen less often is not merged (bytes_bpe and wordpiece)."""
    max_token_bytes: int = Field(32, ge=1)
    """No token becomes longer (bytes_bpe)."""
    report_bytes: int = Field(2_000_000, ge=1)
    """UTF-8 bytes of held-out documents that the report is made from."""
    seed: int = 0
    """Another seed, another sample."""


def _sources(config: TokenizerConfig) -> Iterable[Path]:
    if config.path is None:
        return []
    if not config.path.is_dir():
        return [config.path]
    return sorted(path for path in config.path.iterdir() if path.suffix in _TOKENIZER_SUFFIXES)


def outline(config: TokenizerConfig, inputs: Mapping[str, Path], out: Path) -> None:
    """A tokenizer learned from a small part of the corpus, or where there is none yet one of a likely kind."""
    _check(config)
    size = config.vocab_size or DEFAULT_VOCAB_SIZE
    try:
        corpus = None if config.path is not None else open_texts(inputs["corpus"])
    except InputError:
        assumed_tokenizer(config.kind, size).save(out)
        mark_assumed(out)
        return
    if corpus is None:
        assert config.path is not None
        Tokenizer.load(config.path).save(out)
        return
    made = _make(config.model_copy(update={"max_train_bytes": min(config.max_train_bytes, _OUTLINE_BYTES)}), corpus)
    missing = 0 if config.kind == "characters" else size - made.vocab_size
    extend_tokenizer(made, [f"<|not learned {number}|>" for number in range(missing)]).save(out)


@stage("tokenizer", inputs=("corpus",), sources=_sources, outline=outline)
def tokenizer(config: TokenizerConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Train a tokenizer on a corpus or on examples, and report bytes per token and round trips."""
    _check(config)
    corpus = open_texts(inputs["corpus"])
    made = _make(config, corpus)
    split: Split = "valid" if corpus.num_documents("valid") else "train"
    say(f"tokenizer: {made.vocab_size:,} tokens; reporting on the {split} split")
    sample = sample_documents(corpus.documents(split), config.report_bytes, seed=config.seed)
    report = build_report(made, sample)
    made.save(out)
    write_json(out / "report.json", {"kind": config.kind, "split": split, **report})
    return _summary(report)


def _check(config: TokenizerConfig) -> None:
    if config.kind in ("characters", "existing") and config.vocab_size is not None:
        raise ConfigError(f"vocab_size: a tokenizer of kind {config.kind!r} has its own", remedy="leave vocab_size out")
    if (config.kind == "existing") != (config.path is not None):
        raise ConfigError(
            "path: given with kind 'existing', and only then", remedy="set both kind: existing and path, or neither"
        )


def _make(config: TokenizerConfig, corpus: Corpus | ExampleTexts) -> Tokenizer:
    if config.path is not None:
        return Tokenizer.load(config.path)
    if config.kind == "characters":
        total = sum(corpus.num_bytes(split) for split in SPLITS)
        with progress("read characters", total=total, unit="byte") as bar:
            return train_characters((text for split in SPLITS for text in corpus.texts(split)), on_trained=bar.update)
    with progress("sample text", total=corpus.num_bytes("train"), unit="byte") as bar:
        pairs = ((document.text, document.lang) for document in corpus.documents("train"))
        options: dict[str, Any] = {"seed": config.seed, "balance": config.balance_languages, "on_read": bar.update}
        blocks = list(sample_blocks(pairs, config.max_train_bytes, **options))
    num_bytes = min(config.max_train_bytes, corpus.num_bytes("train"))
    size = config.vocab_size or DEFAULT_VOCAB_SIZE
    with progress("count words, then merge", total=num_bytes, unit="byte") as bar:
        if config.kind == "wordpiece":
            return train_word_pieces(blocks, size, min_frequency=config.min_frequency, on_trained=bar.update)
        if config.kind == "unigram":
            return train_unigram(blocks, size, on_trained=bar.update)
        return train_bytes_bpe(
            blocks,
            size,
            max_token_bytes=config.max_token_bytes,
            min_frequency=config.min_frequency,
            on_trained=bar.update,
        )


def _summary(report: Mapping[str, Any]) -> Summary:
    summary: Summary = {"vocab_size": report["vocab_size"], "bytes_per_token": report["all"]["bytes_per_token"]}
    for language, row in report["by_language"].items():
        summary[f"bytes_per_token_{language}"] = row["bytes_per_token"]
    summary["documents"] = report["round_trip"]["documents"]
    summary["round_trip_mismatches"] = report["round_trip"]["mismatches"]
    summary["vocabulary_used"] = report["vocabulary_used"]["share"]
    if mismatches := report["round_trip"]["mismatches"]:
        say(f"warning: {mismatches} of {summary['documents']} documents do not survive a round trip; see report.json")
    return summary
