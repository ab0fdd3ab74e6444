"""How likely the model found sequences before it was taught: the reference, computed once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inkstone.core.progress import progress
from inkstone.data.examples.encoded import TokenSequence
from inkstone.data.layout import lay_out
from inkstone.nn.models.base import Decoder
from inkstone.train.computed_once import computed_once, digest_encodings, digest_texts, digest_weights
from inkstone.train.method import Lesson
from inkstone.train.micro_batches import numbered
from inkstone.train.objectives.log_probabilities import sequence_log_probabilities
from inkstone.train.precision import autocast


def reference_log_probabilities(lesson: Lesson, sequences: Sequence[TokenSequence], split: str) -> list[float]:
    """Natural-log probability of the labels of each sequence, under the model as it is before training.

    A new adapter changes nothing yet, so that with one the reference is the base model. The numbers are kept in
    `reference/` of the run's folder and used again as long as model, sequences and number format are the same.

    Args:
        lesson: its model is not trained yet, or not yet set back to where an earlier attempt stopped.
        sequences: of which the model reads each at once.
        split: names the file.
    """
    key = digest_texts(digest_weights(lesson.model), digest_encodings(sequences), str(lesson.settings.dtype))
    kept = computed_once(
        lesson.out / "reference" / f"{split}.safetensors",
        key,
        lambda: {"log_probabilities": _compute(lesson, sequences)},
    )
    return [float(value) for value in kept["log_probabilities"]]


@torch.no_grad()
def _compute(lesson: Lesson, sequences: Sequence[TokenSequence]) -> Tensor:
    """(N,), float32, on the CPU."""
    model, settings, config = lesson.model, lesson.settings, lesson.config
    assert isinstance(model, Decoder)
    result = torch.zeros(len(sequences))
    was_training = model.training
    model.eval()
    with progress("reference", total=len(sequences), unit="sequence") as bar, autocast(settings.device, settings.dtype):
        for numbers, part in numbered(settings.split, sequences):
            laid_out = lay_out(part, packed=config.packing, padding_side=config.padding_side)
            batch = {name: value.to(settings.device) for name, value in laid_out.items()}
            result[numbers] = sequence_log_probabilities(model, batch, len(part)).cpu()
            bar.update(len(part))
    model.train(was_training)
    return result
