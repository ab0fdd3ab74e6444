"""Problems as token ids to go on from."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from inkstone.core.errors import InputError, located
from inkstone.data.examples.records import Example, Problem
from inkstone.tokenizer import Tokenizer
from inkstone.train.method import Encode, Lesson
from inkstone.train.rl.config import RLConfig


class Prompt(NamedTuple):
    """A problem, and the tokens after which the model answers it."""

    input_ids: tuple[int, ...]
    problem: Problem

    @property
    def length(self) -> int:
        """Tokens of the prompt."""
        return len(self.input_ids)

    @property
    def num_targets(self) -> int:
        """One problem."""
        return 1


def prompt_encoder(lesson: Lesson, config: RLConfig, check: Callable[[Problem], object]) -> Encode[Prompt]:
    """What encodes problems; it refuses those that `check` does, and those that leave too little room for an answer."""

    def encode(example: Example) -> Sequence[Prompt]:
        assert isinstance(example, Problem)
        check(example)
        prompt_ids = prompt_ids_of(lesson.tokenizer, example)
        if not prompt_ids:
            raise InputError("the prompt has no tokens", where=example.where, remedy="give it some text")
        if len(prompt_ids) + config.max_new_tokens > lesson.max_length:
            raise InputError(
                f"the prompt has {len(prompt_ids):,} tokens, which with {config.max_new_tokens:,} of a completion are "
                f"more than the {lesson.max_length:,} allowed",
                where=example.where,
                remedy="lower rl.max_new_tokens, shorten the prompt or leave it out",
            )
        return [Prompt(tuple(prompt_ids), example)]

    return encode


def prompt_ids_of(tokenizer: Tokenizer, problem: Problem) -> list[int]:
    """The tokens after which the answer begins: of plain text as it is, of messages as the chat template has them."""
    if isinstance(problem.prompt, str):
        return tokenizer.encode(problem.prompt)
    with located(problem.where):
        return tokenizer.encode_chat(problem.prompt, add_generation_prompt=True).ids
