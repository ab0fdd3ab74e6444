"""`Tokenizer`: the one object that turns text into ids and back, in training, evaluation and serving alike."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from inkstone.core.errors import InputError
from inkstone.core.files import StrPath
from inkstone.core.records import Message
from inkstone.tokenizer.layout import TokenizerFiles, read_tokenizer, special_token_ids, write_tokenizer
from inkstone.tokenizer.pretokenize import build_pre_tokenizer, cut_long_text
from inkstone.tokenizer.special import SpecialTokens

LONG_TEXT = 1 << 18
"""Characters from which a text is tokenized in pieces (with the same ids), to bound memory."""


class Tokenizer:
    """A `tokenizers.Tokenizer` with its special tokens and chat template."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        special: SpecialTokens | None = None,
        chat_template: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        self.backend = backend
        self.special = special or SpecialTokens()
        self.chat_template = chat_template
        self._config = config or {}

    @classmethod
    def load(cls, path: StrPath) -> "Tokenizer":
        """Load a folder in the Hugging Face layout, or a tokenizer.json alone.

        Raises:
            InputError: there is no tokenizer.json, or it is damaged.
        """
        files = read_tokenizer(Path(path))
        return cls(files.backend, files.special, files.chat_template, dict(files.config))

    @classmethod
    def from_tokenizers(
        cls,
        backend: tokenizers.Tokenizer,
        *,
        bos: str | None = None,
        eos: str | None = None,
        pad: str | None = None,
        unk: str | None = None,
        chat_template: str | None = None,
    ) -> "Tokenizer":
        """Wrap a tokenizer of the `tokenizers` library, naming the special tokens that play a part."""
        for token in (bos, eos, pad, unk):
            if token is not None and backend.token_to_id(token) is None:
                raise InputError(f"{token!r} is not in the tokenizer's vocabulary")
        return cls(backend, SpecialTokens(bos, eos, pad, unk), chat_template)

    def save(self, folder: StrPath) -> None:
        """Write tokenizer.json, tokenizer_config.json and chat_template.jinja into `folder`."""
        write_tokenizer(Path(folder), TokenizerFiles(self.backend, self.special, self.chat_template, self._config))

    def encode(self, text: str) -> list[int]:
        """The ids of a prompt, with what the post-processor adds (bos at the start, for tokenizers trained here).

        Special tokens written in the text count as such. Equal to ``AutoTokenizer.from_pretrained(folder)(text)`` of
        `transformers`.
        """
        return _encode_batch(self.backend, [text], add_special_tokens=True)[0]

    def encode_rendered(self, text: str) -> list[int]:
        """The ids of a rendered chat template: its special tokens count as such, and none is added."""
        return _encode_batch(self.backend, [text], add_special_tokens=False)[0]

    def encode_plain(self, text: str) -> list[int]:
        """The ids of the text of a document: nothing is added, and what looks like a special token is text."""
        return self.encode_plain_batch([text])[0]

    def encode_plain_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode_plain` of every text, in parallel and without a peak of memory for long ones.

        Raises:
            InputError: a text has a lone surrogate, which UTF-8 cannot write.
        """
        pieces = [list(self._cut(text)) for text in texts]
        flat = [piece for text_pieces in pieces for piece in text_pieces]
        ids = iter(_encode_batch(self._plain, flat, add_special_tokens=False))
        return [[token_id for _ in text_pieces for token_id in next(ids)] for text_pieces in pieces]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def apply_chat_template(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """Render a conversation to text; its ids are ``encode_rendered(text)``.

        Raises:
            InputError: this tokenizer has no chat template, or the template refuses the conversation.
        """
        from inkstone.tokenizer.chat import render_chat

        if self.chat_template is None:
            raise InputError("this tokenizer has no chat template", remedy="add a chat_template.jinja to its folder")
        tokens = {
            f"{name}_token": token
            for name in ("bos", "eos", "pad", "unk")
            if (token := getattr(self.special, name)) is not None
        }
        return render_chat(self.chat_template, messages, add_generation_prompt=add_generation_prompt, **tokens)

    @cached_property
    def vocab_size(self) -> int:
        """Ids run from 0 to ``vocab_size - 1``, special tokens included."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    def __len__(self) -> int:
        return self.vocab_size

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """Every special token with its id."""
        return special_token_ids(self.backend)

    @property
    def bos_id(self) -> int | None:
        """Id of the token that begins a document."""
        return self._id(self.special.bos)

    @property
    def eos_id(self) -> int | None:
        """Id of the token that ends a document."""
        return self._id(self.special.eos)

    @property
    def pad_id(self) -> int | None:
        """Id of the token that fills a batch's shorter rows."""
        return self._id(self.special.pad)

    @property
    def unk_id(self) -> int | None:
        """Id of the token for text that the vocabulary cannot write; None when it can write everything."""
        return self._id(self.special.unk)

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes that an id stands for, possibly a part of a character; a special token's are its name's."""
        token = self.backend.id_to_token(token_id)
        if token is None:
            raise InputError(f"id {token_id} is not in the vocabulary of {self.vocab_size}")
        if self._is_byte_level and token not in self.special_tokens:
            return bytes(_BYTE_OF[character] for character in token)
        return token.encode()

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self.backend.token_to_id(token)

    @cached_property
    def _is_byte_level(self) -> bool:
        return "ByteLevel" in type(self.backend.decoder).__name__

    @cached_property
    def _is_ours(self) -> bool:
        """Whether the pre-tokenizer is the one of `build_pre_tokenizer`, whose cuts are known."""
        mine, ours = self.backend.pre_tokenizer, build_pre_tokenizer()
        return mine is not None and bool(mine.__getstate__() == ours.__getstate__())

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        plain = tokenizers.Tokenizer.from_str(self.backend.to_str())
        plain.encode_special_tokens = True
        return plain

    def _cut(self, text: str) -> list[str]:
        if len(text) < LONG_TEXT or not self._is_ours:
            return [text]
        return list(cut_long_text(text, LONG_TEXT // 2))


def _encode_batch(backend: tokenizers.Tokenizer, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
    try:
        encodings = backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
    except TypeError:  # what the library makes of a text that is not UTF-8
        for text in texts:
            _check_surrogates(text)
        raise
    return [encoding.ids for encoding in encodings]


def _check_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"character {error.start} is a lone surrogate (U+{ord(text[error.start]):04X}), which no text may contain",
            remedy="read the text again with its right encoding",
        ) from None


def _bytes_of_printable() -> dict[str, int]:
    """GPT-2's printable alphabet for bytes: itself where printable, else the characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _bytes_of_printable()
