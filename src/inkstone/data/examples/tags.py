"""BIO tags: what is named in a text, as one class for each token, and back (Ramshaw & Marcus 1995).

Every token has a tag: `B-…` the first of a span, `I-…` the others, `O` what is outside. A span begins and ends
between units, which are tokens that have no character in common with others; so tags say characters exactly.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inkstone.core.errors import ConfigError
from inkstone.data.examples.offsets import Offsets, begins_unit, extent, tokens_of
from inkstone.data.examples.records import Span

OUTSIDE = "O"
_OTHER_SCHEMES = ("S", "E", "M", "L", "U")


def bio_labels(names: Iterable[str]) -> tuple[str, ...]:
    """The labels of a head that finds spans of these names, in their alphabetical order."""
    return OUTSIDE, *(f"{part}-{name}" for name in sorted(set(names)) for part in "BI")


class Tags:
    """The tags of a token head.

    Labels without `B-` or `I-`, as some models have them, name what a token belongs to; such spans never touch.

    Args:
        labels: of the head, in the order of its logits.

    Raises:
        ConfigError: they are no BIO tags.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        if OUTSIDE not in labels or any(label[:2] in {f"{part}-" for part in _OTHER_SCHEMES} for label in labels):
            raise ConfigError(
                f"these labels are no BIO tags: {', '.join(labels[:8])}",
                where="model",
                remedy="use a model with the labels O, B-… and I-…",
            )
        self.labels = tuple(labels)
        self.outside = self.labels.index(OUTSIDE)
        self.name_of = [label[2:] if label[:2] in ("B-", "I-") else label for label in labels]
        self.name_of[self.outside] = ""
        self.begin_of = {name: index for index, name in reversed(list(enumerate(self.name_of)))}
        """Name → the tag of a span's first token: `B-…` where there is one."""
        self.begin_of |= {label[2:]: index for index, label in enumerate(labels) if label[:2] == "B-"}
        self.inside_of = self.begin_of | {label[2:]: index for index, label in enumerate(labels) if label[:2] == "I-"}
        """Name → the tag of its other tokens."""
        del self.begin_of[""], self.inside_of[""]
        self._legal, self._within, self._first = self._transitions()

    @property
    def names(self) -> tuple[str, ...]:
        """What spans are called, sorted."""
        return tuple(sorted(self.begin_of))

    def encode(self, offsets: Offsets, spans: Iterable[Span]) -> tuple[NDArray[np.int64], int]:
        """Tags (T,) of tokens for spans that do not overlap.

        A span that begins or ends within a unit is widened to the whole of it; where two share one, the first has it.

        Returns:
            The tags, and how many spans they do not say exactly.
        """
        tags = np.full(len(offsets), self.outside, dtype=np.int64)
        begins = begins_unit(offsets)
        spans = sorted(spans)
        free = 0  # the first token that no span has yet
        for span in spans:
            touching = [index for index in tokens_of(offsets, span.start, span.end) if index >= free]
            if not touching:
                continue
            first, last = touching[0], touching[-1]
            while first > free and not begins[first]:
                first -= 1
            while last + 1 < len(offsets) and not begins[last + 1]:
                last += 1
            tags[first : last + 1] = self.inside_of[span.label]
            tags[first] = self.begin_of[span.label]
            free = last + 1
        return tags, len(set(spans) - set(self.spans(tags, offsets)))

    def spans(self, tags: Sequence[int] | NDArray[np.int64], offsets: Offsets) -> list[Span]:
        """The spans that legal tags (T,) say."""
        return [Span(*extent(offsets[first:end]), self.name_of[tags[first]]) for first, end in self.runs(tags, offsets)]

    def runs(self, tags: Sequence[int] | NDArray[np.int64], offsets: Offsets) -> list[tuple[int, int]]:
        """First token and the one after the last of every span that writes something."""
        borders = [index for index in range(1, len(tags)) if self._begins(tags[index - 1], tags[index])]
        return [
            (first, end)
            for first, end in pairwise([0, *borders, len(tags)])
            if first < end and tags[first] != self.outside and any(start < stop for start, stop in offsets[first:end])
        ]

    def best(self, scores: NDArray[np.floating], offsets: Offsets) -> NDArray[np.int64]:
        """The legal tags (T,) with the greatest sum of `scores` (T, L) (Viterbi 1967).

        Legal: `I-…` goes on with a span of its name, and a unit of several tokens lies in a span or outside as a whole.
        """
        num_tokens, num_labels = scores.shape
        if num_tokens == 0:
            return np.zeros(0, dtype=np.int64)
        came_from = np.zeros((num_tokens, num_labels), dtype=np.int64)
        total = np.where(self._first, scores[0], -np.inf)
        for index, begins in enumerate(begins_unit(offsets)[1:], 1):
            paths = np.where(self._legal if begins else self._within, total[:, None], -np.inf)  # from, to
            came_from[index] = paths.argmax(0)
            total = paths.max(0) + scores[index]
        tags = np.empty(num_tokens, dtype=np.int64)
        tags[-1] = total.argmax()
        for index in range(num_tokens - 1, 0, -1):
            tags[index - 1] = came_from[index, tags[index]]
        return tags

    def _begins(self, before: int, tag: int) -> bool:
        """Whether a token tagged `tag` begins something else than the token before it."""
        return self.name_of[before] != self.name_of[tag] or tag != self._inside(tag)

    def _inside(self, tag: int) -> int:
        return self.inside_of.get(self.name_of[tag], tag)

    def _transitions(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """What may follow what, (from, to), between units and within one; what may come first."""
        tags = range(len(self.labels))
        goes_on = [[not self._begins(before, tag) for tag in tags] for before in tags]
        may_begin = np.array([tag == self.outside or tag == self.begin_of[self.name_of[tag]] for tag in tags])
        within = np.array(goes_on)
        return within | may_begin, within, may_begin
