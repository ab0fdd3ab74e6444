"""Rewards that can be computed: a plug-in of the entry point group `inkstone.rewards` is a function like these."""

import re
import unicodedata
from collections.abc import Callable

from inkstone.core.errors import ConfigError, InputError
from inkstone.data.examples.records import Problem
from inkstone.train.rl.numbers import answer_of, last_number

Reward = Callable[[Problem, str], float]
"""A problem and the text of a completion → how good that is; higher is better.

Raises InputError where the problem lacks what is needed. It is called once with an empty completion for every problem
before training, so that this is noticed in time.
"""
_CHARACTERS = 100


def math(problem: Problem, completion: str) -> float:
    r"""1 where the completion's answer is the reference's number, else 0.

    The answer is what stands in the last \boxed{…} or after the last ####, and in that, or in a text without either,
    the last number. Numbers are compared exactly, as rationals: 0.5 is 1/2. Where the reference has no number, the
    texts of the answers are compared.
    """
    wanted, given = answer_of(_reference(problem)), answer_of(completion)
    number = last_number(wanted)
    if number is None:
        return float(_plain(wanted) == _plain(given))
    return float(last_number(given) == number)


def exact(problem: Problem, completion: str) -> float:
    """1 where the completion is the reference, apart from space around it and the width of characters, else 0."""
    return float(_plain(completion) == _plain(_reference(problem)))


def length(problem: Problem, completion: str) -> float:
    """Minus the completion's characters, in hundreds: against needless length."""
    return -len(completion.strip()) / _CHARACTERS


def matches(pattern: str) -> Reward:
    """The reward `format`: 1 where a regular expression matches the whole completion, else 0; `.` matches line breaks.

    Raises:
        ConfigError: it is no regular expression.
    """
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"{pattern!r} is no regular expression: {error}", where="rl.format_pattern") from None
    return lambda problem, completion: float(compiled.fullmatch(completion.strip()) is not None)


def _reference(problem: Problem) -> str:
    if problem.answer is None:
        raise InputError(
            "the problem has no answer to compare with",
            where=problem.where,
            remedy="give the column answer, or choose a reward that needs none",
        )
    return problem.answer


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip()
