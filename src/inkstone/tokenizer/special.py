"""Special tokens: the names Inkstone gives them, and which of them plays which part in a tokenizer."""

from dataclasses import dataclass

BOS = "<|bos|>"
EOS = "<|eos|>"
PAD = "<|pad|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
UNK = "<|unk|>"
MASK = "<|mask|>"

DEFAULT_SPECIAL_TOKENS = (BOS, EOS, PAD, IM_START, IM_END)
"""Ids 0 to 4 of every tokenizer trained here; a character tokenizer has ``<|unk|>`` as id 5."""

END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>")
"""Special tokens that end a message in the chat templates of the field."""


def sentinel(number: int) -> str:
    """The name of a sentinel, which stands for a span that T5's objective took out (Raffel et al. 2020, 3.1.4)."""
    return f"<extra_id_{number}>"


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
    cls: str | None = None
    """Begins a text for an encoder, whose last hidden state there stands for all of it."""
    sep: str | None = None
    """Ends a text for an encoder, and separates the two of a pair."""
    mask: str | None = None
    """Hides a token that a masked language model is to find."""
