"""Completing a prompt: the naive way that every faster one must equal, and the cached way."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from inkstone.core.errors import ConfigError, InputError
from inkstone.nn.models.base import Decoder
from inkstone.nn.sampling import check_token_ids, choose_tokens, logits_processors
from inkstone.nn.sampling_params import SamplingParams
from inkstone.nn.steps import NextTokenModel, left_padded
from inkstone.nn.text_stream import Decode, TextStream

FinishReason = Literal["eos", "stop", "length", "context"]
"""Why a completion ended: a stop token, a stop string, `max_new_tokens`, or the model's context is full."""


@dataclass(slots=True)
class Completion:
    """One completion of a prompt, growing until `finish_reason` is set."""

    index: int
    """Its number among the completions of its prompt."""
    prompt: int = 0
    """The number of its prompt."""
    token_ids: list[int] = field(default_factory=list)
    """Tokens drawn, without the stop token; those of a stop string are here, though its text is not."""
    text: str = ""
    finish_reason: FinishReason | None = None
    stop_id: int | None = None
    """The stop token that was drawn at the end."""
    log_probabilities: list[float] = field(default_factory=list)
    """Of every token drawn, the stop token too, in nats, under the distribution it was drawn from; where asked for."""


@torch.inference_mode()
def generate_naive(
    model: Decoder, prompt_ids: Sequence[int], params: SamplingParams, *, stop_ids: Collection[int] = ()
) -> list[list[int]]:
    """The definition of `generate`, without cache, batch or text: the token ids of each completion.

    Stop strings play no part. Errors are those of `generate`.
    """
    room = check_prompt(model.context, prompt_ids)
    params = params.with_seed()
    device, ends = model.device, params.ends(stop_ids)
    processors = logits_processors(params, len(prompt_ids), ends)
    completions = []
    for index in range(params.num_return_sequences):
        ids = list(prompt_ids)
        for step in range(min(params.max_new_tokens, room)):
            input_ids = torch.tensor([ids], device=device)
            logits: Tensor = model(input_ids)[:, -1].float()
            check_token_ids(params, logits.shape[-1])
            for process in processors:
                logits = process(input_ids, logits)
            (token,) = choose_tokens(logits, params, [index], step)
            if token in ends:
                break
            ids.append(token)
        completions.append(ids[len(prompt_ids) :])
    return completions


def generate(
    model: NextTokenModel,
    prompt_ids: Sequence[int],
    params: SamplingParams,
    *,
    stop_ids: Collection[int] = (),
    decode: Decode | None = None,
) -> list[Completion]:
    """Complete a prompt `params.num_return_sequences` times, all at once, with a cache.

    Args:
        model: a decoder; or a `TargetDecoder` of one source, with `[model.start]` as the prompt.
        prompt_ids: shorter than the model's context.
        params: how tokens are drawn.
        stop_ids: tokens that end a completion.
        decode: turns token ids into text; without it `Completion.text` stays empty.

    Raises:
        InputError: the prompt is empty or fills the model's context.
        ConfigError: stop strings are given, but `decode` is not.
    """
    return generate_batch(model, [prompt_ids], params, stop_ids=stop_ids, decode=decode)[0]


def generate_batch(
    model: NextTokenModel,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    *,
    stop_ids: Collection[int] = (),
    decode: Decode | None = None,
    seeds: Sequence[int] | None = None,
    log_probabilities: bool = False,
) -> list[list[Completion]]:
    """The completions of each of several prompts, which may differ in length, computed together.

    They are those that `generate` gives for each prompt alone, up to rounding. Arguments and errors are those of
    `generate`; an error names the number of its prompt.

    Args:
        model: as of `generate`, like all that is not named here.
        prompts: token ids.
        params: how tokens are drawn.
        stop_ids: tokens that end a completion.
        decode: turns token ids into text.
        seeds: of each prompt, instead of `params.seed`.
        log_probabilities: fill `Completion.log_probabilities`.
    """
    batch = _new_batch(model, prompts, params, stop_ids, decode, seeds, log_probabilities)
    if decode is None:
        while batch.running:
            batch.step()
        return batch.completions
    for _ in _pieces(batch, prompts, params, decode):
        pass
    return batch.completions


def stream(
    model: NextTokenModel,
    prompt_ids: Sequence[int],
    params: SamplingParams,
    *,
    stop_ids: Collection[int] = (),
    decode: Decode | None = None,
) -> Iterator[tuple[Completion, str]]:
    """The same as `generate`, each piece of text as soon as it is certain, with the completion it continues.

    A piece may be empty; the last one of each completion comes with its `finish_reason`.
    """
    batch = _new_batch(model, [prompt_ids], params, stop_ids, decode)
    return _pieces(batch, [prompt_ids], params, decode)


def _new_batch(
    model: NextTokenModel,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    stop_ids: Collection[int],
    decode: Decode | None,
    seeds: Sequence[int] | None = None,
    log_probabilities: bool = False,
) -> "Batch":
    if params.stop and decode is None:
        raise ConfigError("stop strings need decode", where="stop", remedy="pass the tokenizer's decode")
    return Batch(model, prompts, params, stop_ids, seeds, log_probabilities)


def _pieces(
    batch: "Batch", prompts: Sequence[Sequence[int]], params: SamplingParams, decode: Decode | None
) -> Iterator[tuple[Completion, str]]:
    texts = [
        [TextStream(decode or _no_text, prompt_ids, params.stop) for _ in range(params.num_return_sequences)]
        for prompt_ids in prompts
    ]
    while batch.running:
        for completion in batch.step():
            text = texts[completion.prompt][completion.index]
            piece = "" if completion.finish_reason == "eos" else text.push(completion.token_ids[-1])
            if text.stopped:
                completion.finish_reason = "stop"
            elif completion.finish_reason:
                piece += text.finish()
            completion.text += piece
            yield completion, piece


def _no_text(token_ids: Sequence[int]) -> str:
    return ""


def check_prompt(context: int, prompt_ids: Sequence[int], where: str = "prompt") -> int:
    """The number of tokens that fit into a model's context after a prompt.

    Raises:
        InputError: the prompt is empty or leaves no room.
    """
    if not prompt_ids:
        raise InputError("the prompt has no tokens", where=where, remedy="give at least one character")
    if len(prompt_ids) >= context:
        raise InputError(
            f"the prompt has {len(prompt_ids):,} tokens, but the model's context is {context:,} and must hold one more",
            where=where,
            remedy="shorten the prompt, or use a model with a longer context",
        )
    return context - len(prompt_ids)


class Batch:
    """Completions of one or several prompts that grow together, one token each a step."""

    def __init__(
        self,
        model: NextTokenModel,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        stop_ids: Collection[int] = (),
        seeds: Sequence[int] | None = None,
        log_probabilities: bool = False,
    ) -> None:
        names = ["prompt"] if len(prompts) == 1 else [f"prompt {number}" for number in range(1, len(prompts) + 1)]
        self._rooms = [check_prompt(model.context, ids, name) for ids, name in zip(prompts, names, strict=True)]
        self._model = model
        self._params = params.with_seed()
        self._is_seeded = params.seed is not None or seeds is not None
        self._seeds = seeds
        self._with_log_probabilities = log_probabilities
        self._stop_ids = params.ends(stop_ids)
        self.completions = [
            [Completion(index, number) for index in range(params.num_return_sequences)]
            for number in range(len(prompts))
        ]
        """Of each prompt."""
        self._rows = [completion for each in self.completions for completion in each]
        self._input_ids, self._attention_mask = left_padded(prompts, model.device)
        self._processors = logits_processors(params, self._input_ids.shape[1], self._stop_ids)
        most = max((min(params.max_new_tokens, room) for room in self._rooms), default=0)
        self._cache = model.new_cache(self._input_ids.shape[1] + most)
        self._num_steps = 0

    @property
    def running(self) -> list[Completion]:
        """Completions that have not ended."""
        return [completion for completion in self._rows if completion.finish_reason is None]

    @torch.inference_mode()
    def step(self) -> list[Completion]:
        """Draw one token for every running completion; returns them, some now with a `finish_reason`."""
        logits = self._prefill() if self._num_steps == 0 else self._decode()
        for process in self._processors:
            logits = process(self._input_ids, logits)
        seeds = None if self._seeds is None else [self._seeds[each.prompt] for each in self._rows]
        streams = [self._stream_of(each) for each in self._rows]
        tokens = choose_tokens(logits, self._params, streams, self._num_steps, seeds)
        self._num_steps += 1
        if self._with_log_probabilities:
            self._note_log_probabilities(logits, tokens)
        self._input_ids = torch.cat((self._input_ids, self._input_ids.new_tensor(tokens).unsqueeze(1)), dim=1)
        if self._attention_mask is not None:
            self._attention_mask = F.pad(self._attention_mask, (0, 1), value=1)
        for completion, token in zip(self._rows, tokens, strict=True):
            self._extend(completion, token)
        return list(self._rows)

    def _note_log_probabilities(self, logits: Tensor, tokens: Sequence[int]) -> None:
        drawn = logits.new_tensor(tokens, dtype=torch.long).unsqueeze(1)
        # (B, V) → (B,)
        values = logits.float().log_softmax(dim=-1).gather(1, drawn).squeeze(1).tolist()
        for completion, value in zip(self._rows, values, strict=True):
            completion.log_probabilities.append(value)

    def _stream_of(self, completion: Completion) -> int:
        """Number of a completion's random stream: with a seed, the one it would have if its prompt were alone."""
        earlier = 0 if self._is_seeded else completion.prompt * self._params.num_return_sequences
        return earlier + completion.index

    def _prefill(self) -> Tensor:
        """Read every prompt once, then let each completion start from what is remembered of it; logits (B, V)."""
        logits = self._last_logits(self._input_ids)
        check_token_ids(self._params, logits.shape[-1])
        rows = torch.tensor([completion.prompt for completion in self._rows], device=logits.device)
        self._keep(rows)
        return logits[rows]

    def _decode(self) -> Tensor:
        """Leave out the completions that have ended, then read the newest token of the others; logits (B, V)."""
        rows = [row for row, completion in enumerate(self._rows) if completion.finish_reason is None]
        if len(rows) < len(self._rows):
            self._rows = [self._rows[row] for row in rows]
            self._keep(torch.tensor(rows, device=self._input_ids.device))
        return self._last_logits(self._input_ids[:, -1:])

    def _last_logits(self, input_ids: Tensor) -> Tensor:
        hidden_states = self._model.hidden_states(input_ids, cache=self._cache, attention_mask=self._attention_mask)
        return self._model.logits(hidden_states[:, -1])

    def _keep(self, rows: Tensor) -> None:
        if rows.tolist() != list(range(len(self._input_ids))):
            self._cache.reorder(rows)
            self._input_ids = self._input_ids[rows]
            if self._attention_mask is not None:
                self._attention_mask = self._attention_mask[rows]

    def _extend(self, completion: Completion, token: int) -> None:
        if token in self._stop_ids:
            completion.finish_reason, completion.stop_id = "eos", token
            return
        completion.token_ids.append(token)
        room, wanted = self._rooms[completion.prompt], self._params.max_new_tokens
        if len(completion.token_ids) == min(room, wanted):
            completion.finish_reason = "length" if wanted <= room else "context"
