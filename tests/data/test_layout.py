"""Rows of a batch, laid out by hand."""

import pytest

from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.layout import PADDING, fill, lay_out
from inkstone.nn.layers.loss import IGNORED

NO = IGNORED
SEQUENCES = [TokenSequence.of(ids, [0, *[1] * (len(ids) - 1)]) for ids in ([11, 12], [21, 22, 23, 24], [31], [41, 42])]


def test_labels_are_the_next_token_where_it_is_learned() -> None:
    sequence = TokenSequence.of([5, 6, 7, 8], [1, 0, 1, 1])
    assert sequence.labels.tolist() == [NO, 7, 8, NO]
    assert (sequence.length, sequence.num_targets) == (4, 2)


def test_packed_rows_hold_whole_sequences_that_count_from_zero() -> None:
    batch = {name: values.tolist() for name, values in lay_out(SEQUENCES, packed=True, pad_id=9).items()}
    assert batch == {
        "input_ids": [[21, 22, 23, 24], [11, 12, 41, 42], [31, 9, 9, 9]],
        "labels": [[22, 23, 24, NO], [12, NO, 42, NO], [NO, NO, NO, NO]],
        "position_ids": [[0, 1, 2, 3], [0, 1, 0, 1], [0, 0, 0, 0]],
        "segment_ids": [[0, 0, 0, 0], [0, 0, 1, 1], [0, PADDING, PADDING, PADDING]],
        "sequence_ids": [[1, 1, 1, 1], [0, 0, 3, 3], [2, PADDING, PADDING, PADDING]],
    }


def test_rows_padded_on_the_right_need_no_positions_and_those_on_the_left_do() -> None:
    right = lay_out(SEQUENCES[:2], pad_id=9)
    assert right.keys() == {"input_ids", "labels", "sequence_ids"}
    assert right["input_ids"].tolist() == [[11, 12, 9, 9], [21, 22, 23, 24]]
    assert right["labels"].tolist() == [[12, NO, NO, NO], [22, 23, 24, NO]]
    left = lay_out(SEQUENCES[:2], padding_side="left", pad_id=9)
    assert left["input_ids"].tolist() == [[9, 9, 11, 12], [21, 22, 23, 24]]
    assert left["position_ids"].tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]
    assert left["segment_ids"].tolist() == [[PADDING, PADDING, 0, 0], [0, 0, 0, 0]]
    assert lay_out(SEQUENCES[:1], padding_side="left").keys() == right.keys()


@pytest.mark.parametrize(("side", "expected"), [("right", [[1, 2], [3, 0]]), ("left", [[1, 2], [0, 3]])])
def test_rows_are_filled_at_one_side(side: str, expected: list[list[int]]) -> None:
    assert fill([[1, 2], [3]], 0, side).tolist() == expected  # type: ignore[arg-type]
