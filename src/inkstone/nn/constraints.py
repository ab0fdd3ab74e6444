"""Logits processors that forbid or force tokens; they agree with those of `transformers`."""

from collections import defaultdict
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from inkstone.nn.processors import LogitsProcessor


def no_repeat_ngram(size: int) -> LogitsProcessor:
    """Forbid the token that would repeat an n-gram of `size` ≥ 1 (Paulus et al. 2017, arXiv:1705.04304, 2.5)."""

    def forbid(input_ids: Tensor, logits: Tensor) -> Tensor:
        logits = logits.clone()
        for row, ids in enumerate(input_ids.tolist()):
            followers: dict[tuple[int, ...], list[int]] = defaultdict(list)
            for end in range(size, len(ids) + 1):
                *beginning, last = ids[end - size : end]
                followers[tuple(beginning)].append(last)
            current = tuple(ids[len(ids) - size + 1 :])
            logits[row, followers[current]] = -torch.inf
        return logits

    return forbid


def bad_words(words: Collection[Sequence[int]]) -> LogitsProcessor:
    """Forbid sequences of tokens: the last token of each, wherever the others have just been written."""

    def forbid(input_ids: Tensor, logits: Tensor) -> Tensor:
        logits = logits.clone()
        rows = input_ids.tolist()
        for *beginning, last in words:
            for row, ids in enumerate(rows):
                if ids[len(ids) - len(beginning) :] == beginning:
                    logits[row, last] = -torch.inf
        return logits

    return forbid


def min_length(length: int, stop_ids: Collection[int]) -> LogitsProcessor:
    """Forbid the tokens that end a sequence while it has fewer than `length` tokens, its prompt included."""
    ends = sorted(stop_ids)

    def forbid(input_ids: Tensor, logits: Tensor) -> Tensor:
        if input_ids.shape[1] >= length:
            return logits
        return logits.index_fill(-1, torch.tensor(ends, device=logits.device), -torch.inf)

    return forbid


def forced_token(length: int, token: int) -> LogitsProcessor:
    """Allow nothing but `token` after `length` tokens, the prompt included; it costs nothing."""

    def force(input_ids: Tensor, logits: Tensor) -> Tensor:
        if input_ids.shape[1] != length:
            return logits
        forced = torch.full_like(logits, -torch.inf)
        forced[:, token] = 0.0
        return forced

    return force
