"""What the encoder–decoders of running requests read, remembered for cross-attention."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inkstone.engine.request import Request
from inkstone.nn.layers.cross_attention import CrossAttention
from inkstone.nn.models.base import EncoderDecoder
from inkstone.nn.target_decoder import pad


class SourceBatch(NamedTuple):
    """The sources of a batch of targets."""

    layers: list[tuple[Tensor, Tensor]]
    """Keys and values (B, H, S, D) of every decoder layer."""
    mask: Tensor | None
    """(B, S), 0 at padding; None where there is none."""
    placeholder: Tensor
    """(B, S, 1): the encoder's states themselves are not needed any more."""


class Sources:
    """Encoded once for each request, kept until it has ended."""

    def __init__(self, model: EncoderDecoder) -> None:
        self._model = model
        found = [module for module in model.modules() if isinstance(module, CrossAttention)]
        self._attentions = sorted(found, key=lambda module: module.layer_index)
        self._kept: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self._last: tuple[tuple[int, ...], SourceBatch] | None = None

    def encode(self, requests: Mapping[int, Request]) -> None:
        """Read the sources that were not read before, together."""
        new = {number: request for number, request in requests.items() if number not in self._kept}
        if not new:
            return
        sources = [list(request.source_ids) for request in new.values()]
        input_ids, mask = pad(sources, self._model.context, self._model.device)
        states = self._model.encode(input_ids, attention_mask=mask)
        pairs = [attention.keys_and_values(states) for attention in self._attentions]
        for row, (number, source) in enumerate(zip(new, sources, strict=True)):
            # A copy: a slice would keep the whole batch in memory.
            self._kept[number] = [
                (keys[row, :, : len(source)].clone(), values[row, :, : len(source)].clone()) for keys, values in pairs
            ]

    def forget(self, request_id: int) -> None:
        """The request has ended."""
        self._kept.pop(request_id, None)
        self._last = None

    def batch(self, request_ids: Sequence[int]) -> SourceBatch:
        """The sources of each row, padded; those of the last call are at hand."""
        key = tuple(request_ids)
        if self._last is None or self._last[0] != key:
            self._last = key, self._padded(key)
        return self._last[1]

    def _padded(self, request_ids: Sequence[int]) -> SourceBatch:
        kept = [self._kept[number] for number in request_ids]
        lengths = [layers[0][0].shape[1] for layers in kept]
        longest = max(lengths)
        layers = [
            tuple(
                torch.stack([F.pad(pair[part], (0, 0, 0, longest - pair[part].shape[1])) for pair in rows])
                for part in (0, 1)
            )
            for rows in zip(*kept, strict=True)
        ]
        device = self._model.device
        mask = None
        if min(lengths) < longest:
            mask = (torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)).long().to(device)
        return SourceBatch(
            [(keys, values) for keys, values in layers], mask, torch.empty(len(kept), longest, 1, device=device)
        )
