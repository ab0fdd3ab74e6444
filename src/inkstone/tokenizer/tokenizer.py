"""`Tokenizer`: the one object that turns text into ids and back, in training, evaluation and serving alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from inkstone.core.errors import InputError
from inkstone.core.files import StrPath
from inkstone.tokenizer.bounded import Beginning
from inkstone.tokenizer.chat import (
    ChatMessage,
    EncodedChat,
    RenderedChat,
    choose_template,
    mask_of_spans,
    render_beginnings,
    render_chat,
)
from inkstone.tokenizer.encoding import EncodedBatch, Encoding, PaddingSide, cut_to_length, pad_batch
from inkstone.tokenizer.layout import (
    DEFAULT_TEMPLATE,
    TokenizerFiles,
    read_tokenizer,
    special_token_ids,
    write_tokenizer,
)
from inkstone.tokenizer.pretokenize import build_pre_tokenizer, cut_long_text
from inkstone.tokenizer.segment import encode_each, encode_ids, without_special_tokens
from inkstone.tokenizer.special import SpecialTokens
from inkstone.tokenizer.token_bytes import bytes_of_token

LONG_TEXT = 1 << 18
"""Characters from which a text is tokenized in pieces (with the same ids), to bound memory."""

NO_MAX_LENGTH = 10**9
"""A ``model_max_length`` from here on means that there is none."""

_SPACES = (
    *((f" {mark}", mark) for mark in ".?!,"),
    (" ' ", "'"),
    *((f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
)
"""What ``clean_up_tokenization_spaces`` takes out of decoded text."""


class Tokenizer:
    """A `tokenizers.Tokenizer` with its special tokens and chat templates."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        special: SpecialTokens | None = None,
        chat_template: str | None = None,
        config: dict[str, Any] | None = None,
        *,
        named_templates: Mapping[str, str] | None = None,
        originals: Mapping[str, bytes] | None = None,
    ) -> None:
        self.backend = backend
        self.special = special or SpecialTokens()
        self.chat_template = chat_template
        self.named_templates = dict(named_templates or {})
        """Further chat templates by name, such as ``tool_use``."""
        self._config = config or {}
        self._originals = dict(originals or {})

    @classmethod
    def load(cls, path: StrPath) -> "Tokenizer":
        """Load a folder in the Hugging Face layout, or a tokenizer.json or SentencePiece model alone.

        Raises:
            InputError: there is no tokenizer in it, or a damaged one, or one of a kind that is not known.
        """
        from inkstone.tokenizer.marian import MarianTokenizer, is_marian

        if is_marian(Path(path)):
            return MarianTokenizer.load(path)
        files = read_tokenizer(Path(path))
        named = dict(files.chat_templates)
        default = named.pop(DEFAULT_TEMPLATE, None)
        return cls(
            files.backend,
            files.special,
            default,
            dict(files.config),
            named_templates=named,
            originals=files.originals,
        )

    @classmethod
    def from_tokenizers(
        cls,
        backend: tokenizers.Tokenizer,
        *,
        bos: str | None = None,
        eos: str | None = None,
        pad: str | None = None,
        unk: str | None = None,
        cls_token: str | None = None,
        sep: str | None = None,
        mask: str | None = None,
        chat_template: str | None = None,
    ) -> "Tokenizer":
        """Wrap a tokenizer of the `tokenizers` library, naming the special tokens that play a part."""
        special = SpecialTokens(bos, eos, pad, unk, cls_token, sep, mask)
        for token in (bos, eos, pad, unk, cls_token, sep, mask):
            if token is not None and backend.token_to_id(token) is None:
                raise InputError(f"{token!r} is not in the tokenizer's vocabulary")
        return cls(backend, special, chat_template)

    def save(self, folder: StrPath) -> None:
        """Write tokenizer.json, tokenizer_config.json and the chat templates into `folder`."""
        templates = dict(self.named_templates)
        if self.chat_template is not None:
            templates[DEFAULT_TEMPLATE] = self.chat_template
        files = TokenizerFiles(self.backend, self.special, templates, self._config, self._originals)
        write_tokenizer(Path(folder), files)

    @property
    def target(self) -> "Tokenizer":
        """The tokenizer of what the model writes: itself, but for Marian's, which has one for each language."""
        return self

    def encode(self, text: str) -> list[int]:
        """The ids of a prompt, with what the post-processor adds (bos at the start, for tokenizers trained here).

        Special tokens written in the text count as such. Equal to ``AutoTokenizer.from_pretrained(folder)(text)`` of
        `transformers`, except that a bos or eos already written at the end where one is added stays alone.
        """
        ids = self._vocabulary_ids(encode_ids(self._segmenter, [text], add_special_tokens=True)[0])
        return ids[self._once(ids)]

    def encode_rendered(self, text: str) -> list[int]:
        """The ids of a rendered chat template: its special tokens count as such, and none is added."""
        return self._vocabulary_ids(encode_ids(self._segmenter, [text], add_special_tokens=False)[0])

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
        ids = iter(encode_ids(self._plain, flat, add_special_tokens=False))
        return [self._vocabulary_ids([n for _ in text_pieces for n in next(ids)]) for text_pieces in pieces]

    def encode_with_offsets(self, text: str, pair: str | None = None, *, add_special_tokens: bool = True) -> Encoding:
        """The ids of a text, or of a pair in the model's form (BERT: ``[CLS] A [SEP] B [SEP]``), and where they lie.

        Raises:
            InputError: a text has a lone surrogate, which UTF-8 cannot write.
        """
        return self._encodings([text], None if pair is None else [pair], add_special_tokens)[0]

    def encode_batch(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        truncation: bool = False,
        add_special_tokens: bool = True,
        padding_side: PaddingSide | None = None,
        pad_to_multiple_of: int = 1,
    ) -> EncodedBatch:
        """Texts, or pairs of texts, as rows of one length.

        Args:
            texts: the first or only text of each row.
            pairs: the second text of each row.
            max_length: tokens a row may have, added ones included; `model_max_length` when truncating without it.
            truncation: cut rows that are longer, of a pair the longer text first; else they are an error.
            add_special_tokens: put around a text what the model expects there.
            padding_side: where shorter rows are filled; `padding_side` of the tokenizer when not given.
            pad_to_multiple_of: fill up to a multiple of this.

        Raises:
            InputError: a row is too long, padding is needed and there is no pad token, or a text is not UTF-8.
        """
        if pairs is not None and len(pairs) != len(texts):
            raise InputError(f"{len(texts)} texts and {len(pairs)} pairs", remedy="give one of each for every row")
        if max_length is None and truncation:
            max_length = self.model_max_length
        if truncation and max_length is None:
            raise InputError("truncation without a length", remedy="give max_length")
        rows = self._encodings(texts, pairs, add_special_tokens)
        for n, row in enumerate(rows):
            if max_length is None or len(row) <= max_length:
                continue
            if truncation:
                rows[n] = cut_to_length(row, max_length, self._truncation_side)
            else:
                raise InputError(
                    f"text {n} has {len(row):,} tokens, more than {max_length:,}",
                    remedy="shorten it, or set truncation to cut it",
                )
        return pad_batch(rows, self.pad_id, padding_side or self.padding_side, pad_to_multiple_of)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        text: str = self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)
        if self._config.get("clean_up_tokenization_spaces") and not isinstance(
            self.backend.model, tokenizers.models.BPE
        ):
            for written, meant in _SPACES:
                text = text.replace(written, meant)
        return text

    def apply_chat_template(
        self, messages: Sequence[ChatMessage], add_generation_prompt: bool = False, **options: Any
    ) -> str:
        """Render a conversation to text; its ids are ``encode_rendered(text)``.

        Args:
            messages: the conversation.
            add_generation_prompt: end with what begins an assistant's turn.
            **options: ``tools``, ``documents``, ``continue_final_message`` and variables of the template's own, as
                `inkstone.tokenizer.chat.render_chat` has them; ``template``, the name of one of `named_templates`.

        Raises:
            InputError: this tokenizer has no chat template, or the template refuses the conversation.
        """
        return self._render(messages, add_generation_prompt, **options).text

    def render_beginnings(
        self,
        messages: Sequence[ChatMessage],
        beginnings: Sequence[Beginning],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[RenderedChat]:
        """Render several beginnings of a conversation, each by itself, in one go. Errors: `apply_chat_template`."""
        template = self.template_for(tools)
        return render_beginnings(template, messages, beginnings, tools=tools, **self._special_variables)

    def template_for(self, tools: Sequence[Mapping[str, Any]] | None = None, name: str | None = None) -> str:
        """The chat template of that name, or the one for a conversation with or without tools.

        Raises:
            InputError: there is none.
        """
        return choose_template(self.chat_template, self.named_templates, name, with_tools=tools is not None)

    def encode_chat(
        self, messages: Sequence[ChatMessage], add_generation_prompt: bool = False, **options: Any
    ) -> EncodedChat:
        """Render a conversation to ids, and say which of them the assistant wrote. Arguments: `apply_chat_template`."""
        chat = self._render(messages, add_generation_prompt, **options)
        encoding = self.encode_with_offsets(chat.text, add_special_tokens=False)
        mask = mask_of_spans(encoding.offsets, chat.generation_spans)
        return EncodedChat(chat.text, encoding.ids, encoding.offsets, mask)

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

    @property
    def mask_id(self) -> int | None:
        """Id of the token that a masked language model fills in."""
        return self._id(self.special.mask)

    @property
    def model_max_length(self) -> int | None:
        """Tokens that the model was made for, as tokenizer_config.json says; None when it says nothing."""
        length = self._config.get("model_max_length")
        return int(length) if isinstance(length, int | float) and 0 < length < NO_MAX_LENGTH else None

    @property
    def padding_side(self) -> PaddingSide:
        """Where shorter rows are filled, as tokenizer_config.json says; on the right when it says nothing."""
        return "left" if self._config.get("padding_side") == "left" else "right"

    @property
    def _truncation_side(self) -> PaddingSide:
        return "left" if self._config.get("truncation_side") == "left" else "right"

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes that an id stands for, possibly a part of a character; a special token's are its name's."""
        token = self.backend.id_to_token(token_id)
        if token is None:
            raise InputError(f"id {token_id} is not in the vocabulary of {self.vocab_size}")
        return token.encode() if token_id in self._added_vocabulary else self._bytes_of(token)

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self.backend.token_to_id(token)

    @property
    def _segmenter(self) -> tokenizers.Tokenizer:
        """What turns text into tokens."""
        return self.backend

    def _vocabulary_ids(self, ids: list[int]) -> list[int]:
        """The segmenter's ids as those of the vocabulary."""
        return ids

    @cached_property
    def _added_ids(self) -> list[int]:
        """What the post-processor puts around an empty text."""
        return self._vocabulary_ids(self._segmenter.encode("").ids)

    def _once(self, ids: Sequence[int]) -> slice:
        """All of `ids` but the bos, or eos, that the post-processor put beside one that the text has already."""
        added = self._added_ids
        twice_begun = list(ids[:2]) == [self.bos_id] * 2 and added[:1] == [self.bos_id]
        twice_ended = list(ids[-2:]) == [self.eos_id] * 2 and added[-1:] == [self.eos_id]
        return slice(int(twice_begun), len(ids) - int(twice_ended))

    def _encodings(self, texts: Sequence[str], pairs: Sequence[str] | None, add_special_tokens: bool) -> list[Encoding]:
        rows = encode_each(self._segmenter, texts, pairs, add_special_tokens=add_special_tokens)
        encodings = []
        for row in rows:
            ids = self._vocabulary_ids(row.ids)
            once = self._once(ids) if add_special_tokens and pairs is None else slice(None)
            encodings.append(Encoding(ids[once], row.offsets[once], row.type_ids[once], row.sequence_ids[once]))
        return encodings

    def _render(self, messages: Sequence[ChatMessage], add_generation_prompt: bool, **options: Any) -> RenderedChat:
        template = self.template_for(options.get("tools"), options.pop("template", None))
        options = {**self._special_variables, **options}
        return render_chat(template, messages, add_generation_prompt=add_generation_prompt, **options)

    @property
    def _special_variables(self) -> dict[str, Any]:
        """What templates call the special tokens: ``bos_token`` and so on."""
        parts = {f"{part.name}_token": getattr(self.special, part.name) for part in fields(SpecialTokens)}
        return {name: token for name, token in parts.items() if token is not None}

    @cached_property
    def _added_vocabulary(self) -> Mapping[int, tokenizers.AddedToken]:
        added: Mapping[int, tokenizers.AddedToken] = self.backend.get_added_tokens_decoder()
        return added

    @cached_property
    def _bytes_of(self) -> Callable[[str], bytes]:
        return bytes_of_token(self.backend)

    @cached_property
    def _is_ours(self) -> bool:
        """Whether the pre-tokenizer is the one of `build_pre_tokenizer`, whose cuts are known."""
        mine, ours = self.backend.pre_tokenizer, build_pre_tokenizer()
        return mine is not None and bool(mine.__getstate__() == ours.__getstate__())

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        return without_special_tokens(self._segmenter)

    def _cut(self, text: str) -> list[str]:
        if len(text) < LONG_TEXT or not self._is_ours:
            return [text]
        return list(cut_long_text(text, LONG_TEXT // 2))
