"""The loss of a target, given its source."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from inkstone.data.examples.encoded import SourceTarget
from inkstone.data.layout import fill
from inkstone.nn.layers.loss import IGNORED, smoothed_cross_entropy
from inkstone.nn.models.base import EncoderDecoder
from inkstone.train.objectives.base import Batch, Objective


class SequenceToSequence(Objective[SourceTarget]):
    """Minus the log-likelihood of the target, given the source and the target so far (Sutskever et al. 2014).

    Args:
        pad_id: fills shorter rows; nothing sees it.
        padding_side: where.
        label_smoothing: share of its probability that each target token gives to all tokens alike.
    """

    def __init__(
        self, pad_id: int = 0, *, padding_side: Literal["right", "left"] = "right", label_smoothing: float = 0.0
    ) -> None:
        self._pad_id, self._padding_side, self._label_smoothing = pad_id, padding_side, label_smoothing

    def collate(self, examples: Sequence[SourceTarget]) -> Batch:
        """B pairs → `input_ids` and `attention_mask` (B, S), `labels` and `decoder_mask` (B, T)."""
        side = self._padding_side
        sources, targets = [each.source_ids for each in examples], [each.target_ids for each in examples]
        return {
            "input_ids": fill(sources, self._pad_id, side),
            "attention_mask": fill([np.ones_like(source) for source in sources], 0, side),
            "labels": fill(targets, IGNORED, side),
            "decoder_mask": fill([np.ones_like(target) for target in targets], 0, side),
        }

    def num_targets(self, batch: Batch) -> int:
        """Target tokens."""
        return int((batch["labels"] != IGNORED).sum())

    def hidden_states(self, model: EncoderDecoder, batch: Batch) -> Tensor:
        """(B, T, C): see `target_states`."""
        return target_states(model, batch, self._decoder_mask(batch))

    def loss(self, model: EncoderDecoder, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed cross-entropy in nats."""
        return target_loss(model, batch, self._decoder_mask(batch), self._label_smoothing), {}

    def _decoder_mask(self, batch: Batch) -> Tensor | None:
        # Padding on the right comes after all that is learned, and no token sees a later one.
        return batch["decoder_mask"] if self._padding_side == "left" else None


def target_states(model: EncoderDecoder, batch: Batch, decoder_mask: Tensor | None = None) -> Tensor:
    """(B, T, C): what the output layer reads; the decoder reads the labels, one place later, after its start token.

    Args:
        model: reads and writes.
        batch: `input_ids` (B, S), `labels` (B, T) and, where sources are padded, `attention_mask` (B, S).
        decoder_mask: (B, T), 0 at the padding of labels, where that stands before them.
    """
    labels, source_mask = batch["labels"], batch.get("attention_mask")
    decoder_input_ids = labels.roll(1, dims=1)
    decoder_input_ids[:, 0] = IGNORED
    decoder_input_ids = decoder_input_ids.masked_fill(decoder_input_ids == IGNORED, model.decoder_start_token_id)
    encoder_states = model.encode(batch["input_ids"], attention_mask=source_mask)
    return model.decode(decoder_input_ids, encoder_states, encoder_mask=source_mask, decoder_mask=decoder_mask)


def target_loss(
    model: EncoderDecoder, batch: Batch, decoder_mask: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Summed cross-entropy in nats; arguments as of `target_states`, and the share that labels give to all tokens."""
    hidden_states = target_states(model, batch, decoder_mask)
    # Only states with a label are multiplied with the output layer: (B, T, C) → (N, C)
    labels = batch["labels"]
    learned = labels != IGNORED
    return smoothed_cross_entropy(
        model.logits, hidden_states[learned], labels[learned], model.config.vocab_size, label_smoothing
    )
