"""Faults that show before anything is encoded: of a row by itself, and beside those before it."""

from collections import defaultdict
from collections.abc import Collection, Iterator

from inkstone.data.check.faults import Found
from inkstone.data.check.kinds import kind_faults
from inkstone.data.check.leakage import TrainingPrompts
from inkstone.data.check.repeats import Repeats
from inkstone.data.check.texts import TextFaults
from inkstone.data.check.views import view_of
from inkstone.data.examples.records import Example

TRAIN = "train"


class RowFaults:
    """Looks at rows one after the other, those of the training split first.

    Args:
        special_tokens: of the tokenizer that will read them.
    """

    def __init__(self, special_tokens: Collection[str]) -> None:
        self._texts = TextFaults(special_tokens)
        self._repeats: dict[str, Repeats] = defaultdict(Repeats)
        self._prompts = TrainingPrompts()

    def find(self, example: Example, split: str) -> list[Found]:
        """What is wrong with a row of a split."""
        view = view_of(example)
        found = [fault for text in view.texts for fault in self._texts.find(text)]
        found += kind_faults(example)
        found += self._repeats[split].find(example, view)
        if split == TRAIN:
            self._prompts.add(view, example.where)
        else:
            found += self._prompts.find(view)
        return found

    def find_constants(self) -> Iterator[Found]:
        """Columns of the training split with one value, once all of it has been seen."""
        return self._repeats[TRAIN].find_constants()
