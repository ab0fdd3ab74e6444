from fractions import Fraction

import pytest

from inkstone.core.errors import ConfigError, InputError
from inkstone.core.registry import lookup
from inkstone.data.examples.records import Problem
from inkstone.train.rl.config import RLConfig
from inkstone.train.rl.numbers import last_number
from inkstone.train.rl.rewards import matches
from inkstone.train.rl.scoring import Scoring


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12),
        ("The answer is 42.", 42),
        ("答案是42。", 42),
        ("所以一共有４２个苹果。", 42),
        ("12+7=19", 19),
        ("5-3", 3),
        ("5 - 3", 3),
        ("so it is -3", -3),
        ("x=-3", -3),
        ("温度是−3度", -3),
        ("1,234,567 people", 1_234_567),
        ("1,2", 2),
        ("2, 3, 1000", 1000),
        ("0.50", Fraction(1, 2)),
        ("3/4 of it", Fraction(3, 4)),
        ("½", Fraction(1, 2)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        ("$1,200.50", Fraction(2401, 2)),
        ("7 or 3/0", 7),
        ("none", None),
        ("", None),
        ("9" * 5000, None),
        ("-" * 50 + "7", -7),
    ],
)
def test_the_last_number_of_a_text(text: str, number: Fraction | int | None) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("answer", "completion", "reward"),
    [
        ("19", "12+7=19", 1),
        ("19", "19", 1),
        ("19", "20, no: 19", 1),
        ("19", "19, or 20", 0),
        ("1/2", "The half, that is 0.5", 1),
        ("0.5", "因此答案是二分之一,即 1/2。", 1),
        ("1000", "1,000", 1),
        ("Tom has 3 and 4.\n#### 7", "He has 3 + 4 = 7\n#### 7", 1),
        ("Tom has 3 and 4.\n#### 7", "3 + 4 = 7\n#### 8", 0),
        ("7", "#### 7\nAnd now 5 more words", 1),
        ("7", r"We get \boxed{7} after 3 steps", 1),
        ("7", r"First \boxed{3}, then \boxed{\frac{14}{2}} in 5 lines", 1),
        ("7", r"\boxed{7", 1),
        ("7", "no idea", 0),
        ("七", "七", 1),
        ("x+1", r"\boxed{x+1}", 1),
        ("yes", "no", 0),
        ("1.0000000000000000000001", "1", 0),
    ],
)
def test_math_compares_answers_exactly(answer: str, completion: str, reward: float) -> None:
    assert lookup("rewards", "math")(Problem(prompt="?", answer=answer), completion) == reward


def test_exact_and_length_and_format() -> None:
    problem = Problem(prompt="?", answer="北京")
    exact, length = lookup("rewards", "exact"), lookup("rewards", "length")
    assert [exact(problem, text) for text in ("北京", " 北京\n", "北京市", "")] == [1, 1, 0, 0]
    assert [length(problem, text) for text in ("", "北京", "x" * 200)] == [0, -0.02, -2]
    form = matches(r"<think>.*</think>\d+")
    assert [form(problem, text) for text in ("<think>a\nb</think>12", "12", "<think></think>1 2")] == [1, 0, 0]


def test_rewards_are_weighed_and_added() -> None:
    config = RLConfig(rewards={"math": 2, "length": 0.5, "format": 1}, format_pattern=r"\d+")
    scores = Scoring(config)([Problem(prompt="?", answer="7")] * 3, ["7", "it is 7", "8"])
    assert scores.parts["math"].tolist() == [1, 1, 0]
    assert scores.total.tolist() == pytest.approx([2 - 0.005 + 1, 2 - 0.035, 1 - 0.005])


def test_what_a_reward_lacks_is_said() -> None:
    with pytest.raises(InputError, match=r"a\.jsonl:3: the problem has no answer.*\n.*column answer"):
        lookup("rewards", "math")(Problem(prompt="?", where="a.jsonl:3"), "7")
    with pytest.raises(ConfigError, match=r"no reward is called 'maths'.*\n.*math"):
        Scoring(RLConfig(rewards={"maths": 1}))
    with pytest.raises(ConfigError, match="no reward model"):
        Scoring(RLConfig(rewards={"model": 1}))
    with pytest.raises(ConfigError, match="has no weight"):
        Scoring(RLConfig(rewards={"math": 1}), lambda problems, completions: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigError, match="no regular expression"):
        matches("(")
    with pytest.raises(ValueError, match="needs format_pattern"):
        RLConfig(rewards={"format": 1})


def test_a_reward_that_is_no_number_is_refused() -> None:
    from inkstone.core.registry import register

    register("rewards", "test_nan")(lambda problem, completion: float("nan"))
    with pytest.raises(InputError, match=r"p:1: the reward test_nan is nan"):
        Scoring(RLConfig(rewards={"test_nan": 1}))([Problem(prompt="?", where="p:1")], ["x"])
