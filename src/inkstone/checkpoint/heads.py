"""Putting a new head on a model that was loaded without one: the start of fine-tuning a classifier."""

import torch
from torch import nn

from inkstone.checkpoint.families import family_named
from inkstone.core.errors import ConfigError
from inkstone.nn.heads import TRANSFORM, HeadConfig, HeadedModel, HeadLayout
from inkstone.nn.layers.initialization import init_normal
from inkstone.nn.models.base import Model


def with_head(model: Model, head: HeadConfig, generator: torch.Generator | None = None) -> HeadedModel:
    """The model's backbone, with a new head in place of its own.

    The backbone is that of `model`, not a copy, except where the head needs another pooler than the model has. So is
    the layer between backbone and head, where both have one. What is new is drawn as BERT's initial weights are.
    `save_checkpoint` writes the class that `transformers` has for such a model.

    Args:
        model: of any family that has such a head; its own head (of a language model, of another task) is left out.
        head: what the new head predicts.
        generator: of the new weights.

    Raises:
        ConfigError: the family has no such head in `transformers`.
    """
    family = family_named(model.config.model_type)
    layouts = [each for each in family.architectures.values() if isinstance(each, HeadLayout)]
    layout = next((each for each in layouts if each.kind == head.kind), None)
    if layout is None:
        kinds = ", ".join(sorted({each.kind for each in layouts})) or "none"
        raise ConfigError(
            f"a {family.model_type} model cannot have a {head.kind} head", remedy=f"heads of this family: {kinds}"
        )
    config = layout.configure(family.for_file(model.config, ()))
    backbone = _backbone(model, family.prefix.removesuffix("."))
    if config != model.config:
        backbone = _rebuilt(backbone, layout.backbone(config), config.initializer_range, generator)
    headed = HeadedModel(config, head, layout, backbone)
    init_normal(headed.output_layer, config.initializer_range, generator)
    if headed.transform is not None:
        known = dict(model.named_children()).get(TRANSFORM)
        if known is None:
            init_normal(headed.transform, config.initializer_range, generator)
        else:
            headed.set_submodule(TRANSFORM, known)
    return headed.to(device=model.device, dtype=model.dtype).train(model.training)


def _backbone(model: Model, prefix: str) -> nn.Module:
    """The part of the model that a head reads; a model without a head is all backbone."""
    if isinstance(model, HeadedModel):
        return model.backbone
    return next((child for name, child in model.named_children() if name == prefix), model)


def _rebuilt(backbone: nn.Module, new: nn.Module, std: float, generator: torch.Generator | None) -> nn.Module:
    """`new` with the values of `backbone` where both have them, and initial ones elsewhere."""
    init_normal(new, std, generator)
    new.load_state_dict(backbone.state_dict(), strict=False)
    return new
