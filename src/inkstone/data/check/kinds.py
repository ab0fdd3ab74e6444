"""Faults within one example that only its kind can have, and that its format lets pass."""

from collections.abc import Iterator
from functools import singledispatch

from inkstone.data.check.faults import COPIED, SPAN_EDGE, Found
from inkstone.data.check.findings import shown
from inkstone.data.examples.records import Example, LabeledSpans, Pair


@singledispatch
def kind_faults(example: Example) -> Iterator[Found]:
    """The faults of an example; none of a kind without rules of its own."""
    yield from ()


@kind_faults.register
def _(example: Pair) -> Iterator[Found]:
    if example.source_text.strip() == example.target_text.strip():
        yield Found(COPIED, f"both are {shown(example.source_text)}")


@kind_faults.register
def _(example: LabeledSpans) -> Iterator[Found]:
    for start, end, label in example.spans:
        named = example.text[start:end]
        if named != named.strip():
            yield Found(SPAN_EDGE, f"{label} from {start} to {end} is {shown(named)}")
