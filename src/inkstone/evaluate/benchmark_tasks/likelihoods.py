"""How likely a decoder finds the learned tokens of many sequences."""

from collections.abc import Sequence
from math import isfinite

import torch

from inkstone.core.errors import CheckpointError
from inkstone.core.progress import progress
from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.layout import lay_out
from inkstone.evaluate.metrics.likelihood import Likelihood
from inkstone.nn.models.base import Decoder
from inkstone.train.config import most_tokens
from inkstone.train.micro_batches import by_length, numbered
from inkstone.train.objectives.log_probabilities import sequence_log_probabilities


@torch.inference_mode()
def likelihoods(model: Decoder, sequences: Sequence[TokenSequence]) -> list[Likelihood]:
    """Of each sequence, from the forward pass that training uses; each must fit into the model's context.

    Raises:
        CheckpointError: one is not a finite number.
    """
    results = [Likelihood(0.0, 0)] * len(sequences)
    split = by_length(most_tokens(model.device.type), packed=False)
    with progress("score sequences", total=len(sequences), unit="sequence") as bar:
        for numbers, part in numbered(split, sequences):
            batch = {name: value.to(model.device) for name, value in lay_out(part).items()}
            sums = sequence_log_probabilities(model, batch, len(part))
            for number, sequence, value in zip(numbers, part, sums.tolist(), strict=True):
                results[number] = Likelihood(-value, sequence.num_targets)
            bar.update(len(part))
    if not all(isfinite(each.nats) for each in results):
        raise CheckpointError("the model's likelihoods are not finite numbers", remedy="train it again; it diverged")
    return results
