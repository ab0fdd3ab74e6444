"""Noise on the embeddings while a model is taught."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from inkstone.core.errors import InputError
from inkstone.nn.models.base import EncoderDecoder, Model
from inkstone.train.objectives import Batch


class EmbeddingNoise:
    """Uniform noise on what the model reads (NEFTune, Jain et al. 2023, arXiv:2310.05914, algorithm 1).

    Every component of the embedding of an example of L tokens gets noise from `[-1, 1] · alpha / √(L · C)`. L counts
    the tokens of the example itself: neither padding nor what else is packed into its row changes the noise. There is
    none in evaluation and in rollouts, and in an encoder–decoder none on the target.

    Args:
        model: hooked at its token embedding.
        alpha: greater than 0; 5 is usual.
    """

    def __init__(self, model: Model, alpha: float) -> None:
        self._alpha = alpha
        self._lengths: Tensor | None = None
        token_embedding(model).register_forward_hook(self._add)

    @contextlib.contextmanager
    def over(self, batch: Batch) -> Iterator[None]:
        """Within the block, passes through a model in training read `batch` with noise."""
        self._lengths = example_lengths(batch)
        try:
            yield
        finally:
            self._lengths = None

    def _add(self, embedding: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        lengths = self._lengths
        if lengths is None or not embedding.training or lengths.shape != output.shape[:2]:
            return output
        # (B, T) → (B, T, 1)
        bounds = self._alpha / (lengths.to(output.device) * output.shape[2]).sqrt().unsqueeze(2)
        noise = torch.rand_like(output) * 2 - 1
        return output + noise * bounds.to(output.dtype)


def token_embedding(model: Model) -> nn.Embedding:
    """The table that tokens are looked up in, the encoder's where there are two.

    Raises:
        InputError: the model has none.
    """
    inside = _encoder(model)
    tables = [module for module in inside.modules() if isinstance(module, nn.Embedding)]
    for table in tables:
        if table.num_embeddings == model.config.vocab_size:
            return table
    raise InputError(
        f"a {model.config.model_type} model has no token embedding to put noise on",
        where="neftune_alpha",
        remedy="set it to 0",
    )


def _encoder(model: Model) -> nn.Module:
    if isinstance(model, EncoderDecoder):
        stacks: tuple[nn.Module, nn.Module] = getattr(model, "stacks", (model, model))
        return stacks[0]
    return model


def example_lengths(batch: Batch) -> Tensor:
    """For every place of `input_ids` (B, T), how many tokens the example there has; at least 1."""
    input_ids = batch["input_ids"]
    if "sequence_ids" in batch:
        places = batch["sequence_ids"].flatten() + 1  # padding, -1, becomes 0
        lengths = places.bincount()[places].view_as(input_ids)
    elif "attention_mask" in batch:
        lengths = batch["attention_mask"].sum(1, keepdim=True).expand_as(input_ids)
    else:
        lengths = torch.full_like(input_ids, input_ids.shape[1])
    return lengths.clamp(min=1)
