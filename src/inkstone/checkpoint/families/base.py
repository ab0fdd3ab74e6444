"""What a model family is, and how one is found."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from inkstone.checkpoint.families.heads import head_from_hf, head_to_hf
from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.core.registry import lookup
from inkstone.nn.heads import HeadedModel, HeadLayout
from inkstone.nn.models.base import Model, ModelConfig

HFConfig = Mapping[str, Any]


def _unchanged(name: str) -> str | None:
    return name


def _whole(name: str, shape: tuple[int, ...]) -> Mapping[str, tuple[int, ...]]:
    return {}


def _as_configured(config: ModelConfig, names: Collection[str]) -> ModelConfig:
    return config


@dataclass(frozen=True)
class ModelFamily:
    """One `model_type` of Hugging Face's config.json; found as the entry point `inkstone.models` of that name."""

    model_type: str
    from_hf: Callable[[HFConfig], ModelConfig]
    """config.json → our config; raises ConfigError on a setting that is not supported."""
    to_hf: Callable[[Any], dict[str, Any]]
    """Our config → the family's own keys of config.json."""
    architectures: Mapping[str, Callable[[Any], Model] | HeadLayout]
    """Class names of `transformers` (config.json's `architectures`) → what builds ours; the first is the default."""
    renamed: Callable[[str], str | None] = _unchanged
    """Name of a tensor in a file → our parameter name; None for a stored table that is no weight."""
    unpacked: Callable[[str, tuple[int, ...]], Mapping[str, tuple[int, ...]]] = _whole
    """Name and shape of a tensor in a file that is several → theirs, in the order in which they fill it."""
    prefix: str = ""
    """Of the backbone's parameters in a model with a head (`bert.`, `model.`); some files lack it, some add it."""
    for_file: Callable[[Any, Collection[str]], ModelConfig] = _as_configured
    """Our config and the names of a file's tensors → the config completed by what only the file shows."""

    def builder(self, architecture: str, hf: HFConfig) -> Callable[[Any], Model]:
        """What builds a model of that class from our config; its head's labels are in `hf`.

        Raises:
            ConfigError: config.json describes no usable head.
        """
        build = self.architectures[architecture]
        if isinstance(build, HeadLayout):
            return partial(build.build, head_from_hf(hf, build.kind))
        return build

    def keys(self, model: Model) -> dict[str, Any]:
        """A model's own keys of config.json, those of its head included."""
        head = head_to_hf(model.head_config) if isinstance(model, HeadedModel) else {}
        return self.to_hf(model.config) | head

    def parameter_names(self, stored: Iterable[str], expected: Collection[str]) -> dict[str, str]:
        """Names of tensors in a file → names of parameters, `expected` ones where the prefix makes the difference."""
        names = {}
        for tensor in stored:
            if (name := self.renamed(tensor)) is None:
                continue
            candidates = (name, self.prefix + name, name.removeprefix(self.prefix))
            names[tensor] = next((candidate for candidate in candidates if candidate in expected), name)
        return names


def family_named(model_type: object) -> ModelFamily:
    """The family of a config.json's `model_type`.

    Raises:
        CheckpointError: no family reads it.
    """
    try:
        family: ModelFamily = lookup("models", str(model_type))
    except ConfigError as error:
        raise CheckpointError(f"model_type {model_type!r} is not supported", remedy=error.remedy) from error
    return family


def architecture_of(model: Model) -> str:
    """The name that `transformers` has for a model's class."""
    family = family_named(model.config.model_type)
    wanted = model.layout if isinstance(model, HeadedModel) else type(model)
    return next(name for name, build in family.architectures.items() if build == wanted)


def value_or(hf: HFConfig, key: str, default: Any) -> Any:
    """A key of config.json, or `default` where it is missing or null."""
    value = hf.get(key)
    return default if value is None else value
