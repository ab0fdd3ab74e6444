"""From prompts to next-token logits, step by step, whatever the kind of model."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from inkstone.nn.models.base import Cache


class NextTokenModel(Protocol):
    """What generation needs: a `Decoder`, or a `TargetDecoder` over an encoder–decoder."""

    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def context(self) -> int: ...  # noqa: D102
    def new_cache(self, capacity: int) -> Cache: ...  # noqa: D102
    def hidden_states(  # noqa: D102
        self, input_ids: Tensor, *, cache: Cache | None = None, attention_mask: Tensor | None = None
    ) -> Tensor: ...
    def logits(self, hidden_states: Tensor) -> Tensor: ...  # noqa: D102


class Steps(Protocol):
    """Where next-token logits come from, one token at a time."""

    def start(self) -> Tensor:
        """Logits (B, V) after each prompt."""

    def extend(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Go on with the sequences `rows` (N,) of the last call, each with one token more: logits (N, V)."""


class CachedSteps:
    """The steps of a model with a cache, prompts of different lengths padded on the left."""

    def __init__(self, model: NextTokenModel, prompts: Sequence[Sequence[int]], num_steps: int) -> None:
        """Prepare for at most `num_steps` tokens after each prompt."""
        longest = max(len(prompt) for prompt in prompts)
        gaps = [longest - len(prompt) for prompt in prompts]
        ids = [[0] * gap + list(prompt) for gap, prompt in zip(gaps, prompts, strict=True)]
        self._model = model
        self._prompts = torch.tensor(ids, device=model.device)
        self._cache = model.new_cache(longest + num_steps)
        self._mask: Tensor | None = None
        if any(gaps):
            columns = torch.arange(longest, device=model.device)
            self._mask = (columns >= torch.tensor(gaps, device=model.device).unsqueeze(1)).long()

    def start(self) -> Tensor:
        """As in `Steps`."""
        return self._read(self._prompts)

    def extend(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """As in `Steps`."""
        self._cache.reorder(rows)
        if self._mask is not None:
            mask = self._mask[rows]
            self._mask = torch.cat((mask, mask.new_ones(len(rows), 1)), dim=1)
        return self._read(tokens.unsqueeze(1))

    def _read(self, input_ids: Tensor) -> Tensor:
        hidden_states = self._model.hidden_states(input_ids, cache=self._cache, attention_mask=self._mask)
        return self._model.logits(hidden_states[:, -1])
