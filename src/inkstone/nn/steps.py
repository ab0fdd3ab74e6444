"""From prompts to next-token logits, step by step, whatever the kind of model."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

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
        self._model = model
        self._prompts, self._mask = left_padded(prompts, model.device)
        self._cache = model.new_cache(self._prompts.shape[1] + num_steps)

    def start(self) -> Tensor:
        """As in `Steps`."""
        return self._read(self._prompts)

    def extend(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """As in `Steps`."""
        self._cache.reorder(rows)
        if self._mask is not None:
            self._mask = F.pad(self._mask[rows], (0, 1), value=1)
        return self._read(tokens.unsqueeze(1))

    def _read(self, input_ids: Tensor) -> Tensor:
        hidden_states = self._model.hidden_states(input_ids, cache=self._cache, attention_mask=self._mask)
        return self._model.logits(hidden_states[:, -1])


def left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Prompts as one (B, T), each ending in the last column, and their attention mask where any is padded.

    The padding repeats the prompt's own first token, so that logits processors see no token that is not in it.
    """
    longest = max(map(len, prompts), default=0)
    padding = [longest - len(prompt_ids) for prompt_ids in prompts]
    rows = [[prompt_ids[0]] * size + list(prompt_ids) for prompt_ids, size in zip(prompts, padding, strict=True)]
    input_ids = torch.tensor(rows, dtype=torch.long, device=device).view(len(rows), longest)
    if not any(padding):
        return input_ids, None
    return input_ids, (torch.arange(longest, device=device) >= input_ids.new_tensor(padding).unsqueeze(1)).long()
