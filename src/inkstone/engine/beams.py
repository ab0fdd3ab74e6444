"""Beam search in the engine: the beams of a request are sequences that share blocks."""

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from inkstone.engine.completions import Decode
from inkstone.engine.request import FinishReason, Output
from inkstone.engine.scheduler import Scheduler
from inkstone.engine.sequence import BlockTables, Group, Sequence
from inkstone.nn.beam import BeamParams, BeamSearch, Hypothesis


class Beams:
    """Continues the sequences of requests with `BeamParams`.

    Args:
        scheduler: that runs them.
        tables: of their blocks.
        stop_ids: tokens that end a completion.
        decode: token ids → text.
        context: of the model, in tokens.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        tables: BlockTables,
        stop_ids: Collection[int],
        decode: Decode | None,
        context: int,
    ) -> None:
        self._scheduler, self._tables = scheduler, tables
        self._stop_ids, self._decode, self._context = frozenset(stop_ids), decode, context
        self._searches: dict[int, BeamSearch] = {}
        self._logits: dict[int, dict[Sequence, Tensor]] = {}

    def begin(self, group: Group) -> None:
        """Prepare the first sequence of a request."""
        params, prompt = group.request.params, group.request.prompt_ids
        assert isinstance(params, BeamParams)
        room = min(params.max_new_tokens, self._context - len(prompt))
        params = params.model_copy(update={"max_new_tokens": room})
        self._searches[group.request_id] = BeamSearch(prompt, params, self._stop_ids)
        self._logits[group.request_id] = {}

    def break_off(self, group: Group) -> list[Output]:
        """End a request where it is: the best completions so far."""
        search = self._searches[group.request_id]
        for sequence in group.sequences:
            self._scheduler.remove(sequence)
        group.sequences = []
        found = [self._output(group, index, each) for index, each in enumerate(search.best())]
        missing = range(len(found), group.request.params.num_return_sequences)
        none = [Output(group.request_id, index, finish_reason="deadline") for index in missing]
        late = [output if output.stop_id is not None else replace(output, finish_reason="deadline") for output in found]
        return late + none

    def forget(self, group: Group) -> None:
        """The request has ended."""
        del self._searches[group.request_id], self._logits[group.request_id]

    def go_on(self, sequence: Sequence, logits: Tensor) -> list[Output]:
        """Keep the logits (V,) of one beam; once those of all are there, find the next beams."""
        group = sequence.group
        kept, search = self._logits[group.request_id], self._searches[group.request_id]
        kept[sequence] = logits
        if len(kept) < len(group.sequences):
            return []
        # In the order of the search's beams.
        log_probs = torch.stack([kept[each] for each in group.sequences]).log_softmax(dim=-1)
        kept.clear()
        search.advance(log_probs, 0)
        self._follow(group, search)
        if not search.is_done:
            return []
        return [self._output(group, index, hypothesis) for index, hypothesis in enumerate(search.best())]

    def _follow(self, group: Group, search: BeamSearch) -> None:
        """Make the group's sequences those of the search's beams."""
        parents = group.sequences
        beams = [] if search.is_done else search.beams
        taken: set[int] = set()
        sequences = []
        for index, beam in enumerate(beams):
            # The first child of a beam takes its place, the others fork before it is changed.
            sequence = parents[beam.row] if beam.row not in taken else self._tables.fork(parents[beam.row], index)
            if beam.row in taken:
                self._scheduler.join(sequence)
            taken.add(beam.row)
            sequences.append(sequence)
        for row, parent in enumerate(parents):
            if row not in taken:
                self._scheduler.remove(parent)
        for index, (sequence, beam) in enumerate(zip(sequences, beams, strict=True)):
            sequence.index = index
            sequence.token_ids = [*group.request.prompt_ids, *beam.token_ids]
        group.sequences = sequences

    def _output(self, group: Group, index: int, hypothesis: Hypothesis) -> Output:
        token_ids, score = list(hypothesis.token_ids), hypothesis.score
        stop_id = token_ids.pop() if token_ids[-1] in self._stop_ids else None
        text = "" if self._decode is None else self._decode(token_ids)
        room = self._context - len(group.request.prompt_ids)
        reason: FinishReason = "length" if group.request.params.max_new_tokens <= room else "context"
        if stop_id is not None:
            reason = "eos"
        return Output(group.request_id, index, token_ids, text, finish_reason=reason, stop_id=stop_id, score=score)
