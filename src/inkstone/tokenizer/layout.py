"""The files of a tokenizer folder in the Hugging Face layout, read and written without `transformers`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from inkstone.core.errors import InputError
from inkstone.core.files import read_json, write_json
from inkstone.tokenizer.sentencepiece import convert_sentencepiece
from inkstone.tokenizer.special import SpecialTokens

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"

TOKENIZER_CLASS = "PreTrainedTokenizerFast"
"""Read by `transformers` 4 as the class of that name and by 5 as its alias of `TokenizersBackend`; both take
tokenizer.json as it is. (`LlamaTokenizer` would rebuild it as a SentencePiece tokenizer.)"""

_GUESSES: dict[str, tuple[str, ...]] = {
    "bos": ("<|bos|>", "<s>", "<|begin_of_text|>", "<|startoftext|>", "[CLS]"),
    "eos": ("<|eos|>", "</s>", "<|end_of_text|>", "<|endoftext|>", "[SEP]"),
    "pad": ("<|pad|>", "<pad>", "[PAD]"),
    "unk": ("<|unk|>", "<unk>", "[UNK]"),
}


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What a tokenizer folder holds."""

    backend: tokenizers.Tokenizer
    special: SpecialTokens
    chat_template: str | None
    config: Mapping[str, Any]
    """tokenizer_config.json as it was read; keys not known here are kept when the tokenizer is saved."""


def read_tokenizer(path: Path) -> TokenizerFiles:
    """Read a folder with a tokenizer.json, GPT-2's vocab.json and merges.txt or a SentencePiece tokenizer.model.

    `path` may also be a tokenizer.json or tokenizer.model itself.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    folder = path if path.is_dir() else path.parent
    backend = _read_backend(path)
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", CONFIG_FILE):
        if (folder / name).is_file():
            read = read_json(folder / name)
            if not isinstance(read, dict):
                raise InputError("expected a JSON object", where=folder / name)
            config.update(read)
    return TokenizerFiles(backend, _special_tokens(backend, config), _chat_template(folder, config), config)


def write_tokenizer(folder: Path, files: TokenizerFiles) -> None:
    """Write tokenizer.json, tokenizer_config.json and, when there is one, chat_template.jinja."""
    folder.mkdir(parents=True, exist_ok=True)
    special = {f"{field.name}_token": getattr(files.special, field.name) for field in fields(SpecialTokens)}
    extra = [token for token in special_token_ids(files.backend) if token not in special.values()]
    config = {
        "model_max_length": int(1e30),
        "clean_up_tokenization_spaces": False,
        **{key: value for key, value in files.config.items() if key not in ("chat_template", "added_tokens_decoder")},
        **{key: token for key, token in special.items() if token is not None},
        "additional_special_tokens": extra,
        "tokenizer_class": TOKENIZER_CLASS,
    }
    write_json(folder / TOKENIZER_FILE, json.loads(files.backend.to_str()))
    write_json(folder / CONFIG_FILE, config)
    if files.chat_template is not None:
        (folder / TEMPLATE_FILE).write_text(files.chat_template, encoding="utf-8", newline="\n")


def special_token_ids(backend: tokenizers.Tokenizer) -> dict[str, int]:
    """Every special token with its id, in the order of ids."""
    added = sorted(backend.get_added_tokens_decoder().items())
    return {token.content: token_id for token_id, token in added if token.special}


def _read_backend(path: Path) -> tokenizers.Tokenizer:
    file = path / TOKENIZER_FILE if path.is_dir() else path
    if file.suffix == ".model" and file.is_file():
        return convert_sentencepiece(file)
    if not file.is_file():
        if path.is_dir() and (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
            return _from_vocab_and_merges(path)
        if path.is_dir() and (path / "tokenizer.model").is_file():
            return convert_sentencepiece(path / "tokenizer.model")
        raise InputError(
            "no such file", where=file, remedy="give a folder with a tokenizer.json, or run `inkstone tokenizer` first"
        )
    try:
        backend = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:
        raise InputError(
            f"not a tokenizer that the `tokenizers` library can read: {error}",
            where=file,
            remedy="copy the file again; if it comes from a newer `tokenizers`, update that library",
        ) from error
    backend.no_truncation()
    backend.no_padding()
    return backend


def _from_vocab_and_merges(folder: Path) -> tokenizers.Tokenizer:
    """GPT-2's two files: byte-level BPE with GPT-2's own pre-tokenizer and one special token."""
    vocab, merges = str(folder / "vocab.json"), str(folder / "merges.txt")
    try:
        backend = tokenizers.Tokenizer(models.BPE.from_file(vocab, merges))
    except Exception as error:
        raise InputError(f"vocab.json and merges.txt do not make a tokenizer: {error}", where=folder) from error
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if backend.token_to_id("<|endoftext|>") is not None:
        backend.add_special_tokens(["<|endoftext|>"])
    return backend


def _special_tokens(backend: tokenizers.Tokenizer, config: Mapping[str, Any]) -> SpecialTokens:
    known = special_token_ids(backend)
    found: dict[str, str | None] = {}
    for field in fields(SpecialTokens):
        given = config.get(f"{field.name}_token")
        token = given.get("content") if isinstance(given, dict) else given
        if f"{field.name}_token" not in config:
            token = next((guess for guess in _GUESSES[field.name] if guess in known), None)
        found[field.name] = token if token is not None and backend.token_to_id(token) is not None else None
    return SpecialTokens(**found)


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    if (folder / TEMPLATE_FILE).is_file():
        return (folder / TEMPLATE_FILE).read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        template = next((entry["template"] for entry in template if entry.get("name") == "default"), None)
    return template if isinstance(template, str) else None
