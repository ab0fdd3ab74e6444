"""The check itself: every row of every split, once."""

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from inkstone.core.progress import progress
from inkstone.data.check.encodings import Encodings, Limits
from inkstone.data.check.faults import MALFORMED, NO_EXAMPLES, Found, found_in
from inkstone.data.check.findings import Findings
from inkstone.data.check.kinds import kind_faults
from inkstone.data.check.leakage import TrainingPrompts
from inkstone.data.check.repeats import Repeats
from inkstone.data.check.report import CheckedSplit, CheckReport
from inkstone.data.check.texts import TextFaults
from inkstone.data.check.views import view_of
from inkstone.data.examples.encoded import Encoded
from inkstone.data.examples.read import SPLITS, ExampleSet
from inkstone.data.examples.records import Example
from inkstone.tokenizer import Tokenizer

T = TypeVar("T", bound=Encoded)
TRAIN = "train"


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
    rows = _Rows(report.findings, TextFaults(tokenizer.special_tokens))
    with progress("check", sum(map(len, data.splits.values())), "example") as bar:
        for split in sorted(data.splits, key=_order):
            checked = report.splits[split] = CheckedSplit[T]()
            rows.begin(split)
            for example in data.splits[split]:
                rows.look_at(example)
                if encodings is None:
                    checked.add_unencoded(example)
                else:
                    fitted, faults = encodings.of(example)
                    checked.add(example, fitted)
                    for found in faults:
                        report.findings.add(found, example.where)
                bar.update()
            rows.end(split)
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


class _Rows:
    """Looks at examples one after the other, before they are encoded."""

    def __init__(self, findings: Findings, texts: TextFaults) -> None:
        self._findings, self._texts = findings, texts
        self._prompts = TrainingPrompts()
        self._split, self._repeats = "", Repeats()

    def begin(self, split: str) -> None:
        """Go on with another split."""
        self._split, self._repeats = split, Repeats()

    def end(self, split: str) -> None:
        """Say what shows only when all rows of a split have been seen."""
        for found in self._repeats.find_constants() if split == TRAIN else ():
            self._findings.add(found, split)

    def look_at(self, example: Example) -> None:
        """Find what is wrong with an example, by itself and beside those before it."""
        view = view_of(example)
        found = [fault for text in view.texts for fault in self._texts.find(text)]
        found += kind_faults(example)
        found += self._repeats.find(example, view)
        if self._split == TRAIN:
            self._prompts.add(view, example.where)
        else:
            found += self._prompts.find(view)
        for each in found:
            self._findings.add(each, example.where)
