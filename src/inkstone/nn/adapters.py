"""Adapters on a model: put on, trained alone, merged, taken off again."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import nn

from inkstone.core.errors import ConfigError
from inkstone.nn.adapter_config import LoRAConfig, choose_targets, whole_modules
from inkstone.nn.layers.lora import LinearLike, LoRALinear
from inkstone.nn.models.base import Model


def add_adapter(model: Model, config: LoRAConfig, generator: torch.Generator | None = None) -> "Adapter":
    """Freeze a model and put a new adapter on it, which changes nothing until it is trained.

    Args:
        model: changed in place; its blocks may be compiled, before or after.
        config: which layers are adapted, and how.
        generator: draws the initial values.

    Raises:
        ConfigError: a name fits nothing, or something that cannot be adapted; the model is as before.
    """
    adapter = Adapter(model, config, choose_targets(model, config))
    for layer in adapter.layers:
        layer.init_weights(generator, gaussian=config.init_lora_weights == "gaussian")
    return adapter


class Adapter:
    """An adapter on its model. The model is used as ever; this is the handle to the adapter alone.

    Attributes:
        model: the adapted model.
        config: the adapter's settings.
        targets: names of the adapted layers.
    """

    def __init__(self, model: Model, config: LoRAConfig, targets: Sequence[str]) -> None:
        """Put an adapter on the layers `targets`; its matrices A hold no particular values yet."""
        self.model = model
        self.config = config
        self.targets = tuple(targets)
        whole = whole_modules(model, config)
        _check_free(model, [*targets, *whole])
        self._trained_before = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        model.requires_grad_(False)
        for name in targets:
            model.set_submodule(name, self._adapted(name))
        base_trained = [name for name, _ in model.named_parameters() if self._trains_of_base(name, whole)]
        for name in base_trained:
            model.get_parameter(name).requires_grad_(True)
        self._base_values = {name: model.get_parameter(name).detach().clone() for name in base_trained}
        self._names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]

    def _adapted(self, name: str) -> LoRALinear:
        base_layer = self.model.get_submodule(name)
        assert isinstance(base_layer, LinearLike)
        layer = LoRALinear(
            base_layer,
            self.config.rank_of(name),
            scaling=self.config.scaling_of(name),
            dropout=self.config.lora_dropout,
            use_dora=self.config.use_dora,
        )
        return layer.train(self.model.training)

    def _trains_of_base(self, name: str, whole: Sequence[str]) -> bool:
        """Whether the adapter trains this parameter of the base model."""
        if any(name.startswith(f"{module}.") for module in whole):
            return True
        if name.rpartition(".")[2] != "bias":
            return False
        adapted = name.removesuffix(".base_layer.bias") in self.targets
        return self.config.bias == "all" or (self.config.bias == "lora_only" and adapted)

    @property
    def layers(self) -> list[LoRALinear]:
        """The adapted layers."""
        return [cast(LoRALinear, self.model.get_submodule(name)) for name in self.targets]

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained: name in the model → parameter, all else being frozen."""
        return {name: self.model.get_parameter(name) for name in self._names}

    def num_parameters(self) -> int:
        """Number of trained values."""
        return sum(parameter.numel() for parameter in self.parameters().values())

    @property
    def merged(self) -> bool:
        """Whether the updates are in the base weights at present."""
        return any(layer.merged for layer in self.layers)

    def merge(self) -> None:
        """Add the updates to the base weights, so that the model computes as fast as without an adapter.

        The sum is computed in float32 and rounded once to the weights' dtype. The weights from before are kept in
        memory, so that `unmerge` restores them bit for bit; `merge_and_unload` keeps none.

        Raises:
            ConfigError: a base layer is quantized.
        """
        for layer in self.layers:
            layer.merge()

    def unmerge(self) -> None:
        """Undo `merge`, exactly."""
        for layer in self.layers:
            layer.unmerge()

    def merge_and_unload(self) -> Model:
        """Make the adapted model a plain one: merge for good, one layer at a time, and take the adapter's parts off."""
        for name, layer in zip(self.targets, self.layers, strict=True):
            self.model.set_submodule(name, cast(nn.Module, layer.fold()))
        self._let_go()
        return self.model

    def remove(self) -> Model:
        """Take the adapter off; every weight of the model is again as it was before, bit for bit."""
        self.unmerge()
        self._exchange_base_values()
        for name, layer in zip(self.targets, self.layers, strict=True):
            self.model.set_submodule(name, cast(nn.Module, layer.base_layer))
        self._let_go()
        return self.model

    def _let_go(self) -> None:
        self.targets, self._names, self._base_values = (), [], {}
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in self._trained_before)

    @contextlib.contextmanager
    def disabled(self) -> Iterator[Model]:
        """Within the block, the model is the base model: a reference policy without a second copy of the weights."""
        was_merged = self.merged
        self.unmerge()
        self._exchange_base_values()
        self._enable(False)
        try:
            yield self.model
        finally:
            self._enable(True)
            self._exchange_base_values()
            if was_merged:
                self.merge()

    def _enable(self, enabled: bool) -> None:
        for layer in self.layers:
            layer.enabled = enabled

    def _exchange_base_values(self) -> None:
        """Swap the trained biases and whole modules with their values in the base model."""
        for name, value in self._base_values.items():
            parameter = self.model.get_parameter(name)
            self._base_values[name] = parameter.detach().clone()
            parameter.data.copy_(value)

    def __repr__(self) -> str:
        share = self.num_parameters() / self.model.num_parameters()
        return f"Adapter(r={self.config.r}, {len(self.targets)} layers, {self.num_parameters():,} values, {share:.2%})"


def is_adapted(model: nn.Module) -> bool:
    """Whether an adapter is on a model."""
    return any(isinstance(module, LoRALinear) for module in model.modules())


def _check_free(model: Model, names: Sequence[str]) -> None:
    """Refuse a second adapter, and one on a matrix that two layers share."""
    if is_adapted(model):
        raise ConfigError(
            "the model has an adapter already",
            where="adapter",
            remedy="remove it or merge it first, or load the model again",
        )
    for alias, parameter in model.tied_weights.items():
        for name in names:
            if any(tied.startswith(f"{name}.") for tied in (alias, parameter)):
                raise ConfigError(
                    f"{name} shares its matrix: {alias} is {parameter}, so that changing one would change both",
                    where="adapter",
                    remedy="leave it out of target_modules and modules_to_save, or untie it in the base model first",
                )
