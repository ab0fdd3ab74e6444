"""Negative log-likelihoods of documents under a model, by windows that slide over what is longer than its context."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from inkstone.core.errors import ConfigError
from inkstone.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]

_MAX_LOGITS = 1 << 25
"""Logits of one batch; 128 MiB in float32."""
_LARGEST_EXPONENT = 700.0
"""Of a loss whose exponential is still a number."""


@dataclass(frozen=True, slots=True)
class DocumentScore:
    """What a model says about one document, in nats."""

    nll: Floats
    """(T,) negative log-likelihood of each token of the text, the first given bos."""
    eos_nll: float | None
    """Of the end of the document after its text; None when the tokenizer has no eos."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Tokens ``begin … end - 1`` of a sequence are read; those at ``first_target … end`` are scored."""

    sequence: int
    begin: int
    end: int
    first_target: int


def perplexity_of(loss: npt.ArrayLike) -> Floats:
    """The exponential of a loss, elementwise; that of a diverged model is the largest number that can be written."""
    return np.exp(np.minimum(np.asarray(loss, np.float64), _LARGEST_EXPONENT))


def fitting_context(longest: int, wanted: int | None) -> int:
    """Tokens that a model reads at once: `wanted`, or its own `longest`.

    Raises:
        ConfigError: more is wanted.
    """
    if wanted is not None and wanted > longest:
        raise ConfigError(
            f"the model reads {longest} tokens at once, not {wanted}",
            where="context_length",
            remedy=f"set context_length to {longest} or less, or leave it out",
        )
    return wanted or longest


def score_documents(
    model: Any,
    tokenizer: Tokenizer,
    token_ids: Sequence[Sequence[int]],
    *,
    context_length: int,
    stride: int,
    autocast: "torch.dtype | None" = None,
    on_scored: Callable[[int], None] | None = None,
) -> list[DocumentScore]:
    """Score documents, each as bos, its plain token ids, eos.

    Args:
        model: ``model(input_ids (B, T)) -> logits (B, T, V)``, causal. A model with ``hidden_states`` and ``logits``
            computes the logits of scored positions only.
        tokenizer: says what bos and eos are. Without bos, eos begins a document; without both, the first token costs
            log V, for nothing can predict it.
        token_ids: of each document, without special tokens.
        context_length: tokens the model reads at once.
        stride: tokens that each further window of a long document scores; the others are context.
        autocast: dtype to multiply in, where it is not the weights' own.
        on_scored: called with the number of tokens scored, after each batch.
    """
    start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    end = tokenizer.eos_id
    before = [] if start is None else [start]
    after = [] if end is None else [end]
    sequences = [[*before, *ids, *after] for ids in token_ids]
    scores = score_sequences(
        model, sequences, context_length=context_length, stride=stride, autocast=autocast, on_scored=on_scored
    )
    results = []
    for ids, nll in zip(token_ids, scores, strict=True):
        if start is None and ids:
            nll = np.concatenate([[math.log(tokenizer.vocab_size)], nll])
        results.append(DocumentScore(nll[: len(ids)], float(nll[-1]) if after and len(nll) > len(ids) else None))
    return results


def score_sequences(
    model: Any,
    sequences: Sequence[Sequence[int]],
    *,
    context_length: int,
    stride: int,
    autocast: "torch.dtype | None" = None,
    on_scored: Callable[[int], None] | None = None,
) -> list[Floats]:
    """Negative log-likelihood of each token after the first of each sequence, (length - 1,), each scored once.

    A sequence of up to ``context_length + 1`` tokens is scored in one pass. A longer one by windows of
    `context_length` tokens, each scoring the `stride` tokens after the last scored one with at least
    ``context_length - stride`` tokens before them.

    Raises:
        ConfigError: `stride` is not between 1 and `context_length`.
    """
    import torch

    if not 1 <= stride <= context_length:
        raise ConfigError(f"stride {stride} is not between 1 and the context length {context_length}", where="stride")
    results = [np.zeros(max(0, len(sequence) - 1)) for sequence in sequences]
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    windows = [w for n, ids in enumerate(sequences) for w in _windows(n, len(ids), context_length, stride)]
    vocab_size = int(getattr(model.config, "vocab_size", 1))
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None),
    ):
        for batch in _batches(windows, max(1, _MAX_LOGITS // vocab_size)):
            nll, scored = _score_batch(model, [sequences[w.sequence] for w in batch], batch, device)
            for row, window in enumerate(batch):
                target = slice(window.first_target - 1, window.end)
                results[window.sequence][target] = nll[row, scored[row]]
            if on_scored is not None:
                on_scored(int(scored.sum()))
    return results


def _windows(sequence: int, length: int, context_length: int, stride: int) -> Iterator[_Window]:
    last = length - 1  # the last token is only ever predicted
    scored = 0
    while scored < last:
        end = min(last, scored + (context_length if scored == 0 else stride))
        yield _Window(sequence, max(0, end - context_length), end, scored + 1)
        scored = end


def _batches(windows: Sequence[_Window], max_tokens: int) -> Iterator[list[_Window]]:
    """Windows of like length together, the longest first, at most `max_tokens` with padding."""
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda window: window.begin - window.end):
        width = (batch[0].end - batch[0].begin) if batch else 0
        if batch and width * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _score_batch(
    model: Any, sequences: Sequence[Sequence[int]], batch: Sequence[_Window], device: "torch.device"
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Negative log-likelihoods (B, T) and which of them count (B, T)."""
    import torch
    from torch.nn import functional

    width = batch[0].end - batch[0].begin
    tokens = np.zeros((len(batch), width + 1), dtype=np.int64)
    scored = np.zeros((len(batch), width), dtype=bool)
    for row, (window, ids) in enumerate(zip(batch, sequences, strict=True)):
        length = window.end - window.begin
        tokens[row, : length + 1] = ids[window.begin : window.end + 1]
        scored[row, window.first_target - window.begin - 1 : length] = True
    ids_tensor = torch.from_numpy(tokens).to(device)
    mask = torch.from_numpy(scored).to(device)
    inputs, targets = ids_tensor[:, :-1], ids_tensor[:, 1:][mask]  # (B, T), (scored,)
    if hasattr(model, "hidden_states"):
        logits = model.logits(model.hidden_states(inputs)[mask])  # (scored, V), only where it counts
    else:
        logits = model(inputs)[mask]
    losses = functional.cross_entropy(logits.float(), targets, reduction="none")
    nll = np.zeros(scored.shape)
    nll[scored] = losses.double().cpu().numpy()
    return nll, scored
