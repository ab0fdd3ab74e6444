"""Switches on any method: what is trained, and what is done to the model while it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from inkstone.core.config import suggestion
from inkstone.core.errors import ConfigError
from inkstone.data.examples.columns import DATASET
from inkstone.data.examples.encoded import Encoded
from inkstone.nn.adapter_config import LoRAConfig, is_linear, whole_modules
from inkstone.nn.adapters import Adapter, add_adapter
from inkstone.nn.heads import TRANSFORM, HeadedModel
from inkstone.nn.layers.experts import SparseMLP
from inkstone.nn.layers.quantized import Precision, QuantizedLinear
from inkstone.nn.models.base import Model
from inkstone.train.config_teach import TeachConfig
from inkstone.train.freeze import freeze
from inkstone.train.method import Lesson
from inkstone.train.neftune import EmbeddingNoise
from inkstone.train.replay import Replay, ReplayText

_REPLAYED = 0.1
"""Share of the text to replay, unless a recipe says otherwise."""


@dataclass
class Switches:
    """What was switched on."""

    adapter: Adapter | None = None
    noise: EmbeddingNoise | None = None
    replay: ReplayText | None = None


def prepare_switches(lesson: Lesson) -> Switches:
    """Do to the model what the recipe asks for, before optimizers are made.

    Raises:
        ConfigError: a setting names what the model does not have, or nothing would be left to train.
        InputError: the text of `replay` cannot be read, or the model has no output layer for it.
    """
    config, model = lesson.config, lesson.model
    switches = Switches()
    if "replay" in lesson.inputs:
        folder = lesson.out / "replay"
        switches.replay = ReplayText(lesson.inputs["replay"], model, lesson.tokenizer, folder, config.seed)
    elif config.replay_share is not None:
        raise ConfigError(
            "there is no text to replay", where="replay_share", remedy="give it as the input replay: a corpus or a file"
        )
    if config.lora is not None:
        lora = with_new_parts(model, config.lora)
        if config.quantize_base is not None:
            quantize_base(model, config.quantize_base, whole_modules(model, lora))
        switches.adapter = add_adapter(model, lora, generator=torch.Generator().manual_seed(config.seed))
    freeze(model, config.freeze)
    if config.neftune_alpha:
        switches.noise = EmbeddingNoise(model, config.neftune_alpha)
    return switches


def replay_beside(lesson: Lesson, text: ReplayText, examples: Sequence[Encoded]) -> Replay | None:
    """What is replayed beside the training examples; None where it is only measured how much is forgotten.

    Raises:
        ConfigError: the share is less than one short sequence a step.
    """
    config, settings = lesson.config, lesson.settings
    share = _REPLAYED if config.replay_share is None else config.replay_share
    if share == 0:
        return None
    lengths = np.asarray([example.length for example in examples])
    tokens_per_step = settings.batch_size * float(np.average(lengths, weights=lesson.weights))
    most = config.chosen_micro_batch_tokens(settings.device.type)
    return text.beside(share, tokens_per_step, most)


def with_new_parts(model: Model, lora: LoRAConfig) -> LoRAConfig:
    """The adapter's settings with the head, which is not of the base model, trained whole."""
    if not isinstance(model, HeadedModel):
        return lora
    new = [model.layout.head]
    if model.layout.reads == "pooler":
        new.append("pooler")
    if model.transform is not None:
        new.append(TRANSFORM)
    wanted = lora.modules_to_save or ()
    return lora.model_copy(update={"modules_to_save": (*wanted, *(name for name in new if name not in wanted))})


def quantize_base(model: Model, precision: Precision, kept: Sequence[str] = ()) -> None:
    """Keep the matrices of the blocks in few bits: all linear layers but routers and the modules `kept`.

    Embeddings, norms, biases and the output layer stay as they are.

    Raises:
        ConfigError: the blocks have no linear layer.
    """
    modules = dict(model.named_modules())
    inside = {id(inner) for block in model.blocks for inner in block.modules()}
    routers = {id(module.gate) for module in modules.values() if isinstance(module, SparseMLP)}
    names = [
        name
        for name, module in modules.items()
        if id(module) in inside - routers
        and is_linear(module)
        and not f"{name}.".startswith(tuple(f"{module}." for module in kept))
    ]
    if not names:
        raise ConfigError(
            f"the blocks of a {model.config.model_type} model have no linear layers to quantize",
            where="quantize_base",
            remedy="leave it out",
        )
    for name in names:
        layer = modules.pop(name)  # so that its weights are let go before the next are quantized
        model.set_submodule(name, QuantizedLinear.of(layer, precision))


def mixture_weights(config: TeachConfig, sources: Sequence[str]) -> list[float] | None:
    """How often each of the training examples, whose sources are given, is drawn in an epoch; None: once each.

    Raises:
        ConfigError: `mixture` names a source that no example has, or leaves out all.
    """
    if not config.mixture:
        return None
    known = set(sources)
    for name in config.mixture:
        if name not in known:
            raise ConfigError(f"no training example is of {name!r}", where="mixture", remedy=_known(name, known))
    weights = [config.mixture.get(source, 1.0) for source in sources]
    if not any(weights):
        raise ConfigError("no example is left", where="mixture", remedy="give a source a weight above 0")
    return weights


def _known(name: str, known: Iterable[str]) -> str:
    named = [source for source in known if source]
    return suggestion(name, named) if named else f"name the part of each example in its column {DATASET!r}"
