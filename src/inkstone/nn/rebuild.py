"""Models like another one, with another config."""

from typing import Any

import torch

from inkstone.core.errors import ConfigError
from inkstone.nn.architectures import ARCHITECTURES
from inkstone.nn.heads import HeadedModel
from inkstone.nn.models.base import Model


def model_like(model: Model, config: Any) -> Model:
    """A model of the same class, with the same head if it has one; its weights are yet to be drawn or loaded."""
    build: Any = type(model)
    if isinstance(model, HeadedModel):
        result: Model = build(config, model.head_config, model.layout, model.layout.backbone(config))
    else:
        result = build(config)
    return result


def with_dropout(model: Model, dropout: float) -> Model:
    """The same model, weights and all, with another dropout in its blocks: what `model.dropout` sets in a new one.

    Raises:
        ConfigError: its family has none.
    """
    config: Any = model.config
    keys = next(
        (
            each.keys["dropout"]
            for each in ARCHITECTURES.values()
            if isinstance(config, each.config) and each.keys.get("dropout")
        ),
        (),
    )
    if not keys:
        raise ConfigError(
            f"a {config.model_type} model has no dropout",
            where="dropout",
            remedy="leave it out; lora.lora_dropout and neftune_alpha work on any model",
        )
    with torch.device(model.device):
        result = model_like(model, config.model_copy(update=dict.fromkeys(keys, dropout)))
    result.load_state_dict(model.state_dict())
    return result
