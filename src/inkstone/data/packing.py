"""Fixed-length training sequences cut from documents, without padding and without crossing their borders."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inkstone.core.errors import InputError
from inkstone.data.tokens import TokenStore
from inkstone.nn.layers.loss import IGNORED


class PackedSequence(NamedTuple):
    """One row of a batch; every array is int64 of length T.

    A segment is a run of tokens of one document. Attention and labels stay inside a segment and positions count
    from its start, so a row teaches what its segments would teach one by one.
    """

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    """The next token of the same document; IGNORED at a document's last token."""
    position_ids: NDArray[np.int64]
    segment_ids: NDArray[np.int64]


class PackedSequences:
    """All sequences of a token store in a shuffled order that depends on the seed alone.

    Each epoch lays the documents in a new random order on a ring, turns it by a random amount, and cuts it every
    `length` tokens; up to `length - 1` tokens are left out of an epoch, others each time. Sequence `index` is a
    function of (seed, index): a resumed run needs to know nothing but how many sequences it has read.

    Args:
        store: the tokens.
        length: T, tokens of a sequence.
        seed: of the order.

    Raises:
        InputError: the store has fewer than `length` tokens.
    """

    def __init__(self, store: TokenStore, length: int, seed: int) -> None:
        self.length = length
        self.per_epoch = store.num_tokens // length
        self._store = store
        self._seed = seed
        self._epoch: _Epoch | None = None
        if self.per_epoch == 0:
            raise InputError(
                f"the corpus is too small: {store.num_tokens:,} tokens, and one sequence needs {length:,}",
                remedy="add text, or lower context_length",
            )

    def __getitem__(self, index: int) -> PackedSequence:
        """Sequence `index`, counted over all epochs."""
        number, index = divmod(index, self.per_epoch)
        if self._epoch is None or self._epoch.number != number:
            self._epoch = _Epoch(number, self._store, self.per_epoch, self._seed)
        return self._cut(self._epoch, int(self._epoch.order[index]) * self.length)

    def batch(self, start: int, size: int) -> Sequence[PackedSequence]:
        """Sequences `start` to `start + size`."""
        return [self[index] for index in range(start, start + size)]

    def _cut(self, epoch: "_Epoch", start: int) -> PackedSequence:
        length, total = self.length, self._store.num_tokens
        row = PackedSequence(*(np.empty(length, dtype=np.int64) for _ in range(4)))
        filled, segment = 0, 0
        position = (start + epoch.turn) % total
        while filled < length:
            slot = int(np.searchsorted(epoch.ends, position, side="right"))
            document = int(epoch.documents[slot])
            left_in_document = int(epoch.ends[slot]) - position
            count = min(length - filled, left_in_document)
            first = int(self._store.ends[document]) - left_in_document
            here = slice(filled, filled + count)
            row.input_ids[here] = self._store.tokens[first : first + count]
            if count < left_in_document:
                row.labels[here] = self._store.tokens[first + 1 : first + count + 1]
            else:
                row.labels[filled : filled + count - 1] = self._store.tokens[first + 1 : first + count]
                row.labels[filled + count - 1] = IGNORED
            row.position_ids[here] = np.arange(count)
            row.segment_ids[here] = segment
            filled, segment, position = filled + count, segment + 1, (position + count) % total
        return row


class _Epoch:
    """The order of one pass over the documents."""

    def __init__(self, number: int, store: TokenStore, num_sequences: int, seed: int) -> None:
        random = np.random.default_rng((seed, number))
        self.number = number
        self.documents = random.permutation(store.num_documents)
        lengths = np.diff(store.ends, prepend=0)
        self.ends = np.cumsum(lengths[self.documents])
        """Where the documents end, in the shuffled order."""
        self.turn = int(random.integers(store.num_tokens))
        self.order = random.permutation(num_sequences)
