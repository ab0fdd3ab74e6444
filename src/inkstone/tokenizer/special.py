"""Special tokens: the names Inkstone gives them, and which of them plays which part in a tokenizer."""

from dataclasses import dataclass

BOS = "<|bos|>"
EOS = "<|eos|>"
PAD = "<|pad|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
UNK = "<|unk|>"

DEFAULT_SPECIAL_TOKENS = (BOS, EOS, PAD, IM_START, IM_END)
"""Ids 0 to 4 of every tokenizer trained here; a character tokenizer has ``<|unk|>`` as id 5."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The tokens with a part to play; None where a tokenizer has none for it."""

    bos: str | None = None
    """Begins every document; added by the tokenizer's post-processor."""
    eos: str | None = None
    """Ends every document; added by whoever packs documents, never by the tokenizer."""
    pad: str | None = None
    unk: str | None = None
    """Stands for text that the vocabulary cannot write; byte-level tokenizers need none."""
