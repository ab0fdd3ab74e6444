"""The stage `arithmetic`: sums to learn from, whose answers can be checked."""

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from inkstone.core.config import Config
from inkstone.core.errors import ConfigError
from inkstone.core.files import atomic_file, write_json
from inkstone.core.stage import Summary, stage
from inkstone.data.examples.formats.problems import ProblemsFormat
from inkstone.data.examples.records import Problem
from inkstone.data.examples.splits import SPLITS, is_for_test, is_for_validation

Operation = Literal["add", "subtract"]
Form = Literal["equation", "english", "chinese"]
_SIGNS: Mapping[Operation, str] = {"add": "+", "subtract": "-"}
_WORDINGS: Mapping[Form, Mapping[Operation, tuple[str, ...]]] = {
    "equation": {"add": ("{a}+{b}=",), "subtract": ("{a}-{b}=",)},
    "english": {
        "add": ("What is {a} plus {b}?\n", "Add {a} and {b}.\n", "How much is {a} and {b}?\n"),
        "subtract": ("What is {a} minus {b}?\n", "Subtract {b} from {a}.\n", "How much is {a} less {b}?\n"),
    },
    "chinese": {
        "add": ("{a}加{b}等于多少？\n", "{a}与{b}的和是多少？\n", "求{a}加上{b}的结果。\n"),
        "subtract": ("{a}减{b}等于多少？\n", "{a}与{b}的差是多少？\n", "求{a}减去{b}的结果。\n"),
    },
}
_TRIES = 100
"""Draws for each problem that is wanted, before it counts as certain that there are not so many."""


class ArithmeticConfig(Config):
    """Settings of the stage `arithmetic`."""

    train: int = Field(default=4000, gt=0)
    """Problems to learn from."""
    valid: int = Field(default=200, ge=0)
    """Problems for validation."""
    test: int = Field(default=500, ge=0)
    """Problems for the test."""
    digits: int = Field(default=2, ge=1, le=9)
    """Most digits of a number; shorter ones are as frequent."""
    operations: tuple[Operation, ...] = ("add", "subtract")
    """What is done with two numbers; a difference is never negative."""
    forms: tuple[Form, ...] = ("equation", "english", "chinese")
    """How it is asked."""
    held_out: float = Field(default=0.2, gt=0, lt=1)
    """Share of all sums that only validation and test ask: however it is put and whatever the seed, a sum is asked on
    one side only."""
    seed: int = 0
    """Of what is drawn."""


class Sum(NamedTuple):
    """Two numbers and what is done with them."""

    operation: Operation
    a: int
    b: int

    @property
    def answer(self) -> int:
        """The result."""
        return self.a + self.b if self.operation == "add" else self.a - self.b


def outline(config: ArithmeticConfig, inputs: Mapping[str, Path], out: Path) -> None:
    """The problems themselves: they are made in no time."""
    arithmetic.run(config, inputs, out)


@stage("arithmetic", outline=outline)
def arithmetic(config: ArithmeticConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Make up problems of addition and subtraction in English, Chinese and as equations."""
    if not config.operations or not config.forms:
        raise ConfigError("nothing is asked", where="operations and forms", remedy="give at least one of each")
    to_row = ProblemsFormat().to_row
    counts = {split: getattr(config, split) for split in SPLITS}
    for split, count in counts.items():
        with atomic_file(out / f"{split}.jsonl", "w") as file:
            file.writelines(
                json.dumps(to_row(problem), ensure_ascii=False) + "\n" for problem in problems(config, split, count)
            )
    settings = config.model_dump(mode="json")
    write_json(out / "card.json", {"format": ProblemsFormat.name, "splits": counts, "settings": settings})
    return {"format": ProblemsFormat.name, **counts}


def problems(config: ArithmeticConfig, split: str, count: int) -> Iterator[Problem]:
    """So many different problems of a split.

    Raises:
        ConfigError: there are not so many.
    """
    draw = random.Random(f"{config.seed}:{split}")
    seen: set[str] = set()
    for _ in range(count * _TRIES):
        if len(seen) == count:
            return
        one = _sum(draw, config)
        form = draw.choice(config.forms)
        prompt = draw.choice(_WORDINGS[form][one.operation]).format(a=one.a, b=one.b)
        if prompt not in seen and split_of_sum(one, config.held_out) == split:
            seen.add(prompt)
            yield Problem(prompt=prompt, answer=str(one.answer), facts={"operation": one.operation, "form": form})
    if len(seen) < count:
        raise ConfigError(
            f"only {len(seen):,} different problems were found, and {count:,} are wanted",
            where=split,
            remedy="allow more digits or forms, or ask for fewer",
        )


def split_of_sum(one: Sum, held_out: float) -> str:
    """The split in which a sum is asked, whatever the seed; half of what is held out is for the test."""
    key = f"{one.a}{_SIGNS[one.operation]}{one.b}"
    if is_for_test(key, held_out / 2):
        return "test"
    return "valid" if is_for_validation(key, held_out / 2) else "train"


def _sum(draw: random.Random, config: ArithmeticConfig) -> Sum:
    numbers = [draw.randrange(10 ** draw.randint(1, config.digits)) for _ in range(2)]
    operation = draw.choice(config.operations)
    if operation == "subtract":
        numbers.sort(reverse=True)
    return Sum(operation, *numbers)
