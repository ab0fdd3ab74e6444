"""Answers by SQuAD's and CMRC 2018's rules, worked out by hand."""

import pytest

from inkstone.evaluate.metrics.answers import AnswerExactMatch, AnswerF1


@pytest.mark.parametrize(
    ("answers", "prediction", "exact", "f1"),
    [
        (("The Black Ink.",), "black ink", 1, 1),
        (("black ink",), "the ink", 0, 2 * 1 * 0.5 / 1.5),
        (("ink", "black ink"), "black ink", 1, 1),  # the best answer counts
        (("four four two",), "four two two", 0, 2 / 3),  # as often as both have them
        (("Paris",), "", 0, 0),
        ((), "", 1, 1),  # there is no answer, and none is given
        ((), "Paris", 0, 0),
        # 6 of 6 units in a row, of 6 there and 8 said.
        (("北京大学医院",), "在北京大学医院里", 0, 2 * 6 / 14),
        # In common are 北京 and 医院; the longer run counts, not their sum: 2 in a row, 4 and 5 units.
        (("北京医院",), "北京的医院", 0, 2 * 2 / 9),
        (("《红楼梦》",), "红楼梦", 1, 1),  # signs do not count
        # 1919 is one unit, 年 another; the prediction has 3 units.
        (("1919年",), "于1919年", 0, 2 * 2 / 5),
        (("使用Python语言",), "使用python语言。", 1, 1),
        (("使用Python语言",), "Python", 0, 2 * 1 / 6),
        (("砚台",), "", 0, 0),
    ],
)
def test_by_hand(answers: tuple[str, ...], prediction: str, exact: float, f1: float) -> None:
    assert AnswerExactMatch().score(answers, prediction) == exact
    assert AnswerF1().score(answers, prediction) == pytest.approx(f1)
