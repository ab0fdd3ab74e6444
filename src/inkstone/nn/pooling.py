"""From the hidden states of a text's tokens to one vector for the text."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

Pooling = Literal["mean", "cls", "max", "lasttoken"]

POOLINGS = get_args(Pooling)
"""The ways of `pool`, under the names of sentence-transformers."""


def pool(hidden_states: Tensor, attention_mask: Tensor, pooling: Pooling) -> Tensor:
    """Hidden states (B, T, C) → one vector for each text, (B, C), in float32.

    Args:
        hidden_states: (B, T, C).
        attention_mask: (B, T), 0 at padding, on whichever side; every text has a token.
        pooling: the mean or the maximum over real tokens (Reimers & Gurevych 2019, arXiv:1908.10084, section 3), or
            the first (`cls`) or last real token's state.
    """
    states = hidden_states.float()
    match pooling:
        case "mean":
            return mean_of_tokens(states, attention_mask)
        case "max":
            return states.masked_fill(~attention_mask.bool().unsqueeze(-1), -torch.inf).amax(1)
        case "cls":
            return first_token(states, attention_mask)
        case "lasttoken":
            return last_token(states, attention_mask)


def unit_length(vectors: Tensor) -> Tensor:
    """Vectors (..., C) divided by their Euclidean length; their dot products are then cosines."""
    return F.normalize(vectors, dim=-1)


def first_token(hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The state (B, C) of the first real token in (B, T, C), on whichever side the padding is."""
    if attention_mask is None:
        return hidden_states[:, 0]
    return last_token(hidden_states.flip(1), attention_mask.flip(1))


def last_token(hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The state (B, C) of the last real token in (B, T, C), on whichever side the padding is."""
    if attention_mask is None:
        return hidden_states[:, -1]
    columns = torch.arange(hidden_states.shape[1], device=hidden_states.device)
    last = (columns * attention_mask.bool()).argmax(-1)
    return hidden_states[torch.arange(hidden_states.shape[0], device=hidden_states.device), last]


def mean_of_tokens(hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The mean (B, C) of the states of the real tokens in (B, T, C)."""
    if attention_mask is None:
        return hidden_states.mean(1)
    real = attention_mask.bool().unsqueeze(-1)
    return hidden_states.masked_fill(~real, 0.0).sum(1) / real.sum(1)
