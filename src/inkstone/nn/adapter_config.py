"""The settings of a LoRA adapter, under PEFT's names, and the layers that they choose."""

import functools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from torch import nn

from inkstone.core.config import Config, suggestion
from inkstone.core.errors import ConfigError
from inkstone.nn.layers.experts import SparseMLP
from inkstone.nn.layers.lora import LinearLike
from inkstone.nn.models.base import Model

ALL_LINEAR = "all-linear"
TaskType = Literal["CAUSAL_LM", "SEQ_2_SEQ_LM", "SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"]
Number = Annotated[int | float, Field(gt=0, allow_inf_nan=False)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]


class LoRAConfig(Config):
    """What is adapted, and how. Keys, defaults and meanings are those of PEFT's `LoraConfig`."""

    r: int = Field(8, gt=0)
    """Rank of the update."""
    lora_alpha: Number = 8
    """The update is multiplied by lora_alpha / r."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    """Probability of dropping an input of the update in training."""
    target_modules: Names | str = ALL_LINEAR
    """Names of linear layers or how they end, such as q_proj; or one regular expression for the whole name; or
    all-linear: every linear layer of the blocks, but for routers and experts."""
    exclude_modules: Names | str | None = None
    """Layers to leave alone, written like target_modules."""
    layers_to_transform: tuple[int, ...] | int | None = None
    """Adapt only the blocks of these numbers; for a target_modules that is a list of names."""
    layers_pattern: Names | str | None = None
    """Name of the list of blocks that layers_to_transform counts in, such as layers or h; by default any."""
    rank_pattern: Mapping[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    """Other ranks: regular expression for the end of a layer's name → rank; the first that fits counts."""
    alpha_pattern: Mapping[str, Number] = Field(default_factory=dict)
    """Other values of lora_alpha, written like rank_pattern."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Biases to train along: none, all of the model, or those of the adapted layers."""
    modules_to_save: Names | None = None
    """Modules to train whole and keep with the adapter, such as a new head: ends of names, also without a
    dot before them (norm means input_layernorm, too)."""
    use_rslora: bool = False
    """Multiply by lora_alpha / √r instead (Kalajdzievski 2023, arXiv:2312.03732)."""
    use_dora: bool = False
    """Train the magnitude of every output, too (Liu et al. 2024, arXiv:2402.09353)."""
    init_lora_weights: Literal[True, "gaussian"] = True
    """How A is drawn: true as PyTorch's linear layers, gaussian with deviation 1/r."""
    task_type: TaskType | None = None
    """What PEFT's Auto classes go by; kept in the file only."""
    base_model_name_or_path: str | None = None
    """The model that the adapter belongs to; kept in the file only."""
    revision: str | None = None
    """Of the base model on the hub; kept in the file only."""

    @field_validator("target_modules", "exclude_modules")
    @classmethod
    def _check_expression(cls, value: Names | str | None) -> Names | str | None:
        if isinstance(value, str):
            _compiled(value)
        return value

    @field_validator("rank_pattern", "alpha_pattern")
    @classmethod
    def _check_keys(cls, value: Mapping[str, Number]) -> Mapping[str, Number]:
        for key in value:
            _compiled(key)
        return value

    @model_validator(mode="after")
    def _check_layers(self) -> "LoRAConfig":
        if self.layers_to_transform is not None and isinstance(self.target_modules, str):
            raise ValueError("layers_to_transform needs a target_modules that is a list of names")
        if self.layers_pattern is not None and self.layers_to_transform is None:
            raise ValueError("layers_pattern needs layers_to_transform")
        return self

    def rank_of(self, name: str) -> int:
        """Rank of the update of one layer."""
        return next((rank for pattern, rank in self._ranks if pattern.match(name)), self.r)

    def scaling_of(self, name: str) -> float:
        """What the update of one layer is multiplied by."""
        alpha = next((alpha for pattern, alpha in self._alphas if pattern.match(name)), self.lora_alpha)
        rank = self.rank_of(name)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    @functools.cached_property
    def _ranks(self) -> list[tuple[re.Pattern[str], int]]:
        return [(_compiled_ending(key), rank) for key, rank in self.rank_pattern.items()]

    @functools.cached_property
    def _alphas(self) -> list[tuple[re.Pattern[str], Number]]:
        return [(_compiled_ending(key), alpha) for key, alpha in self.alpha_pattern.items()]


def choose_targets(model: Model, config: LoRAConfig) -> list[str]:
    """Names of the layers of `model` that `config` adapts, in the model's order.

    Raises:
        ConfigError: a name fits nothing, or something that is no linear layer.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    if config.target_modules == ALL_LINEAR:
        inside = _inside(model.blocks) - _inside(module for module in modules.values() if isinstance(module, SparseMLP))
        candidates = [name for name, module in modules.items() if id(module) in inside and is_linear(module)]
    elif isinstance(config.target_modules, str):
        pattern = _compiled(config.target_modules)
        candidates = [name for name in modules if pattern.fullmatch(name)]
    else:
        for target in config.target_modules:
            if not any(is_named(name, (target,)) for name in modules):
                _refuse_unknown(target, modules)
        candidates = [name for name in modules if is_named(name, config.target_modules)]
    whole = tuple(f"{name}." for name in whole_modules(model, config))
    chosen = [
        name
        for name in candidates
        if not _is_excluded(name, config) and not f"{name}.".startswith(whole) and _in_chosen_block(name, config)
    ]
    if not chosen:
        raise ConfigError("no linear layer is left to adapt", where="target_modules", remedy=_known_layers(modules))
    for name in chosen:
        if not is_linear(modules[name]):
            raise ConfigError(
                f"{name} ({type(modules[name]).__name__}) is no linear layer and cannot be adapted",
                where="target_modules",
                remedy="leave it out, or train it whole: put it into modules_to_save",
            )
    return chosen


def _inside(modules: Iterable[nn.Module]) -> set[int]:
    """Identities of modules and of all modules in them."""
    return {id(inner) for module in modules for inner in module.modules()}


def whole_modules(model: Model, config: LoRAConfig) -> list[str]:
    """Names of the modules that `modules_to_save` means.

    Raises:
        ConfigError: a name fits no module.
    """
    names = [name for name, _ in model.named_modules() if name]
    wanted = config.modules_to_save or ()
    for ending in wanted:
        if not any(name.endswith(ending) for name in names):
            known = {name.rpartition(".")[2] for name in names}
            raise ConfigError(
                f"no module is called {ending!r}", where="modules_to_save", remedy=suggestion(ending, known)
            )
    return [name for name in names if name.endswith(wanted)]


def is_linear(module: nn.Module) -> bool:
    """Whether an adapter can be put on a module."""
    return isinstance(module, LinearLike)


def is_named(name: str, endings: Iterable[str]) -> bool:
    """Whether a dotted name is one of `endings`, or ends with one after a dot."""
    parts = name.split(".")
    return not {".".join(parts[start:]) for start in range(len(parts))}.isdisjoint(endings)


def _is_excluded(name: str, config: LoRAConfig) -> bool:
    if isinstance(config.exclude_modules, str):
        return _compiled(config.exclude_modules).fullmatch(name) is not None
    return config.exclude_modules is not None and is_named(name, config.exclude_modules)


def _in_chosen_block(name: str, config: LoRAConfig) -> bool:
    """By the first number in the name that follows a name of `layers_pattern`, or any name."""
    if config.layers_to_transform is None:
        return True
    chosen = config.layers_to_transform
    lists = (config.layers_pattern,) if isinstance(config.layers_pattern, str) else config.layers_pattern
    parts = name.split(".")
    for position, part in enumerate(parts):
        if part.isdecimal() and (lists is None or is_named(".".join(parts[:position]), lists)):
            return int(part) in ((chosen,) if isinstance(chosen, int) else chosen)
    return False


def _compiled_ending(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:.*\.)?(?:{pattern})$")


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None


def _refuse_unknown(target: str, modules: Mapping[str, nn.Module]) -> None:
    endings = {name.rpartition(".")[2] for name, module in modules.items() if is_linear(module)}
    raise ConfigError(f"no layer is called {target!r}", where="target_modules", remedy=suggestion(target, endings))


def _known_layers(modules: Mapping[str, nn.Module]) -> str:
    endings = sorted({name.rpartition(".")[2] for name, module in modules.items() if is_linear(module)})
    return f"linear layers of this model: {', '.join(endings) or 'none'}"
