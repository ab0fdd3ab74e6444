"""The files of a tokenizer folder in the Hugging Face layout, read and written without `transformers`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import normalizers

from inkstone.core.errors import InputError
from inkstone.core.files import atomic_file, read_json, write_json
from inkstone.tokenizer.added import add_bos_and_eos, add_listed_tokens, token_name
from inkstone.tokenizer.backends import (
    SENTENCEPIECE_FILES,
    bert_normalizer,
    build_backend,
    family_of,
    from_sentencepiece,
)
from inkstone.tokenizer.segment import is_panic
from inkstone.tokenizer.special import SpecialTokens

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_FOLDER = "additional_chat_templates"
DEFAULT_TEMPLATE = "default"

TOKENIZER_CLASS = "PreTrainedTokenizerFast"
"""Read by `transformers` 4 as the class of that name and by 5 as its alias of `TokenizersBackend`; both take
tokenizer.json as it is. (`LlamaTokenizer` would rebuild it as a SentencePiece tokenizer.)"""

_GUESSES: dict[str, tuple[str, ...]] = {
    "bos": ("<|bos|>", "<s>", "<|begin_of_text|>", "<|startoftext|>", "<bos>", "[CLS]"),
    "eos": ("<|eos|>", "</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "[SEP]"),
    "pad": ("<|pad|>", "<pad>", "[PAD]"),
    "unk": ("<|unk|>", "<unk>", "[UNK]"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
    "mask": ("<|mask|>", "[MASK]", "<mask>"),
}
_BERT_SETTINGS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What a tokenizer folder holds."""

    backend: tokenizers.Tokenizer
    special: SpecialTokens
    chat_templates: Mapping[str, str] = field(default_factory=dict)
    """By name; ``default`` is the one of chat_template.jinja."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """tokenizer_config.json as it was read; keys not known here are kept when the tokenizer is saved."""
    originals: Mapping[str, bytes] = field(default_factory=dict)
    """Files that the vocabulary comes from and that other tools read (tokenizer.model); saved as they are."""


def read_tokenizer(path: Path) -> TokenizerFiles:
    """Read a folder with a tokenizer.json or the vocabulary files of its family.

    `path` may also be a tokenizer.json or a SentencePiece model itself.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    folder = path if path.is_dir() else path.parent
    config = read_config(folder)
    try:
        backend = _read_backend(path, config)
        add_listed_tokens(backend, folder, config)
    except BaseException as error:
        if is_panic(error):
            raise InputError(f"a damaged tokenizer: {error}", where=path, remedy="copy it again") from None
        raise
    special = _special_tokens(backend, config)
    add_bos_and_eos(backend, special, config)
    originals = {name: (folder / name).read_bytes() for name in SENTENCEPIECE_FILES if (folder / name).is_file()}
    return TokenizerFiles(backend, special, read_templates(folder, config), config, originals)


def read_config(folder: Path) -> dict[str, Any]:
    """special_tokens_map.json and tokenizer_config.json in one; the second has the last word."""
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", CONFIG_FILE):
        if (folder / name).is_file():
            read = read_json(folder / name)
            if not isinstance(read, dict):
                raise InputError("expected a JSON object", where=folder / name)
            config.update(read)
    return config


def write_tokenizer(folder: Path, files: TokenizerFiles) -> None:
    """Write tokenizer.json, tokenizer_config.json, the chat templates and the original vocabulary files."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / TOKENIZER_FILE, json.loads(files.backend.to_str()))
    write_config(folder, files, TOKENIZER_CLASS)
    for name, content in files.originals.items():
        with atomic_file(folder / name) as file:
            file.write(content)


def write_config(folder: Path, files: TokenizerFiles, tokenizer_class: str) -> None:
    """Write tokenizer_config.json and the chat templates."""
    special = {f"{part.name}_token": getattr(files.special, part.name) for part in fields(SpecialTokens)}
    extra = [token for token in special_token_ids(files.backend) if token not in special.values()]
    dropped = ("chat_template", "added_tokens_decoder", "extra_special_tokens", "auto_map")
    config = {
        "model_max_length": int(1e30),
        "clean_up_tokenization_spaces": False,
        **{key: value for key, value in files.config.items() if key not in dropped},
        **{key: token for key, token in special.items() if token is not None},
        "additional_special_tokens": extra,
        "tokenizer_class": tokenizer_class,
    }
    write_json(folder / CONFIG_FILE, config)
    for name, template in files.chat_templates.items():
        path = folder / TEMPLATE_FILE if name == DEFAULT_TEMPLATE else folder / TEMPLATE_FOLDER / f"{name}.jinja"
        path.parent.mkdir(exist_ok=True)
        with atomic_file(path, "w") as file:
            file.write(template)


def special_token_ids(backend: tokenizers.Tokenizer) -> dict[str, int]:
    """Every special token with its id, in the order of ids."""
    added = sorted(backend.get_added_tokens_decoder().items())
    return {token.content: token_id for token_id, token in added if token.special}


def _read_backend(path: Path, config: Mapping[str, Any]) -> tokenizers.Tokenizer:
    if path.is_file() and path.suffix == ".model":
        return from_sentencepiece(path, family_of(path.parent, config), config)
    file = path / TOKENIZER_FILE if path.is_dir() else path
    if not file.is_file():
        built = build_backend(path, config) if path.is_dir() else None
        if built is not None:
            return built
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
    if isinstance(backend.normalizer, normalizers.BertNormalizer) and any(key in config for key in _BERT_SETTINGS):
        backend.normalizer = bert_normalizer({**_settings(backend.normalizer), **config})
    return backend


def _settings(normalizer: Any) -> dict[str, Any]:
    return {
        "do_lower_case": normalizer.lowercase,
        "strip_accents": normalizer.strip_accents,
        "tokenize_chinese_chars": normalizer.handle_chinese_chars,
    }


def _special_tokens(backend: tokenizers.Tokenizer, config: Mapping[str, Any]) -> SpecialTokens:
    known = special_token_ids(backend)
    found: dict[str, str | None] = {}
    for part in fields(SpecialTokens):
        token = token_name(config.get(f"{part.name}_token"))
        if f"{part.name}_token" not in config:
            token = next((guess for guess in _GUESSES[part.name] if guess in known), None)
        found[part.name] = token if token is not None and backend.token_to_id(token) is not None else None
    return SpecialTokens(**found)


def read_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Chat templates by name: from files where there are any, else from tokenizer_config.json.

    Raises:
        InputError: a name would leave the folder that it is a file's name in.
    """
    templates: dict[str, str] = {}
    listed = config.get("chat_template")
    if isinstance(listed, str):
        templates[DEFAULT_TEMPLATE] = listed
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("name"), str) and isinstance(entry.get("template"), str):
            templates[entry["name"]] = entry["template"]
    for path in sorted((folder / TEMPLATE_FOLDER).glob("*.jinja")):
        templates[path.stem] = _read_text(path)
    if (folder / TEMPLATE_FILE).is_file():
        templates[DEFAULT_TEMPLATE] = _read_text(folder / TEMPLATE_FILE)
    for name in templates:
        if Path(name).name != name or name in ("", ".", ".."):
            raise InputError(f"a chat template has the name {name!r}", where=folder, remedy="name it with letters")
    return templates


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", where=path) from None
