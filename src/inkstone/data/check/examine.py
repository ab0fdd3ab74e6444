"""The check itself: every row of every split, once."""

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from inkstone.core.progress import progress
from inkstone.data.check.encodings import Encodings, Limits
from inkstone.data.check.faults import MALFORMED, NO_EXAMPLES, Found, found_in
from inkstone.data.check.report import CheckedSplit, CheckReport
from inkstone.data.check.rows import TRAIN, RowFaults
from inkstone.data.examples.encoded import Encoded
from inkstone.data.examples.read import SPLITS, ExampleSet
from inkstone.data.examples.records import Example
from inkstone.tokenizer import Tokenizer

T = TypeVar("T", bound=Encoded)


def _length(encoding: Encoded) -> int:
    return encoding.length


def examine(
    data: ExampleSet,
    encode: Callable[[Example], Sequence[T]] | None,
    *,
    tokenizer: Tokenizer,
    max_length: int,
    longest: Callable[[T], int] = _length,
    cut: Callable[[T, int], T] | None = None,
    truncate: bool = False,
    stop_ids: Collection[int] = (),
) -> CheckReport[T]:
    """Encode all examples and find their faults.

    Args:
        data: the examples, with the rows that could not be read.
        encode: one example → its encodings, whole; None to look at the rows only.
        tokenizer: the model's.
        max_length: tokens that an encoding may have.
        longest: tokens of an encoding that count.
        cut: an encoding cut to so many tokens; None where that cannot be.
        truncate: cut encodings that are longer, and count them; without it they are errors.
        stop_ids: tokens that end what the model writes.
    """
    report = CheckReport[T](data.format, max_length)
    for error in data.faults:
        report.findings.add(found_in(error, MALFORMED), error.where or "")
    if not data.splits.get(TRAIN):
        report.findings.add(Found(NO_EXAMPLES, "there are no training examples"), "")
    encodings = None
    if encode is not None:
        stops = {token: str(tokenizer.backend.id_to_token(token)) for token in stop_ids}
        encodings = Encodings(encode, Limits(max_length, longest, cut, truncate), stops, tokenizer.unk_id)
    rows = RowFaults(tokenizer.special_tokens)
    with progress("check", sum(map(len, data.splits.values())), "example") as bar:
        for split in sorted(data.splits, key=_order):
            checked = report.splits[split] = CheckedSplit[T]()
            for example in data.splits[split]:
                fitted, faults = (None, []) if encodings is None else encodings.of(example)
                checked.add(example, fitted)
                for found in (*rows.find(example, split), *faults):
                    report.findings.add(found, example.where)
                bar.update()
    train = report.splits.get(TRAIN)
    if encodings and train is not None and train.num_dropped == train.num_examples > 0 and not report.num_errors:
        report.findings.add(Found(NO_EXAMPLES, "truncation leaves nothing that is learned of any"), "")
    for found in rows.find_constants():
        report.findings.add(found, TRAIN)
    _compare_labels(report)
    return report


def _order(split: str) -> int:
    """Training examples come first: the others are compared with them."""
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)


def _compare_labels(report: CheckReport[T]) -> None:
    train = report.splits.get(TRAIN)
    if train is None or not train.num_examples:
        return
    for found, where in train.balance.find():
        report.findings.add(found, where)
    for name, split in report.splits.items():
        for found, where in split.balance.find_unseen(train.balance) if name != TRAIN else ():
            report.findings.add(found, where)
