"""A prompt and an answer to it as tokens, of which the answer's are learned."""

from collections.abc import Sequence

from inkstone.core.errors import InputError, located
from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.examples.records import Turn
from inkstone.nn.layers.loss import IGNORED
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.taught import TaughtTokens, encode_completion, encode_taught_chat
from inkstone.train.method import Lesson

Text = Sequence[Turn] | str
"""Messages, or plain text."""


def encode_answer(lesson: Lesson, prompt: Text, answer: Text, where: str) -> TokenSequence:
    """The tokens of a prompt and of an answer, stop token included; prompt tokens are not learned.

    Raises:
        InputError: there is nothing to learn, the chat template does not fit, or the answer alone is too long.
    """
    with located(where):
        ids, learned = _encode(lesson.tokenizer, prompt, answer)
        num_answer = len(ids) - learned.index(1)
        if num_answer >= lesson.max_length:
            raise InputError(
                f"an answer has {num_answer:,} tokens, and {lesson.max_length:,} are allowed with its prompt",
                remedy="shorten it or leave it out: only prompts are cut",
            )
    return TokenSequence.of(ids, learned)


def answer_ids_of(tokenizer: Tokenizer, prompt: Text, answer: Text, where: str) -> tuple[list[int], list[int]]:
    """The ids of a prompt, and those of an answer with its stop token.

    Raises:
        InputError: there is nothing to learn, or the chat template does not fit.
    """
    with located(where):
        ids, learned = _encode(tokenizer, prompt, answer)
    start = learned.index(1)
    return ids[:start], ids[start:]


def num_prompt_tokens(sequence: TokenSequence) -> int:
    """Tokens before the first that is learned."""
    return int((sequence.labels != IGNORED).argmax()) + 1


def cut_prompt(sequence: TokenSequence, num_tokens: int) -> TokenSequence:
    """The sequence without its first `num_tokens` tokens; the last one before the answer stays."""
    start = min(num_tokens, num_prompt_tokens(sequence) - 1)
    return TokenSequence(sequence.input_ids[start:], sequence.labels[start:])


def _encode(tokenizer: Tokenizer, prompt: Text, answer: Text) -> TaughtTokens:
    """As fine-tuning has them; what a template writes after the answer's stop token is left out."""
    if isinstance(prompt, str) and isinstance(answer, str):
        taught = [encode_completion(tokenizer, prompt, answer)]
    else:
        shown = [{**turn, "train": False} for turn in _turns(prompt, "user")]
        taught = encode_taught_chat(tokenizer, [*shown, *_turns(answer, "assistant")])
    if len(taught) > 1:
        raise InputError(
            "an answer has several turns of the assistant, which the chat template does not render as one text",
            remedy="let the answer be one message of the assistant, and put what comes before it into the prompt",
        )
    if not taught or not any(taught[0].learned[1:]):
        raise InputError("nothing of an answer is learned", remedy="give it some text, or leave the row out")
    ids, learned = taught[0]
    if learned[0]:
        raise InputError("the prompt has no tokens", remedy="give it some text, or leave the row out")
    end = len(learned) - learned[::-1].index(1)
    return TaughtTokens(ids[:end], learned[:end])


def _turns(text: Text, role: str) -> list[Turn]:
    return [{"role": role, "content": text}] if isinstance(text, str) else list(text)
