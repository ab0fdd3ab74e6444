import numpy as np
import pytest

from inkstone.data.packing import PackedSequence
from inkstone.data.span_corruption import CorruptedTexts, SpanCorruption, count_noise

X, Y, Z, END = 100, 101, 102, 1


def test_the_example_of_the_paper() -> None:
    """Raffel et al. 2019, figure 2."""
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week"]
    is_noise = np.array([word in ("for", "inviting", "last") for word in words])
    text = SpanCorruption([X, Y, Z], END).cut(np.arange(10), is_noise)
    # Thank you <X> me to your party <Y> week
    assert text.input_ids.tolist() == [0, 1, X, 4, 5, 6, 7, Y, 9, END]
    # <X> for inviting <Y> last <Z>
    assert text.labels.tolist() == [X, 2, 3, Y, 8, Z, END]


def test_the_whole_text_is_written_back() -> None:
    """Lewis et al. 2019, section 2.2: the input has spans cut out, the decoder writes the original."""
    is_noise = np.isin(np.arange(10), (2, 3, 8))
    text = SpanCorruption([X, Y, Z], END, whole_text=True).cut(np.arange(10), is_noise)
    assert text.input_ids.tolist() == [0, 1, X, 4, 5, 6, 7, Y, 9, END]
    assert text.labels.tolist() == [*range(10), END]


@pytest.mark.parametrize(
    ("length", "density", "mean", "expected"),
    [
        (512, 0.15, 3.0, (77, 26)),
        (100, 0.15, 3.0, (15, 5)),
        (10, 0.5, 1.0, (5, 5)),
        (4, 0.9, 1.0, (3, 1)),
        (2, 0.01, 3.0, (1, 1)),
    ],
)
def test_counts(length: int, density: float, mean: float, expected: tuple[int, int]) -> None:
    assert count_noise(length, density, mean) == expected


@pytest.mark.parametrize(
    ("length", "density", "mean"), [(100, 0.15, 3.0), (64, 0.3, 5.0), (17, 0.5, 2.0), (2, 0.5, 1.0)]
)
def test_spans_have_the_numbers_asked_for(length: int, density: float, mean: float) -> None:
    num_noise, num_spans = count_noise(length, density, mean)
    corruption = SpanCorruption(range(100, 100 + num_spans + 1), END, density, mean)
    seen = set()
    for seed in range(50):
        spans = corruption.random_spans(length, np.random.default_rng(seed))
        assert spans.shape == (length,)
        assert spans.sum() == num_noise
        assert (np.diff(np.concatenate(([False], spans)).astype(int)) == 1).sum() == num_spans
        assert not spans[0]
        assert spans[-1]
        seen.add(tuple(spans))
    assert len(seen) > 20 or length == 2


def test_every_place_is_cut_equally_often() -> None:
    corruption = SpanCorruption(range(100, 110), END)
    spans = np.stack([corruption.random_spans(60, np.random.default_rng(seed)) for seed in range(4000)])
    assert spans.mean() == pytest.approx(9 / 60)
    middle = spans[:, 10:50].mean(0)
    assert middle.min() > 0.1
    assert middle.max() < 0.2


def test_input_and_labels_together_are_the_text() -> None:
    corruption = SpanCorruption([1000 + number for number in range(6)], None)
    text = np.arange(100)
    for seed in range(10):
        source, target = corruption.corrupt(text, np.random.default_rng(seed))
        spans = {int(part[0]): part[1:].tolist() for part in np.split(target, np.flatnonzero(target >= 1000)[1:])}
        restored = [token for each in source for token in (spans[int(each)] if each >= 1000 else [int(each)])]
        assert restored == text.tolist()
        assert [token for token in source if token >= 1000] == [1000, 1001, 1002, 1003, 1004]


def test_what_is_cut_depends_on_seed_and_index_alone() -> None:
    class Plain:
        per_epoch = 9

        def batch(self, start: int, size: int) -> list[PackedSequence]:
            return [PackedSequence(*[np.arange(50) + index] * 4) for index in range(start, start + size)]

    corruption = SpanCorruption(range(200, 220), END)
    whole = CorruptedTexts(Plain(), corruption, seed=1).batch(0, 6)
    part = CorruptedTexts(Plain(), corruption, seed=1).batch(4, 2)
    for one, other in zip(whole[4:], part, strict=True):
        assert one.input_ids.tolist() == other.input_ids.tolist()
        assert one.labels.tolist() == other.labels.tolist()
    assert len({tuple(each.input_ids >= 200) for each in whole}) == 6
    assert len({each.input_ids.shape for each in whole}) == 1
