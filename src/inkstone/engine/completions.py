"""Completions that are drawn: from the logits of a step to new tokens, text, and ends."""

import time
from collections.abc import Callable, Collection
from collections.abc import Sequence as AbstractSequence
from dataclasses import replace

from torch import Tensor

from inkstone.engine.metrics import Metrics
from inkstone.engine.request import Output
from inkstone.engine.sampler import Choice, Place, Predictions, choose, log_probability_of
from inkstone.engine.scheduler import Chunk, Scheduler
from inkstone.engine.sequence import BlockTables, Group, Sequence
from inkstone.engine.speculate import Speculator
from inkstone.nn.sampling import logits_processors
from inkstone.nn.sampling_params import SamplingParams
from inkstone.nn.text_stream import TextStream

Decode = Callable[[AbstractSequence[int]], str]


class Completions:
    """Continues the sequences of requests with `SamplingParams`.

    Args:
        scheduler: that runs them.
        tables: of their blocks.
        stop_ids: the model's own.
        decode: token ids → text.
        context: of the model, in tokens.
        metrics: where drafts are counted.
        speculator: that is told what became of drafts.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        tables: BlockTables,
        stop_ids: Collection[int],
        decode: Decode | None,
        context: int,
        metrics: Metrics,
        speculator: Speculator | None,
    ) -> None:
        self._scheduler, self._tables = scheduler, tables
        self._stop_ids, self._decode, self._context = stop_ids, decode, context
        self._metrics, self._speculator = metrics, speculator

    def begin(self, group: Group) -> None:
        """Prepare the first sequence of a request."""
        (sequence,), params = group.sequences, self._params(group)
        sequence.text = self._new_text(group)
        group.ends = params.ends(self._stop_ids)
        group.processors = logits_processors(params, len(group.request.prompt_ids), group.ends)
        if group.request.constraint is not None:
            sequence.matcher = group.request.constraint.matcher()

    def go_on(self, chunks: AbstractSequence[Chunk], predictions: Predictions) -> list[Output]:
        """Choose the next tokens of the chunks that ask for some."""
        places: list[Place] = []
        rows: list[int] = []
        work: list[tuple[Chunk, list[Sequence]]] = []
        first = 0
        for chunk in chunks:
            last = first + chunk.num_logits
            if chunk.sequence.group.scores_prompt:
                self._score_prompt(chunk, predictions.logits[first:last])
                first = last - 1 - chunk.num_drafts
            if chunk.is_complete:
                sequences = [chunk.sequence, *self._forks(chunk.sequence)]
                work.append((chunk, sequences))
                for sequence in sequences:
                    places += [Place(sequence, number) for number in range(last - first)]
                    rows += range(first, last)
            first = last
        if not places:
            return []
        choices = iter(choose(places, predictions.rows(rows)))
        outputs = []
        for chunk, sequences in work:
            for sequence in sequences:
                drawn = [next(choices) for _ in range(1 + chunk.num_drafts)]
                outputs += self._extend(sequence, drawn)
        return outputs

    def break_off(self, group: Group) -> list[Output]:
        """End a request where it is: what was held back of its texts, or the best completions so far."""
        if not group.has_begun:
            self.forget(group.sequences.pop())
            indices = range(self._params(group).num_return_sequences)
            outputs = [Output(group.request_id, index, finish_reason="deadline") for index in indices]
            outputs[0].prompt_log_probabilities = group.prompt_scores
            return outputs
        outputs = []
        for sequence in list(group.sequences):
            text = "" if sequence.text is None else sequence.text.finish()
            outputs += self._ended(
                sequence, Output(group.request_id, sequence.index, text=text, finish_reason="deadline")
            )
        return outputs

    def forget(self, sequence: Sequence) -> None:
        """The sequence goes no further."""
        self._scheduler.remove(sequence)
        if self._speculator is not None:
            self._speculator.forget(sequence)

    def _params(self, group: Group) -> SamplingParams:
        assert isinstance(group.request.params, SamplingParams)
        return group.request.params

    def _new_text(self, group: Group) -> TextStream | None:
        if self._decode is None:
            return None
        return TextStream(self._decode, group.request.prompt_ids, self._params(group).stop)

    def _forks(self, sequence: Sequence) -> list[Sequence]:
        """The other completions of a prompt that has just been read."""
        group = sequence.group
        if group.has_begun:
            return []
        group.has_begun = True
        forks = [self._tables.fork(sequence, index) for index in range(1, self._params(group).num_drawn)]
        for fork in forks:
            fork.text = self._new_text(group)
            group.sequences.append(fork)
            self._scheduler.join(fork)
        return forks

    def _extend(self, sequence: Sequence, drawn: AbstractSequence[Choice]) -> list[Output]:
        """Go on with the first token and, as long as the drafts were right, with those after them."""
        group = sequence.group
        output = Output(group.request_id, sequence.index)
        if group.last_token_at is None:
            output.prompt_log_probabilities = group.prompt_scores
        drafts, sequence.drafts, num_accepted = sequence.drafts, [], 0
        for number, choice in enumerate(drawn):
            self._take(sequence, choice, output)
            if output.finish_reason or number == len(drafts) or choice.token_id != drafts[number]:
                break
            self._tables.computed(sequence, 1)
            num_accepted += 1
        self._metrics.accepted_tokens += num_accepted
        self._metrics.drafted_tokens += len(drafts)
        if self._speculator is not None:
            self._speculator.observe(sequence, len(drafts), num_accepted)
        self._metrics.new_tokens += len(output.token_ids)
        self._note_time(group)
        return self._ended(sequence, output) if output.finish_reason else self._released(group, output)

    def _take(self, sequence: Sequence, choice: Choice, output: Output) -> None:
        """Append one token, and see whether it is the last."""
        params, token = self._params(sequence.group), choice.token_id
        if choice.log_probability is not None:
            sequence.log_probability += choice.log_probability.log_probability
            if params.log_probabilities is not None:
                output.log_probabilities.append(choice.log_probability)
        if token in sequence.group.ends:
            output.finish_reason, output.stop_id = "eos", token
            output.text += "" if sequence.text is None else sequence.text.finish()
            return
        sequence.token_ids.append(token)
        output.token_ids.append(token)
        if sequence.matcher is not None:
            sequence.matcher.accept(token)
            if (failure := sequence.matcher.failure) is not None:
                output.finish_reason, output.error = "error", failure
                return
        if sequence.text is not None:
            output.text += sequence.text.push(token)
            if sequence.text.stopped:
                output.finish_reason = "stop"
                return
        if sequence.num_new == params.max_new_tokens:
            output.finish_reason = "length"
        elif len(sequence.token_ids) == self._context:
            output.finish_reason = "context"
        if output.finish_reason and sequence.text is not None:
            output.text += sequence.text.finish()

    def _ended(self, sequence: Sequence, output: Output) -> list[Output]:
        """The last output of a sequence."""
        group = sequence.group
        if self._params(group).best_of is not None:
            output.score = sequence.log_probability / max(1, sequence.num_new + (output.stop_id is not None))
        self.forget(sequence)
        group.sequences.remove(sequence)
        return self._released(group, output)

    def _released(self, group: Group, output: Output) -> list[Output]:
        """What may be told now: everything, or the best completions once all have ended."""
        params = self._params(group)
        if params.best_of is None:
            return [output]
        group.held.setdefault(output.index, Output(output.request_id, output.index)).extend(output)
        if group.sequences:
            return []
        best = sorted(group.held.values(), key=lambda each: (-(each.score or 0.0), each.index))
        return [replace(each, index=index) for index, each in enumerate(best[: params.num_return_sequences])]

    def _score_prompt(self, chunk: Chunk, logits: Tensor) -> None:
        """Note the log-probabilities of the prompt's tokens that follow those of a chunk."""
        group = chunk.sequence.group
        num_top = self._params(group).prompt_log_probabilities or 0
        prompt = group.request.prompt_ids
        first = chunk.sequence.num_computed - len(chunk.token_ids)  # it is computed by now
        for number, row in enumerate(logits, first):
            if number == len(group.prompt_scores) and number + 1 < len(prompt):
                group.prompt_scores.append(log_probability_of(prompt[number + 1], row, num_top))

    def _note_time(self, group: Group) -> None:
        now = time.monotonic()
        if group.last_token_at is None:
            self._metrics.first_token_s.append(now - group.arrival)
        else:
            self._metrics.between_tokens_s.append(now - group.last_token_at)
        group.last_token_at = now
