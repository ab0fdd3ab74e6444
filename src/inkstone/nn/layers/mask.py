"""Who may look at whom."""

from typing import NamedTuple

import torch
from torch import Tensor


class AttentionMask(NamedTuple):
    """What all attention layers of one forward pass share; made by `make_mask`.

    Where `dense` is None the mask is plain: causal with the last query aligned with the last key, or everything.
    """

    causal: bool
    dense: Tensor | None = None
    """Bool (B or 1, 1, T, S), true where a query may look; it says all there is to say, `causal` included."""
    segment_ids: Tensor | None = None
    """(B, T), given where the mask says no more than: causal, and within the segment."""


def make_mask(
    num_queries: int,
    num_keys: int,
    *,
    causal: bool,
    device: torch.device,
    padding: Tensor | None = None,
    window: int | None = None,
    segment_ids: Tensor | None = None,
    prefix_lengths: Tensor | None = None,
) -> AttentionMask:
    """Combine the reasons for which a query may not look at a key.

    Args:
        num_queries: T; the last query is aligned with the last key.
        num_keys: S.
        causal: a query sees no later key.
        device: of the mask.
        padding: (B, S), nonzero where a key is a real token (Hugging Face's `attention_mask`).
        window: a query sees at most so many keys, itself included, to either side unless the mask is causal
            (Beltagy et al. 2020, arXiv:2004.05150).
        segment_ids: (B, S), for packed sequences: a query sees only its own segment.
        prefix_lengths: (B,), keys that everyone may see although the mask is causal (prefix language model).
    """
    # Looking at the values waits for the device, but leaves plain masks plain; a compiled graph cannot look.
    if padding is not None and not torch.compiler.is_compiling() and bool(padding.all()):
        padding = None
    if window is not None and window >= num_keys:
        window = None
    if padding is None and window is None and segment_ids is None and prefix_lengths is None:
        return AttentionMask(causal)
    keys = torch.arange(num_keys, device=device)
    queries = torch.arange(num_keys - num_queries, num_keys, device=device)
    distance = queries.unsqueeze(1) - keys  # (T, S)
    allowed = (distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)).unsqueeze(0)
    if prefix_lengths is not None:
        allowed = allowed | (keys < prefix_lengths.unsqueeze(1)).unsqueeze(1)
    if window is not None:
        allowed = allowed & (distance < window) & (distance > -window)
    if segment_ids is not None:
        allowed = allowed & (segment_ids[:, -num_queries:].unsqueeze(2) == segment_ids.unsqueeze(1))
    if padding is not None:
        allowed = allowed & padding.bool().unsqueeze(1)
    packed = causal and padding is None and window is None and prefix_lengths is None and num_queries == num_keys
    return AttentionMask(causal, allowed.unsqueeze(1), segment_ids if packed else None)
