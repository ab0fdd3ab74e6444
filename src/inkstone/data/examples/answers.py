"""A prompt and an answer to it as tokens, the same wherever a model reads both."""

from inkstone.core.errors import InputError, located
from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.examples.records import Turn, TurnsOrText
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.taught import TaughtTokens, encode_completion, encode_taught_chat


def answer_ids_of(
    tokenizer: Tokenizer, prompt: TurnsOrText, answer: TurnsOrText, where: str
) -> tuple[list[int], list[int]]:
    """The ids of a prompt, and those of an answer with its stop token.

    Raises:
        InputError: there is nothing to learn, or the chat template does not fit.
    """
    with located(where):
        ids, learned = encode_prompt_and_answer(tokenizer, prompt, answer)
    start = learned.index(1)
    return ids[:start], ids[start:]


def sequence_to_judge(
    tokenizer: Tokenizer, prompt: TurnsOrText, answer: TurnsOrText, context: int, where: str, *, remedy: str
) -> TokenSequence:
    """A prompt and an answer with its stop token, as a reward model reads them.

    Raises:
        InputError: they are longer than its `context`, against which `remedy` helps; or as of `answer_ids_of`.
    """
    with located(where):
        sequence = TokenSequence.of(*encode_prompt_and_answer(tokenizer, prompt, answer))
        if sequence.length > context:
            raise InputError(
                f"prompt and answer have {sequence.length:,} tokens, and the reward model reads {context:,}",
                remedy=remedy,
            )
    return sequence


def encode_prompt_and_answer(tokenizer: Tokenizer, prompt: TurnsOrText, answer: TurnsOrText) -> TaughtTokens:
    """As fine-tuning has them; what a template writes after the answer's stop token is left out.

    Raises:
        InputError: there is nothing to learn, or the chat template does not fit.
    """
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


def _turns(text: TurnsOrText, role: str) -> list[Turn]:
    return [{"role": role, "content": text}] if isinstance(text, str) else list(text)
