"""Logits processors: functions that change how likely tokens are; they agree with those of `transformers`."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

LogitsProcessor = Callable[[Tensor, Tensor], Tensor]
"""`(input_ids (B, T), logits (B, V)) -> logits (B, V)`; tokens that may not be drawn get -inf."""


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


def typical_p(p: float) -> LogitsProcessor:
    """Keep the tokens whose surprise is nearest to the entropy, as many as sum to `p` (Meister et al. 2022).

    "Locally typical sampling", arXiv:2202.00666, section 4. The token nearest to the entropy is always kept.
    """

    def keep(input_ids: Tensor, logits: Tensor) -> Tensor:
        log_probs = logits.log_softmax(dim=-1)
        probabilities = log_probs.exp()
        entropy = -(probabilities * log_probs).nansum(dim=-1, keepdim=True)
        order = (-log_probs - entropy).abs().sort(dim=-1, stable=True).indices
        ordered = probabilities.gather(-1, order)
        before = ordered.cumsum(dim=-1) - ordered
        outside = torch.empty_like(before, dtype=torch.bool).scatter_(-1, order, before >= p)
        return logits.masked_fill(outside, -torch.inf)

    return keep


def count_penalties(frequency: float, presence: float, prompt_length: int) -> LogitsProcessor:
    """Take `frequency` times a token's count in the completion from its logit, and `presence` if it is there at all.

    As in OpenAI's API. The completion is what follows the first `prompt_length` of the input ids.
    """

    def penalize(input_ids: Tensor, logits: Tensor) -> Tensor:
        completion = input_ids[:, prompt_length:]
        counts = torch.zeros_like(logits).scatter_add_(-1, completion, torch.ones_like(completion, dtype=logits.dtype))
        return logits - frequency * counts - presence * (counts > 0)

    return penalize


def logit_bias(bias: Mapping[int, float]) -> LogitsProcessor:
    """Add a number to the logits of some tokens."""
    tokens, values = list(bias), list(bias.values())

    def add(input_ids: Tensor, logits: Tensor) -> Tensor:
        index = torch.tensor(tokens, device=logits.device)
        return logits.index_add(-1, index, logits.new_tensor(values).expand(len(logits), -1))

    return add
