"""A prompt and an answer to it as tokens, of which the answer's are learned."""

from collections.abc import Sequence

from inkstone.core.errors import InputError
from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.examples.records import Turn
from inkstone.nn.layers.loss import IGNORED
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.assistant_spans import taught_texts
from inkstone.train.method import Lesson

Text = Sequence[Turn] | str
"""Messages, or plain text."""


def encode_answer(lesson: Lesson, prompt: Text, answer: Text, where: str) -> TokenSequence:
    """The tokens of a prompt and of an answer, stop token included; prompt tokens are not learned.

    Raises:
        InputError: there is nothing to learn, the chat template does not fit, or the answer alone is too long.
    """
    prompt_ids, answer_ids = answer_ids_of(lesson.tokenizer, prompt, answer, where)
    if not prompt_ids:
        raise InputError("the prompt has no tokens", where=where, remedy="give it some text, or leave the row out")
    if len(answer_ids) >= lesson.max_length:
        raise InputError(
            f"an answer has {len(answer_ids):,} tokens, and {lesson.max_length:,} are allowed with its prompt",
            where=where,
            remedy="shorten it or leave it out: only prompts are cut",
        )
    return TokenSequence.of(prompt_ids + answer_ids, [False] * len(prompt_ids) + [True] * len(answer_ids))


def answer_ids_of(tokenizer: Tokenizer, prompt: Text, answer: Text, where: str) -> tuple[list[int], list[int]]:
    """The ids of a prompt, and those of an answer with its stop token.

    Raises:
        InputError: the chat template does not fit.
    """
    if isinstance(prompt, str) and isinstance(answer, str):
        return _plain(tokenizer, prompt, answer)
    return _rendered(tokenizer, _turns(prompt, "user"), _turns(answer, "assistant"), where)


def num_prompt_tokens(sequence: TokenSequence) -> int:
    """Tokens before the first that is learned."""
    return int((sequence.labels != IGNORED).argmax()) + 1


def cut_prompt(sequence: TokenSequence, num_tokens: int) -> TokenSequence:
    """The sequence without its first `num_tokens` tokens; the last one before the answer stays."""
    start = min(num_tokens, num_prompt_tokens(sequence) - 1)
    return TokenSequence(sequence.input_ids[start:], sequence.labels[start:])


def _plain(tokenizer: Tokenizer, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    ends = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    return tokenizer.encode(prompt), tokenizer.encode_plain(answer) + ends


def _rendered(
    tokenizer: Tokenizer, prompt: Sequence[Turn], answer: Sequence[Turn], where: str
) -> tuple[list[int], list[int]]:
    """What the chat template makes of both; the answer ends with the token that ends its turn."""
    learned = [False] * len(prompt) + [turn.get("role") == "assistant" for turn in answer]
    try:
        taught = taught_texts(tokenizer, [*prompt, *answer], learned)
    except InputError as error:
        raise InputError(error.cause, where=where, remedy=error.remedy) from None
    if len(taught) != 1 or len(taught[0].spans) != 1:
        raise InputError(
            f"an answer has {sum(learned)} turns of the assistant that the chat template does not render as one text",
            where=where,
            remedy="let the answer be one message of the assistant, and put what comes before it into the prompt",
        )
    ((start, end),) = taught[0].spans
    text = taught[0].text
    return tokenizer.encode_rendered(text[:start]), tokenizer.encode_rendered(text[start:end])


def _turns(text: Text, role: str) -> list[Turn]:
    return [{"role": role, "content": text}] if isinstance(text, str) else list(text)
