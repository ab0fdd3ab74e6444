"""Prompts and answers as token ids, with what of them is learned; a prompt has the ids it has when it is asked."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from inkstone.core.errors import InputError
from inkstone.tokenizer.assistant_spans import TaughtText, Tools, Turn, learned_turns, taught_texts

if TYPE_CHECKING:
    from inkstone.tokenizer.encoding import Encoding
    from inkstone.tokenizer.tokenizer import Tokenizer


class TaughtTokens(NamedTuple):
    """Tokens of one length."""

    ids: list[int]
    learned: list[int]
    """1 for tokens that are learned, 0 for those that are only shown."""


def encode_taught_chat(
    tokenizer: "Tokenizer", messages: Sequence[Turn], *, tools: Tools | None = None
) -> list[TaughtTokens]:
    """A conversation in which the assistant's turns are learned, with the tokens that end them.

    Usually one sequence; see `taught_texts` for when there are several, and for the errors.
    """
    texts = taught_texts(tokenizer, messages, learned_turns(messages), tools)
    return [_encode(tokenizer, text) for text in texts]


def encode_completion(tokenizer: "Tokenizer", prompt: str, completion: str) -> TaughtTokens:
    """A text and how it goes on, with eos at its end.

    The prompt has the ids of `Tokenizer.encode`, as when it is asked. The completion goes on with those that both
    texts have together, if these begin with the prompt's, or else has the ids of its own. What looks like a special
    token counts as one, in both.
    """
    prompt_ids = tokenizer.encode(prompt)
    together = tokenizer.encode(prompt + completion)
    if together[: len(prompt_ids)] == prompt_ids:
        answer_ids = together[len(prompt_ids) :]
    else:
        answer_ids = tokenizer.encode_rendered(completion)
    if tokenizer.eos_id is not None and answer_ids[-1:] != [tokenizer.eos_id]:
        answer_ids = [*answer_ids, tokenizer.eos_id]
    return TaughtTokens(prompt_ids + answer_ids, [0] * len(prompt_ids) + [1] * len(answer_ids))


def encode_source(tokenizer: "Tokenizer", source: str) -> list[int]:
    """What a decoder is asked to write the target of `source` after: see `encode_source_target`."""
    if tokenizer.chat_template is None:
        return tokenizer.encode(source + _TARGET_FOLLOWS)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": source}], add_generation_prompt=True)
    return tokenizer.encode_rendered(prompt)


def encode_source_target(tokenizer: "Tokenizer", source: str, target: str) -> TaughtTokens:
    """A source and its target for a decoder: the target is the answer to the source as the user's turn.

    Without a chat template it is the line after the source, with eos at its end.

    Raises:
        InputError: as of `taught_texts`.
    """
    if tokenizer.chat_template is None:
        return encode_completion(tokenizer, source + _TARGET_FOLLOWS, target)
    chat = [{"role": "user", "content": source}, {"role": "assistant", "content": target}]
    (taught,) = encode_taught_chat(tokenizer, chat)
    return taught


_TARGET_FOLLOWS = "\n"


def _encode(tokenizer: "Tokenizer", taught: TaughtText) -> TaughtTokens:
    whole = tokenizer.encode_with_offsets(taught.text, add_special_tokens=False)
    learned, crossed = _mark(whole.offsets, taught.spans)
    return _encode_parts(tokenizer, taught, crossed, whole) if crossed else TaughtTokens(whole.ids, learned)


def _mark(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """1 for every token that has a character of a span, and where spans begin inside of a token."""
    learned = [0] * len(offsets)
    crossed = []
    for start, end in spans:
        first = bisect_right(offsets, start, key=itemgetter(1))
        last = bisect_left(offsets, end, key=itemgetter(0))
        learned[first:last] = [1] * (last - first)
        if first < last and offsets[first][0] < start:
            crossed.append(start)
    return learned, crossed


def _encode_parts(tokenizer: "Tokenizer", taught: TaughtText, cuts: Sequence[int], whole: "Encoding") -> TaughtTokens:
    """Encode a text in parts, so that no token holds the end of a prompt and the beginning of its answer."""
    ids, offsets = list[int](), list[tuple[int, int]]()
    for start, end in zip((0, *cuts), (*cuts, len(taught.text)), strict=True):
        part = tokenizer.encode_with_offsets(taught.text[start:end], add_special_tokens=False)
        ids += part.ids
        offsets += [(first + start, last + start) for first, last in part.offsets]
    if tokenizer.decode(ids, skip_special_tokens=False) != tokenizer.decode(whole.ids, skip_special_tokens=False):
        raise InputError(
            "no token ends where the chat template's prompt ends, and an answer alone is encoded otherwise",
            remedy="end the template's generation prompt with a special token or a line break",
        )
    return TaughtTokens(ids, _mark(offsets, taught.spans)[0])
