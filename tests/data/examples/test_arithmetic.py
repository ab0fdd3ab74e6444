import json
import re
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.errors import ConfigError
from inkstone.core.stage import execute
from inkstone.data.examples.arithmetic import ArithmeticConfig, Sum, arithmetic, split_of_sum
from inkstone.data.examples.config import ExamplesConfig
from inkstone.data.examples.read import read_examples
from inkstone.data.examples.records import Problem


def made(out: Path, **settings: Any) -> dict[str, list[Problem]]:
    execute(arithmetic, ArithmeticConfig(**{"train": 300, "valid": 50, "test": 50} | settings), {}, out)
    return read_examples(out, ExamplesConfig(), ("problems",)).splits  # type: ignore[return-value]


def sum_of(problem: Problem) -> Sum:
    first, second = map(int, re.findall(r"\d+", str(problem.prompt)))
    if "Subtract" in str(problem.prompt):
        first, second = second, first
    return Sum(problem.facts["operation"], first, second)


def test_answers_are_right_in_every_wording(tmp_path: Path) -> None:
    splits = made(tmp_path, digits=3)
    assert {split: len(problems) for split, problems in splits.items()} == {"train": 300, "valid": 50, "test": 50}
    everything = [problem for problems in splits.values() for problem in problems]
    assert {problem.facts["form"] for problem in everything} == {"equation", "english", "chinese"}
    for problem in everything:
        one = sum_of(problem)
        assert problem.answer == str(one.a + one.b if one.operation == "add" else one.a - one.b)
        assert one.answer >= 0
        assert max(one.a, one.b) < 1000
        assert not re.search(r"[一-鿿]", str(problem.prompt)) or problem.facts["form"] == "chinese"


def test_a_sum_is_on_one_side_whatever_the_seed_and_the_wording(tmp_path: Path) -> None:
    sides: dict[Sum, set[str]] = {}
    for seed in range(3):
        for split, problems in made(tmp_path / str(seed), seed=seed).items():
            assert len({problem.prompt for problem in problems}) == len(problems)
            for problem in problems:
                sides.setdefault(sum_of(problem), set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    assert all(split_of_sum(one, 0.2) in side for one, side in sides.items())


def test_the_same_seed_makes_the_same_problems(tmp_path: Path) -> None:
    first, same, other = (made(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    prompts = [[problem.prompt for problem in splits["train"]] for splits in (first, same, other)]
    assert prompts[0] == prompts[1] != prompts[2]
    assert json.loads((tmp_path / "a" / "card.json").read_text())["format"] == "problems"


def test_more_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train: only \d+ different problems were found, and 300 are wanted"):
        made(tmp_path / "few", digits=1, forms=["equation"])
    with pytest.raises(ConfigError, match="nothing is asked"):
        made(tmp_path / "none", forms=[])
