"""What a model is trained to do: a batch and a loss, one file each."""

from inkstone.train.objectives.base import NEVER_DIVERGES, Batch, Objective, Read, num_tokens

__all__ = ["NEVER_DIVERGES", "Batch", "Objective", "Read", "num_tokens"]
