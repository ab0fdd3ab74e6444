"""Who is computed in the next step, and how much of each."""

from dataclasses import dataclass, field

from inkstone.engine.metrics import Metrics
from inkstone.engine.sequence import BlockTables, Group, Sequence
from inkstone.nn.beam import BeamParams


@dataclass(slots=True)
class Chunk:
    """What one step computes of one sequence."""

    sequence: Sequence
    token_ids: list[int]
    """Those after the computed ones; drafts come last."""
    num_drafts: int = 0
    is_complete: bool = False
    """Whether all known tokens are computed after it, so that a new one is asked for."""
    num_logits: int = 0
    """Tokens, the last ones, after which logits are wanted."""

    @property
    def num_known(self) -> int:
        """Tokens that are no drafts."""
        return len(self.token_ids) - self.num_drafts


@dataclass(slots=True)
class StepPlan:
    """What one step computes."""

    chunks: list[Chunk] = field(default_factory=list)
    copies: list[tuple[int, int]] = field(default_factory=list)
    """Blocks whose content is copied first: from, to."""


class Scheduler:
    """Decides which sequences are computed.

    What decodes goes on in every step, one token each (and its drafts). What is left of `max_step_tokens` goes to
    prompts, those that were begun first; so a long prompt is read in chunks and nobody waits for it. Waiting requests
    are let in by priority; those of equal priority in turns by tenant, the one first that was given the fewest tokens.
    Where blocks run out, the newest request of the lowest priority gives back its own and waits; its tokens are kept
    and computed again later.

    Args:
        tables: of blocks.
        max_running: sequences that are computed together.
        max_step_tokens: at least `max_running`.
        metrics: where prompts and preemptions are counted.
    """

    def __init__(self, tables: BlockTables, max_running: int, max_step_tokens: int, metrics: Metrics) -> None:
        assert max_step_tokens >= max_running
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self._tables, self._metrics = tables, metrics
        self._max_running, self._max_step_tokens = max_running, max_step_tokens
        self._served: dict[str, int] = {}
        """Tokens that each tenant with requests was given, counted from when it came."""

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait."""
        tenant = sequence.group.request.tenant
        present = {other.group.request.tenant for other in (*self.waiting, *self.running)}
        if tenant not in present:
            # Who was away has no claim to the turns of that time.
            self._served = {name: served for name, served in self._served.items() if name in present}
            self._served[tenant] = min(self._served.values(), default=0)
        self.waiting.append(sequence)

    def join(self, sequence: Sequence) -> None:
        """Let a fork run; or wait where it has nothing computed, or too many run."""
        belongs = isinstance(sequence.group.request.params, BeamParams)
        if sequence.num_computed and (belongs or len(self.running) < self._max_running):
            self.running.append(sequence)
        else:
            self._tables.release(sequence)
            self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is, and free its blocks."""
        (self.running if sequence in self.running else self.waiting).remove(sequence)
        self._tables.release(sequence)

    def schedule(self) -> StepPlan:
        """What to compute next; nothing where nobody is there."""
        plan, budget = StepPlan(), self._max_step_tokens
        decoding = [sequence for sequence in self.running if sequence.num_left == 1]
        begun = [sequence for sequence in self.running if sequence.num_left > 1]
        reserved = len(decoding)
        for sequence in sorted((*decoding, *begun), key=lambda each: (each.num_left > 1, each.group.order)):
            if sequence not in self.running:  # it was preempted for another
                continue
            if sequence.num_left == 1:
                reserved -= 1
            elif budget == 0:
                break
            budget -= self._plan(plan, sequence, budget - reserved)
        while budget > 0 and self.waiting:
            sequences = self._together(min(self.waiting, key=self._turn))
            if not self._admit(sequences):
                break
            for sequence in sequences:
                if budget > 0 and sequence in self.running:
                    budget -= self._plan(plan, sequence, budget)
        return plan

    def _together(self, sequence: Sequence) -> list[Sequence]:
        """The waiting sequences that are let in with this one: beams are of use only together."""
        if not isinstance(sequence.group.request.params, BeamParams):
            return [sequence]
        return [other for other in self.waiting if other.group is sequence.group]

    def _turn(self, sequence: Sequence) -> tuple[int, int, float, int, int]:
        request = sequence.group.request
        _, arrival, request_id = sequence.group.order
        return -request.priority, self._served[request.tenant], arrival, request_id, sequence.index

    def _admit(self, sequences: list[Sequence]) -> bool:
        """Let waiting sequences run if all their tokens fit into free blocks now, and not too many run."""
        if self.running and len(self.running) + len(sequences) > self._max_running:
            return False
        found = sum(self._tables.find(sequence) for sequence in sequences)
        needed = sum(self._tables.num_needed(sequence, sequence.num_left) for sequence in sequences)
        if needed > self._tables.blocks.num_free:
            for sequence in sequences:
                self._tables.release(sequence)
            return False
        self._metrics.found_tokens += found
        for sequence in sequences:
            self.waiting.remove(sequence)
            self.running.append(sequence)
            self._metrics.prompt_tokens += len(sequence.token_ids)
        return True

    def _plan(self, plan: StepPlan, sequence: Sequence, budget: int) -> int:
        """Take one sequence into the step, with at most `budget` tokens; returns their number."""
        drafts = sequence.drafts[: budget - 1] if sequence.num_left == 1 else []
        num_tokens = min(sequence.num_left + len(drafts), max(budget, 1))
        while self._tables.num_needed(sequence, num_tokens) > self._tables.blocks.num_free:
            if drafts:
                num_tokens, drafts = 1, []
                continue
            self._preempt(max(self.running, key=_newest).group, plan)
            if sequence not in self.running:
                return 0
        sequence.drafts = drafts
        plan.copies += self._tables.grow(sequence, num_tokens)
        first = sequence.num_computed
        token_ids = [*sequence.token_ids[first : first + num_tokens - len(drafts)], *drafts]
        chunk = Chunk(sequence, token_ids, len(drafts), first + num_tokens - len(drafts) == len(sequence.token_ids))
        if sequence.group.scores_prompt:
            chunk.num_logits = num_tokens
        elif chunk.is_complete:
            chunk.num_logits = 1 + len(drafts)
        plan.chunks.append(chunk)
        self._served[sequence.group.request.tenant] += num_tokens
        return num_tokens

    def _preempt(self, group: Group, plan: StepPlan) -> None:
        """Take the blocks of a request's newest sequence, or of all where its sequences belong together."""
        members = [sequence for sequence in self.running if sequence.group is group]
        victims = members if isinstance(group.request.params, BeamParams) else [max(members, key=_newest)]
        for victim in victims:
            self._tables.release(victim)
            victim.drafts = []
            self.running.remove(victim)
            self.waiting.append(victim)
            self._metrics.preemptions += 1
        plan.chunks = [chunk for chunk in plan.chunks if chunk.sequence not in victims]


def _newest(sequence: Sequence) -> tuple[tuple[int, float, int], int]:
    """Greatest for who gives way first."""
    return sequence.group.order, sequence.index
