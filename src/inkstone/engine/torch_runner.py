"""Computing by PyTorch alone: every family, every device, and what faster runners must agree with."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as AbstractSequence
from typing import Any

import torch
from torch import Tensor, nn

from inkstone.engine.sampler import Predictions
from inkstone.engine.scheduler import Chunk
from inkstone.engine.sources import Sources
from inkstone.nn.layers.conv1d import Conv1D
from inkstone.nn.layers.cross_attention import EncoderDecoderCache
from inkstone.nn.layers.recurrent import RecurrentCache
from inkstone.nn.models.base import Decoder, EncoderDecoder

_MOST_PADDING = 0.25


class TorchRunner:
    """Keys and values in blocks, from which each pass gathers those of its batch.

    Args:
        model: a decoder with attention, or an encoder–decoder.
        num_blocks: of the cache.
        block_size: tokens of a block.
        dtype: of keys and values, by default the weights'.
    """

    reuses = True

    def __init__(
        self, model: Decoder | EncoderDecoder, num_blocks: int, block_size: int = 16, dtype: torch.dtype | None = None
    ) -> None:
        self.num_blocks, self.block_size = num_blocks, block_size
        self.context, self.window = model.context, window_of(model)
        self.vocab_size, self.input_vocab_size = vocab_size_of(model), model.config.vocab_size
        self.weight_bytes = matrix_bytes(model)
        self.reads_sources = isinstance(model, EncoderDecoder)
        self._model = model
        self._sources = Sources(model) if isinstance(model, EncoderDecoder) else None
        self._store = _Store((num_blocks + 1) * block_size, model.dtype if dtype is None else dtype)

    @torch.inference_mode()
    def compute(self, chunks: AbstractSequence[Chunk], copies: AbstractSequence[tuple[int, int]]) -> Predictions:
        """As in `Runner`."""
        if copies:
            self._store.copy(copies, self.block_size)
        if self._sources is not None:
            self._sources.encode({chunk.sequence.group.request_id: chunk.sequence.group.request for chunk in chunks})
        return _in_batches(chunks, self._compute_batch)

    def forget(self, request_id: int) -> None:
        """As in `Runner`."""
        if self._sources is not None:
            self._sources.forget(request_id)

    def _compute_batch(self, chunks: AbstractSequence[Chunk]) -> AbstractSequence[Tensor]:
        """Logits of each chunk, (num_logits, V)."""
        device, size = self._model.device, self.block_size
        input_ids, new = _right_aligned(chunks)
        lengths = [chunk.sequence.num_computed + len(chunk.token_ids) for chunk in chunks]
        longest = max(lengths)
        slots = torch.zeros(len(chunks), longest, dtype=torch.long)
        for row, (chunk, length) in enumerate(zip(chunks, lengths, strict=True)):
            blocks = torch.tensor(chunk.sequence.blocks).unsqueeze(1) * size + torch.arange(size)
            slots[row, longest - length :] = blocks.flatten()[:length]
        mask = None
        if min(lengths) < longest:
            mask = (torch.arange(longest) >= longest - torch.tensor(lengths).unsqueeze(1)).long().to(device)
        cache = BatchCache(self._store, slots.to(device), new.to(device))
        hidden_states = self._hidden_states(input_ids.to(device), cache, mask, chunks)
        return _last_logits(self._model, hidden_states, chunks)

    def _hidden_states(
        self, input_ids: Tensor, cache: "BatchCache", mask: Tensor | None, chunks: AbstractSequence[Chunk]
    ) -> Tensor:
        """(B, T) → (B, T, C)."""
        if isinstance(self._model, Decoder):
            return self._model.hidden_states(input_ids, cache=cache, attention_mask=mask)
        assert self._sources is not None
        source = self._sources.batch([chunk.sequence.group.request_id for chunk in chunks])
        for layer_index, (keys, values) in enumerate(source.layers):
            cache.keep_source(layer_index, keys, values)
        cache.source_mask = source.mask
        return self._model.decode(
            input_ids, source.placeholder, encoder_mask=source.mask, cache=cache, decoder_mask=mask
        )


class RecurrentRunner:
    """A model with a state instead of keys and values: a block is a sequence's state, whatever its length."""

    reuses = False
    reads_sources = False

    def __init__(self, model: Decoder, num_blocks: int) -> None:
        """Hold at most `num_blocks` states."""
        self.num_blocks, self.context = num_blocks, model.context
        self.window: int | None = None
        self.block_size = model.context + 1
        self.weight_bytes = matrix_bytes(model)
        self.vocab_size, self.input_vocab_size = vocab_size_of(model), model.config.vocab_size
        self._model = model
        self._states: list[tuple[Tensor, Tensor]] = []

    @torch.inference_mode()
    def compute(self, chunks: AbstractSequence[Chunk], copies: AbstractSequence[tuple[int, int]]) -> Predictions:
        """As in `Runner`."""
        for before, after in copies:
            for state in self._states:
                for part in state:
                    part[:, after] = part[:, before]
        return _in_batches(chunks, self._compute_batch)

    def forget(self, request_id: int) -> None:
        """As in `Runner`."""

    def _compute_batch(self, chunks: AbstractSequence[Chunk]) -> AbstractSequence[Tensor]:
        """Logits of each chunk, (num_logits, V)."""
        device = self._model.device
        input_ids, real = _right_aligned(chunks)
        slots = torch.tensor([chunk.sequence.blocks[0] for chunk in chunks], device=device)
        begins = torch.tensor([chunk.sequence.num_computed == 0 for chunk in chunks], device=device)
        cache: Any = self._model.new_cache(input_ids.shape[1])
        assert isinstance(cache, RecurrentCache)
        cache.load([(output[:, slots], cell[:, slots]) for output, cell in self._states], begins)
        hidden_states = self._model.hidden_states(
            input_ids.to(device), cache=cache, attention_mask=real.long().to(device)
        )
        self._keep(cache, slots)
        return _last_logits(self._model, hidden_states, chunks)

    def _keep(self, cache: RecurrentCache, slots: Tensor) -> None:
        states = cache.states()
        if not self._states:
            shape = self.num_blocks + 1
            self._states = [
                (output.new_zeros(1, shape, output.shape[2]), cell.new_zeros(1, shape, cell.shape[2]))
                for output, cell in states
            ]
        for kept, state in zip(self._states, states, strict=True):
            for to, part in zip(kept, state, strict=True):
                to[:, slots] = part


class BatchCache(EncoderDecoderCache):
    """The blocks of one batch, as a model's cache.

    Each sequence is a row whose last token stands in the last column; what is before it is padding.
    """

    def __init__(self, store: "_Store", slots: Tensor, new: Tensor) -> None:
        """Read and write the slots of a store.

        Args:
            store: keys and values.
            slots: (B, S), where each token is kept; the null block's for padding.
            new: (B, T), true where the model is given a token and no padding.
        """
        self.length = slots.shape[1] - new.shape[1]
        self.source_mask = None
        self._store, self._slots, self._new = store, slots, new
        self._new_slots = slots[:, self.length :][new]
        self._source: dict[int, tuple[Tensor, Tensor]] = {}  # type: ignore[assignment]

    def append(self, layer_index: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values (B, K, T, D) of one block; returns all of that block, (B, K, S, D)."""
        kept = self._store.layer(layer_index, keys)
        gathered = []
        for slots, states in zip(kept, (keys, values), strict=True):
            # (B, K, T, D) → (N, K, D)
            slots[self._new_slots] = states.transpose(1, 2)[self._new].to(slots.dtype)
            # (B, S, K, D) → (B, K, S, D)
            gathered.append(slots[self._slots].transpose(1, 2).to(states.dtype))
        return gathered[0], gathered[1]

    def advance(self, num_positions: int) -> None:
        """The engine counts."""


class _Store:
    """Keys and values of every layer, (slots, K, D) each, allocated when the first come."""

    def __init__(self, num_slots: int, dtype: torch.dtype) -> None:
        self._num_slots, self._dtype = num_slots, dtype
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def layer(self, layer_index: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Of keys (B, K, T, D) like those."""
        if layer_index not in self._layers:
            shape = self._num_slots, like.shape[1], like.shape[3]
            keys = torch.zeros(shape, dtype=self._dtype, device=like.device)
            self._layers[layer_index] = keys, torch.zeros_like(keys)
        return self._layers[layer_index]

    def copy(self, copies: AbstractSequence[tuple[int, int]], size: int) -> None:
        for before, after in copies:
            for pair in self._layers.values():
                for slots in pair:
                    slots[after * size : (after + 1) * size] = slots[before * size : (before + 1) * size]


def _in_batches(
    chunks: AbstractSequence[Chunk], compute: Callable[[list[Chunk]], AbstractSequence[Tensor]]
) -> Predictions:
    """What `compute` gives for each chunk of a batch, (num_logits, V), for all chunks in their order."""
    rows: dict[int, Tensor] = {}
    for batch in _batches(chunks):
        rows |= zip(map(id, batch), compute(batch), strict=True)
    return Predictions(torch.cat([rows[id(chunk)] for chunk in chunks]))


def _right_aligned(chunks: AbstractSequence[Chunk]) -> tuple[Tensor, Tensor]:
    """Token ids (B, T), each chunk's ending in the last column, and where there are any, (B, T)."""
    sizes = [len(chunk.token_ids) for chunk in chunks]
    time = max(sizes)
    rows = [[0] * (time - size) + chunk.token_ids for chunk, size in zip(chunks, sizes, strict=True)]
    return torch.tensor(rows), torch.arange(time) >= time - torch.tensor(sizes).unsqueeze(1)


def _last_logits(
    model: Decoder | EncoderDecoder, hidden_states: Tensor, chunks: AbstractSequence[Chunk]
) -> AbstractSequence[Tensor]:
    """Hidden states (B, T, C) → logits of each chunk, (num_logits, V)."""
    time = hidden_states.shape[1]
    wanted = torch.cat([hidden_states[row, time - each.num_logits :] for row, each in enumerate(chunks)])
    return torch.split(model.logits(wanted), [chunk.num_logits for chunk in chunks])


def _batches(chunks: AbstractSequence[Chunk]) -> Iterator[list[Chunk]]:
    """Chunks of like length together: what one token decodes is never padded to a prompt."""
    batch: list[Chunk] = []
    for chunk in sorted(chunks, key=lambda each: len(each.token_ids)):
        real = sum(len(each.token_ids) for each in (*batch, chunk))
        if batch and (1 - _MOST_PADDING) * len(chunk.token_ids) * (len(batch) + 1) > real:
            yield batch
            batch = []
        batch.append(chunk)
    if batch:
        yield batch


def vocab_size_of(model: Decoder | EncoderDecoder) -> int:
    """Logits that a model gives."""
    return int(model.get_parameter("lm_head.weight").shape[0])


def window_of(model: Decoder | EncoderDecoder) -> int | None:
    """Tokens that any layer sees, itself included; None where one sees all."""
    windows = getattr(model.config, "windows", (None,))
    return None if None in windows else max(windows)


def matrix_bytes(model: Decoder | EncoderDecoder, bits: float | None = None) -> int:
    """Of the matrices that a token is multiplied with, the output layer too; of `bits` a weight, or as they are."""
    seen = {id(module.weight): module.weight for module in model.modules() if isinstance(module, nn.Linear | Conv1D)}
    return sum(int(weight.numel() * (bits or 8 * weight.element_size()) / 8) for weight in seen.values())
