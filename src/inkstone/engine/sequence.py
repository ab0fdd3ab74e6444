"""A request inside the engine: sequences of tokens, and the blocks that remember them."""

import time
from dataclasses import dataclass, field

from inkstone.engine.kv_blocks import NULL_BLOCK, KVBlocks, block_digest, root_digest
from inkstone.engine.request import Matcher, Output, Request, TokenLogProbability
from inkstone.nn.processors import LogitsProcessor
from inkstone.nn.sampling_params import SamplingParams
from inkstone.nn.text_stream import TextStream


@dataclass(eq=False, slots=True)
class Sequence:
    """A prompt and one growing completion of it."""

    group: "Group"
    index: int
    """Number among the completions of its request."""
    token_ids: list[int]
    """Prompt and completion."""
    num_computed: int = 0
    """Tokens whose keys and values are in the blocks."""
    blocks: list[int] = field(default_factory=list)
    drafts: list[int] = field(default_factory=list)
    """Tokens that are guessed to come next."""
    text: TextStream | None = None
    log_probability: float = 0.0
    """Of the completion so far, in nats."""
    matcher: Matcher | None = None
    digests: list[bytes] = field(default_factory=list)
    """Of its full blocks, as far as they were needed."""

    @property
    def num_new(self) -> int:
        """Tokens of the completion."""
        return len(self.token_ids) - len(self.group.request.prompt_ids)

    @property
    def num_left(self) -> int:
        """Tokens that are known, but not computed; one while it decodes."""
        return len(self.token_ids) - self.num_computed

    def fork(self, index: int) -> "Sequence":
        """A second sequence that goes on from here; the caller counts the blocks' users."""
        return Sequence(
            self.group,
            index,
            list(self.token_ids),
            self.num_computed,
            list(self.blocks),
            log_probability=self.log_probability,
            matcher=None if self.matcher is None else self.matcher.fork(),
            digests=list(self.digests),
        )

    def digest(self, number: int, block_size: int) -> bytes:
        """The hash of all tokens up to the end of a full block."""
        while len(self.digests) <= number:
            done = len(self.digests)
            before = self.digests[-1] if done else self.group.root
            self.digests.append(block_digest(before, self.token_ids[done * block_size : (done + 1) * block_size]))
        return self.digests[number]


@dataclass(eq=False, slots=True)
class Group:
    """The sequences of one request."""

    request_id: int
    request: Request
    arrival: float = field(default_factory=time.monotonic)
    sequences: list[Sequence] = field(default_factory=list)
    """Those that have not ended."""
    root: bytes = b""
    ends: frozenset[int] = frozenset()
    """Tokens that end its completions."""
    processors: list[LogitsProcessor] = field(default_factory=list)
    """What its params do to logits."""
    has_begun: bool = False
    """Whether a first token was drawn."""
    held: dict[int, Output] = field(default_factory=dict)
    """Completions, by their numbers, that are held back until the best are known."""
    prompt_scores: list[TokenLogProbability] = field(default_factory=list)
    last_token_at: float | None = None

    @classmethod
    def of(cls, request_id: int, request: Request) -> "Group":
        """With one sequence, the prompt."""
        group = cls(request_id, request, root=root_digest(request.tenant, request.source_ids))
        group.sequences.append(Sequence(group, 0, list(request.prompt_ids)))
        return group

    @property
    def order(self) -> tuple[int, float, int]:
        """Least first: by priority, then by arrival."""
        return -self.request.priority, self.arrival, self.request_id

    @property
    def scores_prompt(self) -> bool:
        """Whether log-probabilities of the prompt's tokens are still wanted."""
        params = self.request.params
        wanted = isinstance(params, SamplingParams) and params.prompt_log_probabilities is not None
        return wanted and len(self.prompt_scores) < len(self.request.prompt_ids) - 1

    @property
    def is_late(self) -> bool:
        """Whether its deadline is over."""
        deadline = self.request.deadline_s
        return deadline is not None and time.monotonic() - self.arrival > deadline


class BlockTables:
    """The blocks of sequences: taken as they grow, shared where they are equal, given back."""

    def __init__(self, blocks: KVBlocks, window: int | None = None, *, reuse: bool = True) -> None:
        """Take blocks from a pool.

        Args:
            blocks: the pool.
            window: tokens that any layer sees, itself included; None where one sees all.
            reuse: find remembered beginnings.
        """
        self.blocks, self._window, self._reuse = blocks, window, reuse

    def num_needed(self, sequence: Sequence, num_tokens: int) -> int:
        """Blocks to allocate before `num_tokens` more can be written."""
        size = self.blocks.block_size
        missing = -(-(sequence.num_computed + num_tokens) // size) - len(sequence.blocks)
        return max(0, missing) + self._must_copy(sequence)

    def grow(self, sequence: Sequence, num_tokens: int) -> list[tuple[int, int]]:
        """Make room for `num_tokens` more; returns the blocks whose content must be copied first, (from, to)."""
        copies = []
        if self._must_copy(sequence):
            number = sequence.num_computed // self.blocks.block_size
            before, after = sequence.blocks[number], self.blocks.allocate()
            copies.append((before, after))
            self.blocks.release(before)
            sequence.blocks[number] = after
        for _ in range(self.num_needed(sequence, num_tokens)):
            sequence.blocks.append(self.blocks.allocate())
        return copies

    def find(self, sequence: Sequence) -> int:
        """Take over what is remembered of a sequence's beginning; returns the tokens found, never all of them."""
        if not self._reuse or sequence.num_computed or sequence.group.scores_prompt:
            return 0
        size = self.blocks.block_size
        digests = [sequence.digest(number, size) for number in range((len(sequence.token_ids) - 1) // size)]
        sequence.blocks = self.blocks.find(digests)
        for block in sequence.blocks:
            self.blocks.retain(block)
        sequence.num_computed = len(sequence.blocks) * size
        return sequence.num_computed

    def computed(self, sequence: Sequence, num_tokens: int) -> None:
        """Note that `num_tokens` more are in the blocks: full ones can be found from now on, old ones may go."""
        size = self.blocks.block_size
        before = sequence.num_computed
        sequence.num_computed += num_tokens
        if self._reuse:
            for number in range(before // size, sequence.num_computed // size):
                self.blocks.register(sequence.blocks[number], sequence.digest(number, size))
        if self._window is not None:
            first_seen = max(0, sequence.num_computed + 1 - self._window)
            for number in range(first_seen // size):
                self.blocks.release(sequence.blocks[number])
                sequence.blocks[number] = NULL_BLOCK

    def rewind(self, sequence: Sequence, num_tokens: int) -> None:
        """Forget what was computed after `num_tokens`; only where blocks are not found by others."""
        assert not self._reuse
        sequence.num_computed = min(sequence.num_computed, num_tokens)

    def fork(self, sequence: Sequence, index: int) -> Sequence:
        """A second sequence that shares all blocks."""
        for block in sequence.blocks:
            self.blocks.retain(block)
        return sequence.fork(index)

    def release(self, sequence: Sequence) -> None:
        """Give the blocks back; the last first, so that beginnings are remembered longest."""
        for block in reversed(sequence.blocks):
            self.blocks.release(block)
        sequence.blocks, sequence.num_computed = [], 0

    def _must_copy(self, sequence: Sequence) -> bool:
        number = sequence.num_computed // self.blocks.block_size
        return number < len(sequence.blocks) and self.blocks.is_shared(sequence.blocks[number])
