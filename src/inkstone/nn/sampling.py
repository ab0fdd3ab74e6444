"""From logits to the next token: logits processors, and random numbers that belong to one sequence alone."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from inkstone.core.errors import CheckpointError
from inkstone.nn.sampling_params import SamplingParams

LogitsProcessor = Callable[[Tensor, Tensor], Tensor]
"""`(input_ids (B, T), logits (B, V)) -> logits (B, V)`; tokens that may not be drawn get -inf."""


def logits_processors(params: SamplingParams) -> list[LogitsProcessor]:
    """What `params` ask for, in the order of `transformers`: repetition penalty, temperature, top-k, top-p, min-p."""
    processors: list[LogitsProcessor] = []
    if params.repetition_penalty != 1:
        processors.append(repetition_penalty(params.repetition_penalty))
    if params.temperature == 0:
        return processors
    if params.temperature != 1:
        processors.append(temperature(params.temperature))
    if params.top_k is not None:
        processors.append(top_k(params.top_k))
    if params.top_p is not None and params.top_p < 1:
        processors.append(top_p(params.top_p))
    if params.min_p:
        processors.append(min_p(params.min_p))
    return processors


def temperature(value: float) -> LogitsProcessor:
    """Divide logits by `value` > 0."""
    return lambda input_ids, logits: logits / value


def top_k(k: int) -> LogitsProcessor:
    """Keep the `k` likeliest tokens (Fan et al. 2018, arXiv:1805.04833), and all that tie with the last of them."""

    def keep(input_ids: Tensor, logits: Tensor) -> Tensor:
        threshold = logits.topk(min(k, logits.shape[-1]), dim=-1).values[:, -1:]
        return logits.masked_fill(logits < threshold, -torch.inf)

    return keep


def top_p(p: float) -> LogitsProcessor:
    """Keep the nucleus: the fewest likeliest tokens whose sum reaches `p` (Holtzman et al. 2020, arXiv:1904.09751)."""

    def keep(input_ids: Tensor, logits: Tensor) -> Tensor:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities
        outside = torch.empty_like(before, dtype=torch.bool).scatter_(-1, order, before >= p)
        return logits.masked_fill(outside, -torch.inf)

    return keep


def min_p(p: float) -> LogitsProcessor:
    """Keep tokens at least `p` times as likely as the likeliest (Nguyen et al. 2024, arXiv:2407.01082)."""

    def keep(input_ids: Tensor, logits: Tensor) -> Tensor:
        probabilities = logits.softmax(dim=-1)
        return logits.masked_fill(probabilities < p * probabilities.amax(dim=-1, keepdim=True), -torch.inf)

    return keep


def repetition_penalty(penalty: float) -> LogitsProcessor:
    """Divide positive and multiply negative logits of tokens already there (Keskar et al. 2019, arXiv:1909.05858)."""

    def penalize(input_ids: Tensor, logits: Tensor) -> Tensor:
        used = logits.gather(-1, input_ids)
        return logits.scatter(-1, input_ids, torch.where(used > 0, used / penalty, used * penalty))

    return penalize


def uniform(seed: int, index: int, step: int) -> float:
    """Random number in [0, 1) of sequence `index` at `step`: a function of the three and of nothing else.

    One block of the counter-based generator Philox-4×64 (Salmon et al. 2011, doi:10.1145/2063384.2063405), keyed by
    seed and index, at counter `step`; 48 bits of it, so that products with float64 sums stay below the sum.
    """
    key = np.array([seed, index], dtype=np.uint64)
    counter = np.array([step, 0, 0, 0], dtype=np.uint64)
    bits = int(np.random.Philox(key=key, counter=counter).random_raw())
    return (bits >> 16) * 2.0**-48


def choose_tokens(
    logits: Tensor, params: SamplingParams, indices: Sequence[int], step: int, seeds: Sequence[int] | None = None
) -> list[int]:
    """The next token of each sequence.

    Greedy when the temperature is 0. Otherwise by inversion: the first token, in the order of ids, at which the
    cumulative probability exceeds the sequence's random number. Computed in float64 on the CPU, so that equal
    logits give equal tokens on every device.

    Args:
        logits: (B, V), processed.
        params: `seed` must be set, unless `seeds` are given.
        indices: number of each sequence among the completions of its prompt, B of them.
        step: number of tokens of the completions so far.
        seeds: of each sequence's random stream, instead of `params.seed`.

    Raises:
        CheckpointError: a logit is NaN.
    """
    logits = logits.detach().cpu()
    if logits.isnan().any():
        raise CheckpointError("the model's logits are NaN", remedy="its weights are damaged, or its dtype too narrow")
    if params.temperature == 0:
        return logits.argmax(dim=-1).tolist()
    if seeds is None:
        assert params.seed is not None
        seeds = [params.seed] * len(indices)
    cumulative = logits.double().softmax(dim=-1).cumsum(dim=-1)
    numbers = [uniform(seed, index, step) for seed, index in zip(seeds, indices, strict=True)]
    targets = torch.tensor(numbers, dtype=torch.float64).unsqueeze(1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True).squeeze(1).tolist()
