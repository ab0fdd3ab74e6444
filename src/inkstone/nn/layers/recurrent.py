"""What recurrent layers need around `torch.nn.LSTM`: a state that is a cache, and runs of tokens that share one."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from inkstone.nn.layers.recompute import run_block

State = tuple[Tensor, Tensor]
"""Output h and cell c of one layer after its last token, each (1, N, H): N sequences or runs, H the layer's width."""


class Runs(NamedTuple):
    """The stretches of a batch (B, T) that are read one by one, each with a state of its own: N runs, M tokens.

    Tokens stand as in a `PackedSequence`: the first of every run, longest run first, then the second of every run
    that has one, and so on. So no run is padded, and a layer reads all of them at once.
    """

    tokens: Tensor
    """(M,), where each token stands in the flattened batch."""
    rows: Tensor
    """(N,), the sequence that each run belongs to."""
    batch_sizes: Tensor
    """Number of runs that have a first token, a second …; on the CPU, where PyTorch wants it."""
    num_sequences: int
    """B."""


def find_runs(mask: Tensor, segment_ids: Tensor | None = None) -> Runs:
    """Split a batch at the borders of its sequences and segments; padding belongs to no run.

    Args:
        mask: (B, T), nonzero at real tokens, of which there is at least one.
        segment_ids: (B, T), equal for neighbors of one segment.
    """
    tokens = mask.flatten().nonzero().squeeze(1)  # (M,)
    rows = tokens // mask.shape[1]
    changes = rows.diff() != 0
    if segment_ids is not None:
        changes |= segment_ids.flatten()[tokens].diff() != 0
    begins = torch.cat((changes.new_ones(1), changes))  # (M,)
    run = begins.cumsum(0) - 1
    firsts = begins.nonzero().squeeze(1)  # (N,)
    longest_first = run.bincount().argsort(descending=True, stable=True)
    rank = longest_first.argsort()
    offset = torch.arange(len(tokens), device=mask.device) - firsts[run]
    order = (offset * len(firsts) + rank[run]).argsort()
    return Runs(tokens[order], rows[firsts][longest_first], offset.bincount().cpu(), mask.shape[0])


class RecurrentCache:
    """The states of every layer, for one growing batch of sequences; its size does not grow with them."""

    def __init__(self, num_hidden_layers: int) -> None:
        self.length = 0
        self._states: list[State | None] = [None] * num_hidden_layers

    def state(self, layer_index: int, runs: Runs | None) -> State | None:
        """Where one layer goes on, for every sequence or run; None before the first token, which means zeros."""
        state = self._states[layer_index]
        if state is None or runs is None:
            return state
        return state[0][:, runs.rows], state[1][:, runs.rows]

    def store(self, layer_index: int, state: State, runs: Runs | None) -> None:
        """Keep the state of one layer after the newest tokens; a sequence without a run keeps the one it had."""
        if runs is not None:
            zeros = state[0].new_zeros(1, runs.num_sequences, state[0].shape[2])
            output, cell = self._states[layer_index] or (zeros, zeros)
            state = output.index_copy(1, runs.rows, state[0]), cell.index_copy(1, runs.rows, state[1])
        self._states[layer_index] = state

    def load(self, states: Sequence[State], new: Tensor) -> None:
        """Go on from the states of each layer, (1, B, H); sequences that are `new`, (B,), begin with zeros.

        Without states, all begin.
        """
        for index, (output, cell) in enumerate(states):
            begins = new.view(1, -1, 1)
            self._states[index] = output.masked_fill(begins, 0.0), cell.masked_fill(begins, 0.0)

    def states(self) -> list[State]:
        """Of each layer after the newest tokens, (1, B, H)."""
        return [state for state in self._states if state is not None]

    def advance(self, num_positions: int) -> None:
        """Count `num_positions` more positions as read."""
        self.length += num_positions

    def reorder(self, rows: Tensor) -> None:
        """Keep only the sequences `rows` (indices into B, repeats allowed), in that order."""
        self._states = [state and (state[0][:, rows], state[1][:, rows]) for state in self._states]


def run_layer(layer: nn.LSTM, inputs: Tensor, state: State | None, runs: Runs | None) -> tuple[Tensor, State]:
    """Read inputs with one layer.

    Args:
        layer: single, batch first.
        inputs: (B, T, C), or (M, C) with `runs`.
        state: before the first token, None for zeros.
        runs: those of the inputs.

    Returns:
        The outputs, (B, T, H) or (M, H), and the state after the last token.
    """
    if runs is None:
        output, state = run_block(layer, inputs, state)
        return output, state
    output, state = run_block(layer, PackedSequence(inputs, runs.batch_sizes), state)
    return output.data, state
