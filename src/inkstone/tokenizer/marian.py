"""Marian's tokenizers: two SentencePiece models, one for each language, whose pieces share a vocabulary.

The pieces come from ``source.spm`` and ``target.spm``, their ids from ``vocab.json``. A piece that vocab.json does not
have is ``<unk>``. What a model reads is encoded by the tokenizer itself, what it writes by its `target`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, processors

from inkstone.core.errors import InputError
from inkstone.core.files import StrPath, atomic_file, read_json, write_json
from inkstone.tokenizer.convert import SPACE, convert_sentencepiece
from inkstone.tokenizer.layout import TokenizerFiles, read_config, read_templates, write_config
from inkstone.tokenizer.sentencepiece import parse_sentencepiece
from inkstone.tokenizer.special import SpecialTokens
from inkstone.tokenizer.tokenizer import Tokenizer

VOCAB_FILE, SOURCE_FILE, TARGET_FILE = "vocab.json", "source.spm", "target.spm"
MARIAN_FILES = (VOCAB_FILE, SOURCE_FILE, TARGET_FILE)
_SPECIAL = SpecialTokens(eos="</s>", pad="<pad>", unk="<unk>")


class MarianTokenizer(Tokenizer):
    """One language of a Marian model; `backend` is the shared vocabulary."""

    def __init__(
        self, files: TokenizerFiles, vocab: Mapping[str, int], pieces: tokenizers.Tokenizer, target: "Tokenizer | None"
    ) -> None:
        super().__init__(files.backend, files.special, config=dict(files.config))
        self._files = files
        self._pieces = pieces
        self._target = target
        unknown = vocab["<unk>"]
        size = max(pieces.get_vocab(with_added_tokens=True).values()) + 1
        self._ids = [vocab.get(pieces.id_to_token(n) or "", unknown) for n in range(size)]

    @classmethod
    def load(cls, path: StrPath) -> "MarianTokenizer":
        """Load a folder with ``source.spm``, ``target.spm`` and ``vocab.json``.

        Raises:
            InputError: a file is missing, damaged or of a kind that is not supported.
        """
        folder = Path(path)
        config = read_config(folder)
        if config.get("separate_vocabs"):
            raise InputError(
                "a Marian tokenizer with two vocabularies", where=folder, remedy="use one that shares them"
            )
        vocab = _read_vocab(folder / VOCAB_FILE)
        originals = {name: _read(folder / name) for name in MARIAN_FILES}
        templates = read_templates(folder, config)
        files = TokenizerFiles(_vocabulary(vocab), _SPECIAL, templates, config, originals)
        source, target = (_read_pieces(folder / name, originals[name], vocab) for name in (SOURCE_FILE, TARGET_FILE))
        return cls(files, vocab, source, cls(files, vocab, target, None))

    @property
    def target(self) -> Tokenizer:
        """The tokenizer of the language that the model writes."""
        return self._target or self

    def save(self, folder: StrPath) -> None:
        """Write the three files as they were read, and tokenizer_config.json."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self._files.originals.items():
            with atomic_file(folder / name) as file:
                file.write(content)
        write_json(
            folder / "special_tokens_map.json", {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
        )
        files = replace(self._files, config={"model_max_length": 512, **self._config})
        write_config(folder, files, "MarianTokenizer")

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of `ids`, in either language."""
        return super().decode(ids, skip_special_tokens).strip()

    @property
    def _segmenter(self) -> tokenizers.Tokenizer:
        return self._pieces

    def _vocabulary_ids(self, ids: Sequence[int]) -> list[int]:
        return [self._ids[token_id] for token_id in ids]


def is_marian(folder: Path) -> bool:
    """Whether a folder holds a Marian tokenizer."""
    return (folder / SOURCE_FILE).is_file() and (folder / TARGET_FILE).is_file()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(error.strerror or str(error), where=path) from None


def _read_vocab(path: Path) -> dict[str, int]:
    read: Any = read_json(path)
    if not isinstance(read, dict) or not all(type(value) is int for value in read.values()):
        raise InputError("expected a JSON object of pieces and ids", where=path)
    if sorted(read.values()) != list(range(len(read))):
        raise InputError(f"the ids are not 0 to {len(read) - 1}, each once", where=path, remedy="copy it again")
    missing = {"</s>", "<unk>", "<pad>"} - read.keys()
    if missing:
        raise InputError(f"a Marian vocabulary without {', '.join(sorted(missing))}", where=path)
    return read


def _vocabulary(vocab: Mapping[str, int]) -> tokenizers.Tokenizer:
    """The ids of vocab.json, for decoding alone."""
    backend = tokenizers.Tokenizer(models.WordLevel(dict(vocab), unk_token="<unk>"))
    backend.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    backend.add_special_tokens(["</s>", "<unk>", "<pad>"])
    return backend


def _read_pieces(path: Path, content: bytes, vocab: Mapping[str, int]) -> tokenizers.Tokenizer:
    try:
        pieces = convert_sentencepiece(parse_sentencepiece(content))
    except InputError as error:
        raise InputError(error.cause, where=path, remedy=error.remedy) from error.__cause__
    languages = [token for token in vocab if token.startswith(">>") and token.endswith("<<")]
    pieces.add_tokens([AddedToken(token, normalized=False) for token in languages])
    pieces.add_special_tokens([AddedToken(token, normalized=False) for token in ("</s>", "<unk>", "<pad>")])
    end = pieces.token_to_id("</s>")
    pieces.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B:1 </s>:1", special_tokens=[("</s>", end)]
    )
    return pieces
