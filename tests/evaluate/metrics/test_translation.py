"""BLEU and chrF are sacreBLEU's, to the last digit; intervals and p-values agree with its own resampling."""

import random

import pytest

from inkstone.evaluate.measure import difference, measure
from inkstone.evaluate.metrics.base import metric_named

sacrebleu = pytest.importorskip("sacrebleu")

ENGLISH = ("the ink is black .", "A brush, a stone!", "he said: 'write it down'", "rivers run to the sea")
CHINESE = ("墨分五色，筆走龍蛇。", "我们今天去北京。", "他说 OK，然后走了", "水滴石穿")


def corpus(lines: tuple[str, ...], seed: int, noise: float) -> tuple[list[str], list[str]]:
    drawn = random.Random(seed)
    references = [" ".join(drawn.choices(lines, k=3)) for _ in range(40)]
    return references, [
        "".join(character for character in line if drawn.random() > noise or character == " ") for line in references
    ]


@pytest.mark.parametrize(("lines", "tokenizer"), [(ENGLISH, "13a"), (CHINESE, "zh")])
def test_equals_sacrebleu(lines: tuple[str, ...], tokenizer: str) -> None:
    references, predictions = corpus(lines, 0, 0.05)
    measured = measure(
        [metric_named("bleu"), metric_named("chrf")], references, {"m": predictions}, num_resamples=50, seed=0
    )["m"]
    bleu = sacrebleu.BLEU(tokenize=tokenizer)
    chrf = sacrebleu.CHRF()
    assert measured["bleu"].estimate.value == pytest.approx(bleu.corpus_score(predictions, [references]).score)
    assert measured["chrf"].estimate.value == pytest.approx(chrf.corpus_score(predictions, [references]).score)
    assert measured["bleu"].estimate.value > 20
    assert metric_named("bleu").signature(references) == str(bleu.get_signature())
    assert metric_named("chrf").signature(references) == str(chrf.get_signature())
    assert f"tok:{tokenizer}" in str(metric_named("bleu").signature(references))
    alone = [
        chrf.sentence_score(*pair).score for pair in zip(predictions, ([each] for each in references), strict=True)
    ]
    assert measured["chrf"].example_values == pytest.approx(alone)


def test_japanese_is_cut_into_characters() -> None:
    assert "tok:char" in str(metric_named("bleu").signature(["硯で墨を磨ります。", "川は海へ流れる"]))


def test_nothing_predicted_is_worth_nothing() -> None:
    measured = measure(
        [metric_named("bleu"), metric_named("chrf")], list(CHINESE), {"m": [""] * 4}, num_resamples=9, seed=0
    )
    assert measured["m"]["bleu"].estimate.value == measured["m"]["chrf"].estimate.value == 0


def test_paired_difference_agrees_with_sacrebleu() -> None:
    from sacrebleu.significance import PairedTest

    references, better = corpus(ENGLISH, 1, 0.02)
    worse = [corpus(ENGLISH, 1, 0.02)[1][i] if i % 3 else line.replace("e", "", 2) for i, line in enumerate(better)]
    measured = measure(
        [metric_named("chrf")], references, {"worse": worse, "better": better}, num_resamples=2000, seed=0
    )
    found = difference(measured["worse"]["chrf"], measured["better"]["chrf"])
    systems = [("better", better), ("worse", worse)]
    _, scores = PairedTest(systems, {"CHRF": sacrebleu.CHRF()}, [references], test_type="bs", n_samples=2000)()
    better_score, theirs = next(each for name, each in scores.items() if name != "System")
    assert found.value == pytest.approx(theirs.score - better_score.score)
    assert found.p_value == pytest.approx(theirs.p_value, abs=0.03)
