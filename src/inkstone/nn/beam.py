"""Beam search: the likeliest completions that can be found while following a few at a time."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from inkstone.core.config import Config, parse_config
from inkstone.nn.constraints import bad_words, forced_token, min_length, no_repeat_ngram
from inkstone.nn.generate import check_prompt
from inkstone.nn.models.base import EncoderDecoder, Model
from inkstone.nn.processors import LogitsProcessor, repetition_penalty
from inkstone.nn.sampling import check_in_vocabulary, check_numbers
from inkstone.nn.sampling_params import TokenId
from inkstone.nn.steps import CachedSteps, NextTokenModel, Steps


class BeamParams(Config):
    """How beam search looks for completions; keys and meanings are Hugging Face's."""

    num_beams: int = Field(default=4, gt=0)
    """Sequences followed at a time; 1 is greedy search."""
    max_new_tokens: int = Field(default=256, gt=0)
    """Longest completion, in tokens, its end token included."""
    min_new_tokens: int = Field(default=0, ge=0)
    """Shortest completion, in tokens before its end token."""
    length_penalty: float = 1.0
    """A completion of n tokens scores its log-probability over n to this power: above 0 favors long completions."""
    early_stopping: bool | Literal["never"] = False
    """True: stop at `num_beams` completions. False: when the best sequence, ended now, would not score better than
    these. "never": when it could not at any length."""
    num_return_sequences: int = Field(default=1, gt=0)
    """Best completions that are returned, at most `num_beams`."""
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1 makes tokens that were already used less likely."""
    no_repeat_ngram_size: int = Field(default=0, ge=0)
    """No sequence of this many tokens occurs twice; 0 allows it."""
    bad_words_ids: tuple[Annotated[tuple[TokenId, ...], Field(min_length=1)], ...] = ()
    """Token sequences that are never written, such as the padding token in Marian."""
    forced_bos_token_id: int | None = Field(default=None, ge=0)
    """First token of every completion, such as the target language of mBART."""
    forced_eos_token_id: int | None = Field(default=None, ge=0)
    """Last token of a completion that reaches `max_new_tokens`."""

    @model_validator(mode="after")
    def _check(self) -> "BeamParams":
        if self.num_return_sequences > self.num_beams:
            raise ValueError(f"num_return_sequences {self.num_return_sequences} exceeds num_beams {self.num_beams}")
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens {self.min_new_tokens} exceeds max_new_tokens {self.max_new_tokens}")
        return self


def beam_params(model: Model, **changes: Any) -> BeamParams:
    """The settings that came with a model in its generation_config.json, with `changes`.

    There, `max_length` and `min_length` count an encoder–decoder's start token too; a decoder's prompt is not known
    here, so both are left out.

    Raises:
        ConfigError: a setting has a wrong value.
    """
    stored = model.generation_config
    keys = {key: stored[key] for key in BeamParams.model_fields if stored.get(key) is not None}
    if isinstance(model, EncoderDecoder):
        for key, total in (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length")):
            if key not in keys and isinstance(length := stored.get(total), int) and length > 0:
                keys[key] = length - 1
    for key in ("forced_bos_token_id", "forced_eos_token_id"):
        if isinstance(tokens := keys.get(key), list):
            keys[key] = tokens[0] if tokens else None
    return parse_config(BeamParams, keys | changes, where="generation_config.json")


class Hypothesis(NamedTuple):
    """A completion that beam search found."""

    token_ids: list[int]
    """With the end token, if it has one."""
    score: float
    """Its log-probability in nats, divided by its length to the power of `length_penalty`."""


def beam_search(
    model: NextTokenModel, prompts: Sequence[Sequence[int]], params: BeamParams, *, stop_ids: Collection[int]
) -> list[list[Hypothesis]]:
    """The best completions of each prompt, best first, `params.num_return_sequences` of them or all there are.

    Args:
        model: a decoder, or a `TargetDecoder` (its prompts are `[decoder.start]` for each source).
        prompts: token ids, each shorter than the model's context; the longest one decides how many tokens may follow.
        params: how to search.
        stop_ids: tokens that end a completion.

    Raises:
        InputError: a prompt is empty or fills the model's context.
        CheckpointError: the model's logits are NaN.
    """
    if not prompts:
        return []
    room = min(check_prompt(model.context, prompt, f"prompt {number}") for number, prompt in enumerate(prompts, 1))
    params = params.model_copy(update={"max_new_tokens": min(params.max_new_tokens, room)})
    return search(CachedSteps(model, prompts, params.max_new_tokens), prompts, params, stop_ids=stop_ids)


@torch.inference_mode()
def search(
    steps: Steps, prompts: Sequence[Sequence[int]], params: BeamParams, *, stop_ids: Collection[int]
) -> list[list[Hypothesis]]:
    """Beam search itself, over any source of logits; arguments and result as of `beam_search`."""
    searches = [BeamSearch(prompt, params, frozenset(stop_ids)) for prompt in prompts]
    running = searches
    logits = steps.start()
    check_beam_tokens(params, logits.shape[-1])
    for _ in range(params.max_new_tokens):
        log_probs = torch.log_softmax(logits.float(), dim=-1)
        first_row = 0
        for each in running:
            first_row = each.advance(log_probs, first_row)
        running = [each for each in running if not each.is_done]
        if not running:
            break
        beams = [beam for each in running for beam in each.beams]
        rows = torch.tensor([beam.row for beam in beams], device=logits.device)
        logits = steps.extend(rows, torch.tensor([beam.token_ids[-1] for beam in beams], device=logits.device))
    return [each.best() for each in searches]


class Beam(NamedTuple):
    """A sequence that is being followed."""

    token_ids: list[int]
    log_prob: float
    row: int
    """Of the logits from which its last token came."""


class BeamSearch:
    """The search for the completions of one prompt."""

    def __init__(self, prompt: Sequence[int], params: BeamParams, stop_ids: frozenset[int]) -> None:
        self.beams = [Beam([], 0.0, 0)]
        """Best first; at most `num_beams`."""
        self.finished: list[Hypothesis] = []
        """Best first; at most `num_beams`."""
        self.is_done = False
        self._prompt = list(prompt)
        self._params = params
        self._stop_ids = stop_ids
        self._processors = _processors(params, len(prompt), stop_ids)
        self._num_new = 0

    def advance(self, log_probs: Tensor, first_row: int) -> int:
        """Lengthen every beam by a token.

        Args:
            log_probs: (N, V), of the next token of every sequence of the batch.
            first_row: the first of those that belong to this search; the others follow it.

        Returns:
            The first row of the next search.

        Raises:
            CheckpointError: a log-probability of its own is NaN.
        """
        next_row = first_row + len(self.beams)
        check_numbers(log_probs[first_row:next_row])
        candidates = self._candidates(log_probs[first_row:next_row], first_row)
        self._num_new += 1
        is_last = self._num_new == self._params.max_new_tokens
        self.beams = []
        for rank, beam in enumerate(candidates):
            if is_last or beam.token_ids[-1] in self._stop_ids:
                if rank < self._params.num_beams:
                    self._finish(beam)
            elif len(self.beams) < self._params.num_beams:
                self.beams.append(beam)
        self.is_done = not self.beams or self._has_enough()
        return next_row

    def best(self) -> list[Hypothesis]:
        """The best `num_return_sequences` completions, best first; running beams count until it is done."""
        found = list(self.finished)
        if not self.is_done:
            running = [beam for beam in self.beams if beam.token_ids]
            found += [Hypothesis(each.token_ids, self._score(each.log_prob, len(each.token_ids))) for each in running]
        return sorted(found, key=lambda each: -each.score)[: self._params.num_return_sequences]

    def _candidates(self, log_probs: Tensor, first_row: int) -> list[Beam]:
        """The best continuations, best first: so many that `num_beams` of them do not end here."""
        if self._processors:
            input_ids = torch.tensor([self._prompt + beam.token_ids for beam in self.beams], device=log_probs.device)
            for process in self._processors:
                log_probs = process(input_ids, log_probs)
        totals = log_probs + log_probs.new_tensor([beam.log_prob for beam in self.beams]).unsqueeze(1)
        count = max(2, 1 + len(self._stop_ids)) * self._params.num_beams
        best = totals.flatten().topk(min(count, totals.numel()))
        candidates = []
        for total, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            row, token = divmod(index, log_probs.shape[1])
            if total > -torch.inf:
                candidates.append(Beam([*self.beams[row].token_ids, token], total, first_row + row))
        return candidates

    def _finish(self, beam: Beam) -> None:
        self.finished.append(Hypothesis(beam.token_ids, self._score(beam.log_prob, len(beam.token_ids))))
        self.finished.sort(key=lambda each: -each.score)
        del self.finished[self._params.num_beams :]

    def _score(self, log_prob: float, length: int) -> float:
        return log_prob / length**self._params.length_penalty

    def _has_enough(self) -> bool:
        """Whether no running beam is expected to score better than the completions there are."""
        if len(self.finished) < self._params.num_beams:
            return False
        if self._params.early_stopping is True or self._params.num_beams == 1:
            return True
        grows = self._params.early_stopping == "never" and self._params.length_penalty > 0
        length = self._params.max_new_tokens if grows else self._num_new
        return self._score(self.beams[0].log_prob, length) <= self.finished[-1].score


def _processors(params: BeamParams, prompt_length: int, stop_ids: frozenset[int]) -> list[LogitsProcessor]:
    """What `params` ask for, in the order of `transformers`."""
    processors: list[LogitsProcessor] = []
    if params.repetition_penalty != 1:
        processors.append(repetition_penalty(params.repetition_penalty))
    if params.no_repeat_ngram_size:
        processors.append(no_repeat_ngram(params.no_repeat_ngram_size))
    if params.bad_words_ids:
        processors.append(bad_words(params.bad_words_ids))
    if params.min_new_tokens and stop_ids:
        processors.append(min_length(prompt_length + params.min_new_tokens, stop_ids))
    if params.forced_bos_token_id is not None:
        processors.append(forced_token(prompt_length, params.forced_bos_token_id))
    if params.forced_eos_token_id is not None:
        processors.append(forced_token(prompt_length + params.max_new_tokens - 1, params.forced_eos_token_id))
    return processors


def check_beam_tokens(params: BeamParams, vocab_size: int) -> None:
    """Refuse params that name tokens the model does not have.

    Raises:
        ConfigError: names the key.
    """
    forced = {"forced_bos_token_id": params.forced_bos_token_id, "forced_eos_token_id": params.forced_eos_token_id}
    tokens = {key: [] if token is None else [token] for key, token in forced.items()}
    tokens["bad_words_ids"] = [token for word in params.bad_words_ids for token in word]
    check_in_vocabulary(tokens, vocab_size)
