"""Tokens added beside a vocabulary: added_tokens.json, ``added_tokens_decoder``, and bos and eos around a text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, processors

from inkstone.core.errors import InputError
from inkstone.core.files import read_json
from inkstone.tokenizer.special import SpecialTokens

ADDED_TOKENS_FILE = "added_tokens.json"
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized")


def add_listed_tokens(backend: tokenizers.Tokenizer, folder: Path, config: Mapping[str, Any]) -> None:
    """Give the backend the added tokens that the folder's files list and it does not have, under the ids they say.

    Raises:
        InputError: the files are malformed, or an id is not the next free one.
    """
    listed = _listed(folder, config)
    known = {token.content: token.special for token in backend.get_added_tokens_decoder().values()}
    named = set(_special_names(config))
    for token_id, token in sorted(listed, key=lambda entry: entry[0]):
        special = token.special or token.content in named
        if token.content in known and (known[token.content] or not special):
            continue
        token.special = special
        (backend.add_special_tokens if special else backend.add_tokens)([token])
        if backend.token_to_id(token.content) != token_id:
            raise InputError(
                f"the added token {token.content!r} cannot have the id {token_id}: the vocabulary ends before it",
                where=folder,
                remedy="is a file of the vocabulary missing or from another model? copy the folder again",
            )
    present = [name for name in named if name not in known and backend.token_to_id(name) is not None]
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in sorted(present)])


def add_bos_and_eos(backend: tokenizers.Tokenizer, special: SpecialTokens, config: Mapping[str, Any]) -> None:
    """Follow ``add_bos_token`` and ``add_eos_token`` where tokenizer_config.json has one of them.

    As in `transformers` 5 they then decide alone what stands around a text, whatever tokenizer.json says.
    """
    if "add_bos_token" not in config and "add_eos_token" not in config:
        return
    before = [special.bos] if config.get("add_bos_token") and special.bos is not None else []
    after = [special.eos] if config.get("add_eos_token") and special.eos is not None else []
    single = " ".join([*(f"{token}:0" for token in before), "$A:0", *(f"{token}:0" for token in after)])
    second = " ".join([*(f"{token}:1" for token in before), "$B:1", *(f"{token}:1" for token in after)])
    ids = [(token, backend.token_to_id(token)) for token in {*before, *after}]
    try:
        backend.post_processor = processors.TemplateProcessing(
            single=single, pair=f"{single} {second}", special_tokens=ids
        )
    except ValueError as error:
        raise InputError(f"bos or eos cannot stand around a text: {error}") from None


def token_name(value: object) -> str | None:
    """The text of a token that a JSON file names by itself or as an object with a ``content``."""
    name = value.get("content") if isinstance(value, dict) else value
    return name if isinstance(name, str) and name else None


def _listed(folder: Path, config: Mapping[str, Any]) -> list[tuple[int, AddedToken]]:
    found: list[tuple[int, AddedToken]] = []
    decoder = config.get("added_tokens_decoder")
    if decoder is not None:
        where = folder / "tokenizer_config.json"
        if not isinstance(decoder, dict):
            raise InputError("added_tokens_decoder is not a JSON object", where=where)
        for key, entry in decoder.items():
            name = token_name(entry)
            if not key.isascii() or not key.isdigit() or len(key) > 9 or name is None:
                raise InputError(f"added_tokens_decoder has a malformed entry {key[:40]!r}", where=where)
            flags = {flag: entry[flag] is True for flag in _FLAGS if isinstance(entry, dict) and flag in entry}
            special = isinstance(entry, dict) and entry.get("special") is True
            found.append((int(key), AddedToken(name, special=special, **flags)))
    path = folder / ADDED_TOKENS_FILE
    if decoder is None and path.is_file():
        read = read_json(path)
        if not isinstance(read, dict) or not all(type(value) is int for value in read.values()):
            raise InputError("expected a JSON object of tokens and ids", where=path)
        found.extend((token_id, AddedToken(name, normalized=False)) for name, token_id in read.items() if name)
    return found


def _special_names(config: Mapping[str, Any]) -> Sequence[str]:
    """Every token that a configuration calls special, by a part it plays or in a list."""
    parts = [config.get(f"{part}_token") for part in ("bos", "eos", "pad", "unk", "cls", "sep", "mask")]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        listed = config.get(key)
        parts.extend(listed if isinstance(listed, list) else listed.values() if isinstance(listed, dict) else [])
    return [name for part in parts if (name := token_name(part)) is not None]
