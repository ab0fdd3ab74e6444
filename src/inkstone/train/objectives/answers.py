"""A prompt and an answer to it as tokens, of which the answer's are learned."""

from inkstone.core.errors import located
from inkstone.data.examples.answers import encode_prompt_and_answer
from inkstone.data.examples.encoded import TokenSequence, TooLongError
from inkstone.data.examples.records import TurnsOrText
from inkstone.nn.layers.loss import IGNORED
from inkstone.train.method import Lesson


def encode_answer(lesson: Lesson, prompt: TurnsOrText, answer: TurnsOrText, where: str) -> TokenSequence:
    """The tokens of a prompt and of an answer, stop token included; prompt tokens are not learned.

    Raises:
        InputError: there is nothing to learn, or the chat template does not fit.
        TooLongError: the answer alone is too long.
    """
    with located(where):
        ids, learned = encode_prompt_and_answer(lesson.tokenizer, prompt, answer)
    num_answer = len(ids) - learned.index(1)
    if num_answer >= lesson.max_length:
        raise TooLongError(
            f"an answer has {num_answer:,} tokens, and {lesson.max_length:,} are allowed with its prompt",
            where=where,
            remedy="shorten it, or set truncate to leave such rows out: only prompts are cut",
        )
    return TokenSequence.of(ids, learned)


def num_prompt_tokens(sequence: TokenSequence) -> int:
    """Tokens before the first that is learned."""
    return int((sequence.labels != IGNORED).argmax()) + 1


def cut_prompt(sequence: TokenSequence, num_tokens: int) -> TokenSequence:
    """The sequence without its first `num_tokens` tokens; the last one before the answer stays."""
    start = min(num_tokens, num_prompt_tokens(sequence) - 1)
    return TokenSequence(sequence.input_ids[start:], sequence.labels[start:])
