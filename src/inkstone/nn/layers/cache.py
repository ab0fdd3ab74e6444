"""What a model remembers of the tokens it has read."""

import torch
from torch import Tensor


class KVCache:
    """Keys and values of every block, for one growing batch of sequences.

    Storage is allocated once, (B, K, capacity, D) a block, at the first `append`; `length` is the number of
    positions already held.
    """

    def __init__(self, num_hidden_layers: int, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._keys: list[Tensor | None] = [None] * num_hidden_layers
        self._values: list[Tensor | None] = [None] * num_hidden_layers

    def append(self, layer_index: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values (B, K, T, D) of one block; returns all of that block, (B, K, length + T, D).

        `length` itself moves when `advance` is called, once per forward pass.
        """
        end = self.length + keys.shape[2]
        if end > self.capacity:
            raise ValueError(f"the KV cache holds {self.capacity} positions, {end} were needed")
        stored_keys, stored_values = self._keys[layer_index], self._values[layer_index]
        if stored_keys is None or stored_values is None:
            batch, heads, _, head_dim = keys.shape
            stored_keys = torch.empty(batch, heads, self.capacity, head_dim, dtype=keys.dtype, device=keys.device)
            stored_values = torch.empty_like(stored_keys)
            self._keys[layer_index], self._values[layer_index] = stored_keys, stored_values
        stored_keys[:, :, self.length : end] = keys
        stored_values[:, :, self.length : end] = values
        return stored_keys[:, :, :end], stored_values[:, :, :end]

    @property
    def values_per_position(self) -> int:
        """Numbers that are kept of each position of a sequence, over all blocks seen so far."""
        kept = (*self._keys, *self._values)
        return sum(stored.shape[1] * stored.shape[3] for stored in kept if stored is not None)

    def advance(self, num_positions: int) -> None:
        """Count `num_positions` more positions as held."""
        self.length += num_positions

    def reorder(self, rows: Tensor) -> None:
        """Keep only the sequences `rows` (indices into B, repeats allowed), in that order."""
        self._keys = [None if keys is None else self._rows_of(keys, rows) for keys in self._keys]
        self._values = [None if values is None else self._rows_of(values, rows) for values in self._values]

    def _rows_of(self, stored: Tensor, rows: Tensor) -> Tensor:
        """Copies the positions held, not the empty capacity."""
        kept = stored.new_empty(len(rows), *stored.shape[1:])
        kept[:, :, : self.length] = stored[rows, :, : self.length]
        return kept
