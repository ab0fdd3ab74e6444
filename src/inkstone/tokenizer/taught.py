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


def encode_answer(tokenizer: "Tokenizer", prompt: Sequence[Turn] | str, answer: Sequence[Turn] | str) -> TaughtTokens:
    """A prompt, and an answer of which all that the assistant says is learned.

    Args:
        tokenizer: with a chat template, where they are messages.
        prompt: messages, or text.
        answer: messages, or the text that comes right after the prompt; it ends with eos.

    Raises:
        InputError: as of `taught_texts`; or one is text and the other messages, or nothing is learned.
    """
    if isinstance(prompt, str) and isinstance(answer, str):
        return encode_completion(tokenizer, prompt, answer)
    if isinstance(prompt, str) or isinstance(answer, str):
        raise InputError("prompt and answer are of two kinds", remedy="give both as text, or both as messages")
    learned = [False] * len(prompt) + learned_turns(answer)
    texts = taught_texts(tokenizer, [*prompt, *answer], learned)
    if len(texts) != 1:
        raise InputError(
            f"an answer makes {len(texts)} texts that are learned, not 1",
            remedy="end with one turn of the assistant" if texts else "give a turn of the assistant",
        )
    return _encode(tokenizer, texts[0])


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
