"""What a text becomes: ids with the characters they stand for, and batches of equal length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from inkstone.core.errors import InputError

PaddingSide = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Encoding:
    """One text, or a pair of texts, as ids. All lists have one entry per token."""

    ids: list[int]
    offsets: list[tuple[int, int]]
    """First character and the one after the last, in the original text (of the pair: in its own); (0, 0) for added
    tokens. Several ids share the characters that they write together, as the bytes of one Chinese character do."""
    token_type_ids: list[int]
    """1 in the second text of a pair, in BERT's form; 0 elsewhere."""
    sequence_ids: list[int | None]
    """0 in the text, 1 in its pair, None for tokens that the tokenizer added."""
    num_truncated: int = 0
    """Tokens cut off."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """Rows of ids of the length of the longest; shapes (B, T) as nested lists."""

    input_ids: list[list[int]]
    attention_mask: list[list[int]]
    """1 for tokens, 0 for padding."""
    token_type_ids: list[list[int]]
    encodings: list[Encoding]
    """The rows before padding, with their offsets."""

    @property
    def num_truncated(self) -> list[int]:
        """Tokens cut off each row."""
        return [encoding.num_truncated for encoding in self.encodings]


def pad_batch(
    encodings: Sequence[Encoding], pad_id: int | None, side: PaddingSide, multiple_of: int = 1
) -> EncodedBatch:
    """Fill the shorter rows with `pad_id` up to the longest, rounded up to a multiple.

    Raises:
        InputError: rows differ in length, and there is no pad token.
    """
    longest = max(map(len, encodings), default=0)
    width = -(-longest // multiple_of) * multiple_of
    if pad_id is None and any(len(encoding) < width for encoding in encodings):
        raise InputError(
            "rows of different lengths need padding, and this tokenizer has no pad token",
            remedy="set pad_token in its tokenizer_config.json (its eos token will do), or encode one by one",
        )

    def fill(row: list[int], filler: int) -> list[int]:
        padding = [filler] * (width - len(row))
        return padding + row if side == "left" else row + padding

    return EncodedBatch(
        [fill(encoding.ids, pad_id or 0) for encoding in encodings],
        [fill([1] * len(encoding), 0) for encoding in encodings],
        [fill(encoding.token_type_ids, 0) for encoding in encodings],
        list(encodings),
    )


def cut_to_length(encoding: Encoding, max_length: int, side: PaddingSide) -> Encoding:
    """Cut a text, or the longer text of a pair first, at one side; added tokens stay.

    Raises:
        InputError: the added tokens alone are more than `max_length`.
    """
    if len(encoding) <= max_length:
        return encoding
    return select(encoding, kept_tokens(encoding.sequence_ids, max_length, side))


def select(encoding: Encoding, kept: Sequence[int]) -> Encoding:
    """The tokens `kept` alone; the others count as truncated."""
    return Encoding(
        [encoding.ids[n] for n in kept],
        [encoding.offsets[n] for n in kept],
        [encoding.token_type_ids[n] for n in kept],
        [encoding.sequence_ids[n] for n in kept],
        encoding.num_truncated + len(encoding) - len(kept),
    )


def kept_tokens(sequence_ids: Sequence[int | None], max_length: int, side: PaddingSide = "right") -> list[int]:
    """Indices of the tokens that are left when those of a text, or of the longer of a pair first, are cut at one side.

    Args:
        sequence_ids: of `Encoding`.
        max_length: tokens to keep at most; added ones are always kept.
        side: where texts are cut.

    Raises:
        InputError: the added tokens alone are more than `max_length`.
    """
    counts = [sequence_ids.count(0), sequence_ids.count(1)]
    num_added = len(sequence_ids) - sum(counts)
    if num_added > max_length:
        raise InputError(f"max_length {max_length} has no room for {num_added} added tokens", remedy="set a larger one")
    shares = _share_of_each(counts[0], counts[1], max_length - num_added)
    kept: list[int] = []
    seen = [0, 0]
    for n, sequence in enumerate(sequence_ids):
        if sequence is not None:
            at = seen[sequence]
            seen[sequence] += 1
            if at >= shares[sequence] if side == "right" else at < counts[sequence] - shares[sequence]:
                continue
        kept.append(n)
    return kept


def _share_of_each(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens each text of a pair keeps when the longer one is cut first, down to `room` in all."""
    if first <= second:
        kept = min(first, room // 2)
        return kept, room - kept
    kept = min(second, room // 2)
    return room - kept, kept
