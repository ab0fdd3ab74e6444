"""Guessing the next tokens, so that one step confirms several. What is said does not change.

A guess is accepted where it is the token that the sequence's own random number draws from the model's distribution
(where it is the likeliest one, without temperature). So completions are those without guesses, and follow the same
distribution (Leviathan et al. 2022, arXiv:2211.17192, aim at the second only).
"""

from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from inkstone.engine.kv_blocks import KVBlocks
from inkstone.engine.runner import Runner
from inkstone.engine.sampler import Place, choose
from inkstone.engine.scheduler import Chunk
from inkstone.engine.sequence import BlockTables, Sequence

_LONGEST_DRAFT = 12
_LONGEST_PAUSE = 256
_LEARNING_RATE = 0.15


class Drafter(Protocol):
    """Where guesses come from."""

    def guess(self, sequences: AbstractSequence[Sequence], lengths: AbstractSequence[int]) -> list[list[int]]:
        """At most so many tokens each that may come next."""

    def forget(self, sequence: Sequence) -> None:
        """The sequence has ended."""


class PromptLookup:
    """What followed the last time that the same tokens came, in the source too (Saxena 2023, "Prompt lookup decoding").

    Args:
        longest: tokens that are looked up, first so many, then fewer.
        shortest: the fewest.
    """

    def __init__(self, longest: int = 4, shortest: int = 2) -> None:
        self._sizes = range(longest, shortest - 1, -1)
        self._known: dict[Sequence, _Places] = {}

    def guess(self, sequences: AbstractSequence[Sequence], lengths: AbstractSequence[int]) -> list[list[int]]:
        """As in `Drafter`."""
        return [self._guess(sequence, length) for sequence, length in zip(sequences, lengths, strict=True)]

    def forget(self, sequence: Sequence) -> None:
        """As in `Drafter`."""
        self._known.pop(sequence, None)

    def _guess(self, sequence: Sequence, length: int) -> list[int]:
        if length == 0:
            return []
        if sequence not in self._known:
            self._known[sequence] = _Places(list(sequence.group.request.source_ids))
        places = self._known[sequence]
        places.add(sequence.token_ids)
        ids = places.ids
        # What ends before the last token, so that something follows it.
        for end in range(places.num_read + 1, len(ids)):
            for size in self._sizes:
                if end >= size:
                    places.end_of[tuple(ids[end - size : end])] = end
        places.num_read = max(places.num_read, len(ids) - 1)
        for size in self._sizes:
            known = places.end_of.get(tuple(ids[-size:])) if len(ids) > size else None
            if known is not None:
                # Where less than asked for follows, it goes on with itself: a repetition.
                return [ids[known + place % (len(ids) - known)] for place in range(length)]
        return []


class _Places:
    """Where each run of tokens last ended, in a source and what is written after it."""

    def __init__(self, source_ids: list[int]) -> None:
        self.ids, self._num_source = source_ids, len(source_ids)
        self.num_read = 0
        self.end_of: dict[tuple[int, ...], int] = {}

    def add(self, token_ids: AbstractSequence[int]) -> None:
        """Take in what is new of a sequence."""
        self.ids += token_ids[len(self.ids) - self._num_source :]


class DraftModel:
    """A small model with the same tokenizer, which draws with the same random numbers.

    Args:
        runner: that computes it.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._blocks = KVBlocks(runner.num_blocks, runner.block_size)
        self._tables = BlockTables(self._blocks, runner.window, reuse=False)
        self._shadows: dict[Sequence, Sequence] = {}

    def guess(self, sequences: AbstractSequence[Sequence], lengths: AbstractSequence[int]) -> list[list[int]]:
        """As in `Drafter`."""
        drafts: list[list[int]] = [[] for _ in sequences]
        shadows = [self._shadow(each) if length else None for each, length in zip(sequences, lengths, strict=True)]
        for step in range(max(lengths, default=0)):
            rows = [row for row, shadow in enumerate(shadows) if shadow is not None and lengths[row] > step]
            chunks, copies = [], []
            for row in list(rows):
                shadow = shadows[row]
                assert shadow is not None
                if self._tables.num_needed(shadow, shadow.num_left) > self._blocks.num_free:
                    rows.remove(row)
                    continue
                copies += self._tables.grow(shadow, shadow.num_left)
                chunks.append(Chunk(shadow, shadow.token_ids[shadow.num_computed :], is_complete=True, num_logits=1))
            if not chunks:
                break
            predictions = self._runner.compute(chunks, copies)
            for chunk in chunks:
                self._tables.computed(chunk.sequence, len(chunk.token_ids))
            choices = choose([Place(chunk.sequence) for chunk in chunks], predictions)
            for row, chunk, choice in zip(rows, chunks, choices, strict=True):
                drafts[row].append(choice.token_id)
                chunk.sequence.token_ids.append(choice.token_id)
        return drafts

    def forget(self, sequence: Sequence) -> None:
        """As in `Drafter`."""
        shadow = self._shadows.pop(sequence, None)
        if shadow is not None:
            self._tables.release(shadow)

    def _shadow(self, sequence: Sequence) -> Sequence | None:
        """The same sequence as this model knows it, brought up to date; None where it is too long for it."""
        if len(sequence.token_ids) + _LONGEST_DRAFT >= self._runner.context:
            return None
        shadow = self._shadows.get(sequence)
        if shadow is None:
            shadow = self._shadows[sequence] = Sequence(sequence.group, sequence.index, list(sequence.token_ids))
            return shadow
        known = shadow.token_ids[: shadow.num_computed]
        agreed = next(
            (place for place, (a, b) in enumerate(zip(known, sequence.token_ids, strict=False)) if a != b),
            min(len(known), len(sequence.token_ids)),
        )
        self._tables.rewind(shadow, min(agreed, len(sequence.token_ids) - 1))
        shadow.token_ids = list(sequence.token_ids)
        return shadow


class Speculator:
    """Decides how many tokens to guess for each sequence, from what guesses have brought and what steps cost.

    Args:
        drafter: where guesses come from.
        vocab_size: tokens that the model can write; a source may have others.
        longest: most tokens guessed at a time.
    """

    def __init__(self, drafter: Drafter, vocab_size: int, longest: int = _LONGEST_DRAFT) -> None:
        self._drafter, self._vocab_size, self._longest = drafter, vocab_size, longest
        self._cost = StepCost()
        self._records: dict[Sequence, _Record] = {}

    def prepare(self, sequences: AbstractSequence[Sequence], context: int) -> None:
        """Give decoding sequences their drafts."""
        lengths = [self._length(sequence, len(sequences), context) for sequence in sequences]
        for sequence, drafts in zip(sequences, self._drafter.guess(sequences, lengths), strict=True):
            sequence.drafts = list(takewhile(lambda token: token < self._vocab_size, drafts))

    def observe_step(self, num_tokens: int, seconds: float) -> None:
        """A step that only decoded took so long."""
        self._cost.observe(num_tokens, seconds)

    def observe(self, sequence: Sequence, num_drafts: int, num_accepted: int) -> None:
        """So many of a sequence's drafts were accepted."""
        if num_drafts:
            self._records[sequence].observe(num_drafts, num_accepted)

    def forget(self, sequence: Sequence) -> None:
        """The sequence has ended."""
        self._records.pop(sequence, None)
        self._drafter.forget(sequence)

    def _length(self, sequence: Sequence, num_decoding: int, context: int) -> int:
        params = sequence.group.request.params
        room = min(params.max_new_tokens - sequence.num_new, context - len(sequence.token_ids)) - 1
        record = self._records.setdefault(sequence, _Record())
        if record.pause > 0:
            record.pause -= 1
            return 0
        best = max(range(self._longest + 1), key=lambda length: record.gain(length, num_decoding, self._cost))
        if best == 0:
            record.rest()
        return max(0, min(best, room))


class StepCost:
    """Seconds of a decoding step as a line over its tokens, by least squares; old steps fade away.

    Args:
        memory: steps after which one counts for 1/e.
    """

    def __init__(self, memory: float = 200.0) -> None:
        self._keep = 1 - 1 / memory
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def observe(self, num_tokens: int, seconds: float) -> None:
        """A step computed so many tokens."""
        x = float(num_tokens)
        sums = self._weight, self._x, self._y, self._xx, self._xy
        new = 1.0, x, seconds, x * x, x * seconds
        self._weight, self._x, self._y, self._xx, self._xy = (
            self._keep * before + value for before, value in zip(sums, new, strict=True)
        )

    def ratio(self, more: int, less: int) -> float:
        """How many times longer a step of `more` tokens takes; 1 before steps of two sizes were seen."""
        spread = self._weight * self._xx - self._x**2
        if spread <= 1e-9 * self._weight**2:
            return 1.0
        slope = max(0.0, (self._weight * self._xy - self._x * self._y) / spread)
        start = max(0.0, (self._y - slope * self._x) / self._weight)
        return (start + slope * more) / max(start + slope * less, 1e-9)


@dataclass(slots=True)
class _Record:
    """What guesses have brought one sequence."""

    acceptance: float = 0.7
    """Probability that the next token of a draft is right, as the last ones say."""
    pause: int = 0
    """Steps without guesses that are left."""
    last_pause: int = 4

    def gain(self, length: int, num_decoding: int, cost: StepCost) -> float:
        """Tokens in the time of one, if so many are guessed."""
        expected = sum(self.acceptance**place for place in range(length + 1))
        return expected / cost.ratio(num_decoding + length, num_decoding)

    def observe(self, num_drafts: int, num_accepted: int) -> None:
        for _ in range(num_accepted):
            self.acceptance += _LEARNING_RATE * (1 - self.acceptance)
        if num_accepted < num_drafts:
            self.acceptance -= _LEARNING_RATE * self.acceptance
        if num_accepted:
            self.last_pause = 4

    def rest(self) -> None:
        """Guess nothing for twice as long as the last time, then try again."""
        self.pause = self.last_pause = min(2 * self.last_pause, _LONGEST_PAUSE)
        self.acceptance = max(self.acceptance, 0.5)
