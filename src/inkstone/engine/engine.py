"""The engine: requests in, text out, a step at a time."""

import threading
import time
from collections.abc import Collection
from collections.abc import Sequence as AbstractSequence
from dataclasses import replace

import torch

from inkstone.engine.admission import check_request
from inkstone.engine.beams import Beams
from inkstone.engine.completions import Completions, Decode
from inkstone.engine.kv_blocks import KVBlocks
from inkstone.engine.metrics import Metrics
from inkstone.engine.request import Output, Request
from inkstone.engine.runner import Runner
from inkstone.engine.sampler import Predictions
from inkstone.engine.scheduler import Chunk, Scheduler, StepPlan
from inkstone.engine.sequence import BlockTables, Group
from inkstone.engine.speculate import Drafter, Speculator
from inkstone.nn.beam import BeamParams


class Engine:
    """Continues many prompts at once; requests come, and are broken off, between any two steps.

    Args:
        runner: what computes.
        stop_ids: tokens that end a completion.
        decode: token ids → text; without it outputs have no text, and stop strings are refused.
        max_running: sequences that are computed together.
        max_step_tokens: of one step; longer prompts are read in chunks.
        prefix_reuse: remember what earlier requests have computed.
        drafter: guesses tokens that a step then confirms; not for recurrent models.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        stop_ids: Collection[int] = (),
        decode: Decode | None = None,
        max_running: int = 64,
        max_step_tokens: int = 512,
        prefix_reuse: bool = True,
        drafter: Drafter | None = None,
    ) -> None:
        self.metrics = Metrics()
        self._runner, self._has_text = runner, decode is not None
        self._blocks = KVBlocks(runner.num_blocks, runner.block_size)
        self._tables = BlockTables(self._blocks, runner.window, reuse=prefix_reuse and runner.reuses)
        self._scheduler = Scheduler(self._tables, max_running, max(max_step_tokens, max_running), self.metrics)
        shared = (self._scheduler, self._tables, stop_ids, decode, runner.context)
        self._speculator = None if drafter is None else Speculator(drafter, runner.vocab_size)
        self._completions = Completions(*shared, self.metrics, self._speculator)
        self._beams = Beams(*shared)
        self._groups: dict[int, Group] = {}
        self._next_id = 0
        self.lock = threading.RLock()
        """Held while anything changes, so that several threads may ask."""

    @property
    def has_work(self) -> bool:
        """Whether a request has not ended."""
        return bool(self._groups)

    @property
    def num_free_blocks(self) -> int:
        """KV blocks that no sequence holds."""
        return self._blocks.num_free

    def add_request(self, request: Request) -> int:
        """Let a request wait for its turn; returns its number.

        Raises:
            InputError: the prompt is empty or leaves no room in the model's context, or its worst case can never fit
                into the blocks.
            ConfigError: its params ask for what is not there.
        """
        check_request(request, self._runner, has_text=self._has_text)
        params = request.params
        if not isinstance(params, BeamParams):
            request = replace(request, params=params.with_seed())
        with self.lock:
            self._next_id += 1
            group = Group.of(self._next_id, request)
            (self._beams if isinstance(params, BeamParams) else self._completions).begin(group)
            self._groups[group.request_id] = group
            self._scheduler.add(group.sequences[0])
        return group.request_id

    def runs(self, request_id: int) -> bool:
        """Whether a request has not ended."""
        return request_id in self._groups

    def abort(self, request_id: int) -> None:
        """Break a request off and free what it holds; nothing where it has ended."""
        with self.lock:
            group = self._groups.get(request_id)
            if group is None:
                return
            for sequence in group.sequences:
                self._completions.forget(sequence)
            group.sequences = []
            self._forget(group)

    @torch.inference_mode()
    def step(self) -> list[Output]:
        """Compute once for all that are running; returns what is new."""
        with self.lock:
            begun = time.perf_counter()
            self.metrics.first_token_s, self.metrics.between_tokens_s = [], []
            outputs = self._break_off_late()
            self._guess()
            plan = self._scheduler.schedule()
            if plan.chunks:
                predictions = self._runner.compute(plan.chunks, plan.copies)
                self._remember(plan.chunks)
                outputs += self._go_on(plan.chunks, predictions)
            self._note(plan, time.perf_counter() - begun)
        return outputs

    def _guess(self) -> None:
        if self._speculator is not None:
            decoding = [each for each in self._scheduler.running if each.num_left == 1 and each.num_new]
            sampled = [each for each in decoding if not isinstance(each.group.request.params, BeamParams)]
            self._speculator.prepare(sampled, self._runner.context)

    def _remember(self, chunks: AbstractSequence[Chunk]) -> None:
        for chunk in chunks:
            self._tables.computed(chunk.sequence, chunk.num_known)

    def _go_on(self, chunks: AbstractSequence[Chunk], predictions: Predictions) -> list[Output]:
        outputs: list[Output] = []
        drawn: list[Chunk] = []
        rows: list[int] = []
        first = 0
        for chunk in chunks:
            last = first + chunk.num_logits
            if not isinstance(chunk.sequence.group.request.params, BeamParams):
                drawn.append(chunk)
                rows += range(first, last)
            elif chunk.is_complete:
                outputs += self._beams.go_on(chunk.sequence, predictions.logits[first])
            first = last
        if drawn:
            outputs += self._completions.go_on(drawn, predictions.rows(rows))
        for group in {id(chunk.sequence.group): chunk.sequence.group for chunk in chunks}.values():
            if not group.sequences:
                self._forget(group)
        return outputs

    def _break_off_late(self) -> list[Output]:
        """End the requests whose deadline is over."""
        outputs = []
        for group in [group for group in self._groups.values() if group.is_late]:
            source = self._beams if isinstance(group.request.params, BeamParams) else self._completions
            outputs += source.break_off(group)
            self._forget(group)
        return outputs

    def _forget(self, group: Group) -> None:
        del self._groups[group.request_id]
        if isinstance(group.request.params, BeamParams):
            self._beams.forget(group)
        self._runner.forget(group.request_id)

    def _note(self, plan: StepPlan, seconds: float) -> None:
        metrics = self.metrics
        metrics.num_running, metrics.num_waiting = len(self._scheduler.running), len(self._scheduler.waiting)
        metrics.kv_use = 1 - self._blocks.num_free / self._blocks.num_blocks
        metrics.step_tokens = sum(len(chunk.token_ids) for chunk in plan.chunks)
        metrics.step_s = seconds
        metrics.num_steps += 1
        metrics.computed_tokens += metrics.step_tokens
        if self._speculator is not None and plan.chunks and all(chunk.num_known == 1 for chunk in plan.chunks):
            self._speculator.observe_step(metrics.step_tokens, seconds)
