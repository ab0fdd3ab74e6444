"""What a taught model is saved as: a model folder, or an adapter folder."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from inkstone.checkpoint import load_checkpoint, save_checkpoint
from inkstone.checkpoint.adapters import save_adapter
from inkstone.data.examples.records import Example
from inkstone.nn.adapters import Adapter
from inkstone.nn.heads import HeadedModel
from inkstone.train.method import Lesson, Method


def save_outcome(lesson: Lesson, method: Method[Any], examples: Sequence[Example]) -> None:
    """Write what was learned into the run's folder.

    An adapter is saved alone. But where the method has put a new head on the model, the base folder has none, so that
    adapter and head would be of use to nobody without it: there, the adapter is merged and the model saved whole.

    Args:
        lesson: done.
        method: that was taught.
        examples: of the training split, from which the method made the model.
    """
    adapter, model = lesson.adapter, lesson.model
    if adapter is not None and not isinstance(model, HeadedModel):
        save_adapter(lesson.out, adapter, base=lesson.inputs["model"])
        lesson.tokenizer.save(lesson.out)
        return
    if adapter is not None and lesson.config.quantize_base is not None:
        adapter = _on_unquantized(lesson, method, examples, adapter)
    if adapter is not None:
        model = adapter.merge_and_unload()
    training = {"method": method.name, "learning rate": lesson.config.learning_rate, "seed": lesson.config.seed}
    save_checkpoint(lesson.out, model, lesson.tokenizer, training=training)


@torch.no_grad()
def _on_unquantized(lesson: Lesson, method: Method[Any], examples: Sequence[Example], adapter: Adapter) -> Adapter:
    """The adapter on the weights that were quantized for training: it can be merged into those alone."""
    base, _ = load_checkpoint(lesson.inputs["model"], "cpu", "float32")
    model = method.prepare(replace(lesson, model=base), examples)
    anew = Adapter(model, adapter.config, adapter.targets)
    trained = adapter.parameters()
    for name, parameter in anew.parameters().items():
        parameter.copy_(trained[name])
    return anew
