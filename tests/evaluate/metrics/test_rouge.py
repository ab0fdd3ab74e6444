"""ROUGE against Google's `rouge_score` on English, by hand on Chinese."""

import random

import numpy as np
import pytest

from inkstone.evaluate.metrics.base import metric_named
from inkstone.evaluate.metrics.overlap import longest_common_run, longest_common_subsequence

WORDS = ["ink", "Stone", "the", "brush", "don't", "re-use", "3.14", "x_y", "(paper)", "I", "Ink,", "--"]


def test_equals_rouge_score_on_english() -> None:
    scoring = pytest.importorskip("rouge_score.rouge_scorer")
    scorer = scoring.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    drawn = random.Random(0)
    for _ in range(40):
        reference, prediction = (" ".join(drawn.choices(WORDS, k=drawn.randint(0, 25))) for _ in range(2))
        theirs = scorer.score(reference, prediction)
        for name, expected in theirs.items():
            assert metric_named(name).score(reference, prediction) == pytest.approx(expected.fmeasure, abs=1e-9)


def test_chinese_by_characters() -> None:
    reference, prediction = "磨墨者先注水。", "先注水，磨墨"
    # Six units and five, all five in common; of the pairs 先注, 注水 and 磨墨, out of 5 and 4; in order 先注水.
    assert metric_named("rouge1").score(reference, prediction) == pytest.approx(2 * 5 / 11)
    assert metric_named("rouge2").score(reference, prediction) == pytest.approx(2 * 3 / 9)
    assert metric_named("rougeL").score(reference, prediction) == pytest.approx(2 * 3 / 11)


def test_mixed_text() -> None:
    assert metric_named("rouge1").score("用 Python 3 写", "python3 写") == pytest.approx(2 * 1 / (4 + 2))


def test_common_subsequences_and_runs_against_the_tables_of_textbooks() -> None:
    generator = np.random.default_rng(0)
    for _ in range(100):
        first, second = (generator.integers(0, 4, generator.integers(0, 12)).tolist() for _ in range(2))
        subsequence = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
        run = np.zeros_like(subsequence)
        for i, item in enumerate(first, 1):
            for j, other in enumerate(second, 1):
                same = item == other
                subsequence[i, j] = (
                    subsequence[i - 1, j - 1] + 1 if same else max(subsequence[i - 1, j], subsequence[i, j - 1])
                )
                run[i, j] = run[i - 1, j - 1] + 1 if same else 0
        assert longest_common_subsequence(first, second) == subsequence[-1, -1]
        assert longest_common_run(first, second) == run.max()
