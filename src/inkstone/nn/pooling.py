"""From the hidden states of a text's tokens to one vector for the text."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from inkstone.nn.heads import first_token, last_token

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
    states, real = hidden_states.float(), attention_mask.bool().unsqueeze(-1)
    match pooling:
        case "mean":
            return states.masked_fill(~real, 0.0).sum(1) / real.sum(1)
        case "max":
            return states.masked_fill(~real, -torch.inf).amax(1)
        case "cls":
            return first_token(states, attention_mask)
        case "lasttoken":
            return last_token(states, attention_mask)


def unit_length(vectors: Tensor) -> Tensor:
    """Vectors (..., C) divided by their Euclidean length; their dot products are then cosines."""
    return F.normalize(vectors, dim=-1)
