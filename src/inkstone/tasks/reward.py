"""How good answers are, in the eyes of a reward model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from inkstone.core.errors import InputError
from inkstone.tasks.headed import logits_of, with_head_of

if TYPE_CHECKING:
    from inkstone.data.examples.records import TurnsOrText
    from inkstone.nn.models.base import Model
    from inkstone.tokenizer import Tokenizer


def rewards(
    model: "Model", tokenizer: "Tokenizer", prompts: "Sequence[TurnsOrText]", answers: "Sequence[TurnsOrText]"
) -> list[float]:
    """The reward of each answer to its prompt, read as the method `reward` taught it.

    Rewards have no unit: only differences between answers to the same prompt mean something; the logistic function of
    one is the probability that the first is preferred (Bradley & Terry 1952).

    Args:
        model: with a sequence head of one output.
        tokenizer: the model's own.
        prompts: messages, or plain texts.
        answers: likewise, one for each prompt.

    Raises:
        InputError: the model gives no rewards, or prompt and answer are longer than its context.
    """
    from inkstone.data.examples.answers import sequence_to_judge

    headed = with_head_of(model, "sequence")
    if headed.head_config.num_outputs != 1:
        raise InputError(
            f"the model gives {headed.head_config.num_outputs} numbers for a text, no reward",
            where="model",
            remedy="teach one: the stage finetune with the method reward",
        )
    if len(prompts) != len(answers):
        raise InputError(f"{len(prompts)} prompts and {len(answers)} answers", where="answers", remedy="give as many")
    sequences = [
        sequence_to_judge(tokenizer, prompt, answer, headed.context, f"answers[{number}]", remedy="shorten the prompt")
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]
    rows = [sequence.input_ids.tolist() for sequence in sequences]
    return [float(logits[0]) for logits in logits_of(headed, rows, [[0] * len(row) for row in rows], tokenizer.pad_id)]
