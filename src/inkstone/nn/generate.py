"""Completing a prompt: the naive way that every faster one must equal, and the cached way."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from inkstone.core.errors import ConfigError, InputError
from inkstone.nn.models.base import Decoder
from inkstone.nn.sampling import SamplingParams, choose_tokens, logits_processors
from inkstone.nn.text_stream import Decode, TextStream

FinishReason = Literal["eos", "stop", "length", "context"]
"""Why a completion ended: a stop token, a stop string, `max_new_tokens`, or the model's context is full."""


@dataclass(slots=True)
class Completion:
    """One completion of a prompt, growing until `finish_reason` is set."""

    index: int
    """Its number among the completions of the prompt."""
    token_ids: list[int] = field(default_factory=list)
    """Tokens drawn, without the stop token; those of a stop string are here, though its text is not."""
    text: str = ""
    finish_reason: FinishReason | None = None


@torch.inference_mode()
def generate_naive(
    model: Decoder, prompt_ids: Sequence[int], params: SamplingParams, *, stop_ids: Collection[int] = ()
) -> list[list[int]]:
    """The definition of `generate`, without cache, batch or text: the token ids of each completion.

    Stop strings play no part. Errors are those of `generate`.
    """
    room = check_prompt(model, prompt_ids)
    params = params.with_seed()
    device = model.device
    completions = []
    for index in range(params.num_return_sequences):
        ids = list(prompt_ids)
        for step in range(min(params.max_new_tokens, room)):
            input_ids = torch.tensor([ids], device=device)
            logits: Tensor = model(input_ids)[:, -1].float()
            for process in logits_processors(params):
                logits = process(input_ids, logits)
            (token,) = choose_tokens(logits, params, [index], step)
            if token in stop_ids:
                break
            ids.append(token)
        completions.append(ids[len(prompt_ids) :])
    return completions


def generate(
    model: Decoder,
    prompt_ids: Sequence[int],
    params: SamplingParams,
    *,
    stop_ids: Collection[int] = (),
    decode: Decode | None = None,
) -> list[Completion]:
    """Complete a prompt `params.num_return_sequences` times, all at once, with a KV cache.

    Args:
        model: a decoder.
        prompt_ids: shorter than the model's context.
        params: how tokens are drawn.
        stop_ids: tokens that end a completion.
        decode: turns token ids into text; without it `Completion.text` stays empty.

    Raises:
        InputError: the prompt is empty or fills the model's context.
        ConfigError: stop strings are given, but `decode` is not.
    """
    pieces = stream(model, prompt_ids, params, stop_ids=stop_ids, decode=decode)
    completions = {completion.index: completion for completion, _ in pieces}
    return [completions[index] for index in sorted(completions)]


def stream(
    model: Decoder,
    prompt_ids: Sequence[int],
    params: SamplingParams,
    *,
    stop_ids: Collection[int] = (),
    decode: Decode | None = None,
) -> Iterator[tuple[Completion, str]]:
    """The same as `generate`, each piece of text as soon as it is certain, with the completion it continues.

    A piece may be empty; the last one of each completion comes with its `finish_reason`.
    """
    if params.stop and decode is None:
        raise ConfigError("stop strings need decode", where="stop", remedy="pass the tokenizer's decode")
    batch = Batch(model, prompt_ids, params, stop_ids)
    texts = [TextStream(decode or _no_text, prompt_ids, params.stop) for _ in range(params.num_return_sequences)]
    return _pieces(batch, texts)


def _pieces(batch: "Batch", texts: list[TextStream]) -> Iterator[tuple[Completion, str]]:
    while batch.running:
        for completion in batch.step():
            text = texts[completion.index]
            piece = "" if completion.finish_reason == "eos" else text.push(completion.token_ids[-1])
            if text.stopped:
                completion.finish_reason = "stop"
            elif completion.finish_reason:
                piece += text.finish()
            completion.text += piece
            yield completion, piece


def _no_text(token_ids: Sequence[int]) -> str:
    return ""


def check_prompt(model: Decoder, prompt_ids: Sequence[int]) -> int:
    """The number of tokens that fit into the model's context after a prompt.

    Raises:
        InputError: the prompt is empty or leaves no room.
    """
    context = model.context
    if not prompt_ids:
        raise InputError("the prompt has no tokens", where="prompt", remedy="give at least one character")
    if len(prompt_ids) >= context:
        raise InputError(
            f"the prompt has {len(prompt_ids):,} tokens, but the model's context is {context:,} and must hold one more",
            where="prompt",
            remedy="shorten the prompt, or use a model with a longer context",
        )
    return context - len(prompt_ids)


class Batch:
    """Completions of one prompt that grow together, one token each a step."""

    def __init__(
        self, model: Decoder, prompt_ids: Sequence[int], params: SamplingParams, stop_ids: Collection[int] = ()
    ) -> None:
        room = check_prompt(model, prompt_ids)
        self._model = model
        self._params = params.with_seed()
        self._stop_ids = frozenset(stop_ids)
        self._limit = min(params.max_new_tokens, room)
        self._limit_reason: FinishReason = "length" if params.max_new_tokens <= room else "context"
        self._processors = logits_processors(params)
        self._rows = [Completion(index) for index in range(params.num_return_sequences)]
        self._input_ids = torch.tensor([prompt_ids], device=model.device)
        self._cache = model.new_cache(len(prompt_ids) + self._limit)
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
        tokens = choose_tokens(logits, self._params, [each.index for each in self._rows], self._num_steps)
        self._num_steps += 1
        self._input_ids = torch.cat((self._input_ids, self._input_ids.new_tensor(tokens).unsqueeze(1)), dim=1)
        for completion, token in zip(self._rows, tokens, strict=True):
            self._extend(completion, token)
        return list(self._rows)

    def _prefill(self) -> Tensor:
        """Read the prompt once, then let every completion start from its keys and values; logits (B, V)."""
        logits = self._last_logits(self._input_ids)
        rows = torch.zeros(len(self._rows), dtype=torch.long, device=logits.device)
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
        hidden_states = self._model.hidden_states(input_ids, cache=self._cache)
        return self._model.logits(hidden_states[:, -1])

    def _keep(self, rows: Tensor) -> None:
        if rows.tolist() != list(range(len(self._input_ids))):
            self._cache.reorder(rows)
            self._input_ids = self._input_ids[rows]

    def _extend(self, completion: Completion, token: int) -> None:
        if token in self._stop_ids:
            completion.finish_reason = "eos"
            return
        completion.token_ids.append(token)
        if len(completion.token_ids) == self._limit:
            completion.finish_reason = self._limit_reason
