"""What a model is trained to do: a batch and a loss, one file each."""

from inkstone.train.objectives.base import Batch, Objective

__all__ = ["Batch", "Objective"]
