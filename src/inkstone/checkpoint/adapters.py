"""Adapter folders in PEFT's layout: adapter_config.json, adapter_model.safetensors and a card."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkstone.checkpoint.adapter_config import ADAPTER_CONFIG, peft_config, read_adapter_config
from inkstone.checkpoint.hub import locate
from inkstone.checkpoint.safetensors_file import StoredTensor, open_safetensors
from inkstone.checkpoint.strict_json import shown
from inkstone.checkpoint.weights import inside, write_safetensors
from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.core.files import StrPath, atomic_file, write_json
from inkstone.nn.adapter_config import LoRAConfig, choose_targets, is_linear, is_named
from inkstone.nn.adapters import Adapter
from inkstone.nn.layers.lora import LinearLike
from inkstone.nn.models.base import Model

ADAPTER_WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What PEFT writes before every name of the model."""

_PICKLE = "adapter_model.bin"
_CARD = "README.md"
_PARTS = (".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector")


def save_adapter(folder: StrPath, adapter: Adapter, *, base: StrPath | None = None) -> None:
    """Write an adapter alone, as PEFT does and loads it; each file appears whole or not at all.

    Args:
        folder: made when missing.
        adapter: merged or not.
        base: folder or hub id of the model that it belongs to, kept as `base_model_name_or_path`; by default what
            the adapter's config says.

    Raises:
        ResourceError: the disk is full.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    keys = peft_config(adapter, None if base is None else str(base))
    write_safetensors(folder / ADAPTER_WEIGHTS, {PREFIX + name: value for name, value in adapter.parameters().items()})
    with atomic_file(folder / _CARD, "w") as file:
        file.write(_card(adapter, keys["base_model_name_or_path"]))
    write_json(folder / ADAPTER_CONFIG, keys)


def load_adapter(path_or_id: StrPath, model: Model) -> Adapter:
    """Put an adapter folder, PEFT's or one saved here, on the model that it was trained for.

    The layers to adapt are those that the weights name; a `target_modules` that lists names must mean the same ones.
    The model stays in its mode (a loaded model is in evaluation mode); the adapter can be trained on.

    Args:
        path_or_id: a folder, or a hub id `owner/name`.
        model: changed in place.

    Raises:
        CheckpointError: the folder is no LoRA adapter, damaged, pickled, or made for another model; the model is as
            before.
    """
    folder = locate(path_or_id)
    config = _applied(read_adapter_config(folder), model)
    path = _weights_path(folder)
    with open_safetensors(path) as file:
        loading = _Loading(path, config, file.tensors)
        try:
            adapter = Adapter(model, config, loading.targets(model))
        except ConfigError as error:
            raise CheckpointError(error.cause, where=path, remedy=error.remedy) from error
        try:
            loading.check(adapter)
            for name, parameter in adapter.parameters().items():
                file.read_into(PREFIX + name, parameter.data)
            for name in loading.copies_of_base(adapter):
                loading.check_copy(model, name, file.mapped(PREFIX + name))
        except BaseException:
            adapter.remove()
            raise
    return adapter


class _Loading:
    """One adapter file, held against the model."""

    def __init__(self, path: Path, config: LoRAConfig, tensors: Mapping[str, StoredTensor]) -> None:
        self.path = path
        self.config = config
        for name, tensor in tensors.items():
            if not name.startswith(PREFIX):
                raise self.error(f"{shown(name)} is no name of PEFT's, which begin with {PREFIX}")
            if not tensor.dtype.is_floating_point:
                raise self.error(f"{shown(name)} holds {tensor.dtype}, no floating-point numbers")
        self.shapes = {name.removeprefix(PREFIX): tensor.shape for name, tensor in tensors.items()}

    def error(self, cause: str, remedy: str | None = None) -> CheckpointError:
        return CheckpointError(cause, where=self.path, remedy=remedy or "copy the adapter folder again")

    def another_model(self, cause: str) -> CheckpointError:
        base = self.config.base_model_name_or_path
        trained = f", {base}" if base else ""
        return self.error(f"made for another model: {cause}", f"load the model that it was trained on{trained}")

    def targets(self, model: Model) -> list[str]:
        """The adapted layers, in the model's order, each known to the model and of the rank that the config says."""
        named = {name.removesuffix(part) for name in self.shapes for part in _PARTS if name.endswith(part)}
        modules = dict(model.named_modules())
        embeddings = [name for name in self.shapes if ".lora_embedding_" in name]
        if embeddings:
            raise self.error(f"{_some(embeddings)}: adapters on embeddings are not supported", _MERGE_ELSEWHERE)
        for name in sorted(named):
            if name not in modules or not is_linear(modules[name]):
                missing = "lacks" if name not in modules else "has no linear layer of"
                raise self.another_model(f"it adapts {shown(name)}, which this one {missing} that name")
            self._check_layer(name, modules[name])
        if not named:
            raise self.error("holds no adapter: no lora_A and lora_B")
        if isinstance(self.config.target_modules, tuple) and not isinstance(self.config.exclude_modules, str):
            self._check_listed(model, named)
        return [name for name in modules if name in named]

    def _check_layer(self, name: str, layer: Any) -> None:
        assert isinstance(layer, LinearLike)
        rank = self.config.rank_of(name)
        expected = {".lora_A.weight": (rank, layer.in_features), ".lora_B.weight": (layer.out_features, rank)}
        for part, shape in expected.items():
            found = self.shapes.get(name + part)
            if found is None:
                raise self.error(f"{name}{part} is missing")
            if len(found) != 2 or found[part == ".lora_B.weight"] != rank:
                raise self.error(
                    f"{name}{part} has shape {list(found)}, but its rank is {rank}",
                    f"the weights and {ADAPTER_CONFIG} do not belong together; copy the adapter folder again",
                )
            if found != shape:
                raise self.another_model(f"{name}{part} has shape {list(found)} instead of {list(shape)}")

    def _check_listed(self, model: Model, named: set[str]) -> None:
        """A list of names that means more layers than the file has is a damaged adapter."""
        in_model = [name for name, _ in model.named_modules()]
        assert isinstance(self.config.target_modules, tuple)
        usable = tuple(target for target in self.config.target_modules if any(is_named(n, (target,)) for n in in_model))
        if not usable:
            return
        listed = choose_targets(model, self.config.model_copy(update={"target_modules": usable}))
        missing = [name for name in listed if name not in named]
        if missing:
            raise self.error(f"{_some([name + _PARTS[0] for name in missing])} missing: target_modules means them, too")

    def check(self, adapter: Adapter) -> None:
        """Hold the names and shapes of the file against what the adapter trains."""
        expected = {name: tuple(parameter.shape) for name, parameter in adapter.parameters().items()}
        missing = [name for name in expected if name not in self.shapes]
        if missing:
            raise self.error(f"{_some(missing)} missing")
        for name, shape in expected.items():
            if self.shapes[name] != shape:
                raise self.another_model(f"{name} has shape {list(self.shapes[name])} instead of {list(shape)}")
        known = dict(adapter.model.named_parameters(remove_duplicate=False))
        unexpected = [name for name in self.shapes if name not in expected and name not in known]
        if unexpected:
            raise self.error(f"{_some(unexpected)} unexpected for this {ADAPTER_CONFIG} and model")

    def copies_of_base(self, adapter: Adapter) -> Iterable[str]:
        """Frozen parameters that the file repeats, as PEFT does for adapted output layers."""
        trained = adapter.parameters()
        return [name for name in self.shapes if name not in trained]

    def check_copy(self, model: Model, name: str, tensor: Tensor) -> None:
        """Repeated values that are others than the model's tell of another, or a resized, base model."""
        own = dict(model.named_parameters(remove_duplicate=False))[name].detach()
        if tensor.shape != own.shape or not torch.equal(tensor.to(own), own):
            raise self.another_model(f"it brings another {name.replace('.base_layer.', '.')}, {list(tensor.shape)}")


def _applied(config: LoRAConfig, model: Model) -> LoRAConfig:
    """PEFT lists heads of several families in modules_to_save; those that this model lacks mean nothing."""
    names = [name for name, _ in model.named_modules() if name]
    saved = tuple(each for each in config.modules_to_save or () if any(name.endswith(each) for name in names))
    return config.model_copy(update={"modules_to_save": saved or None})


def _weights_path(folder: Path) -> Path:
    if (folder / ADAPTER_WEIGHTS).is_file():
        return inside(folder, ADAPTER_WEIGHTS)
    if (folder / _PICKLE).is_file():
        raise CheckpointError(
            f"the weights are pickled ({_PICKLE}); reading them could run any code, so Inkstone never does",
            where=folder,
            remedy="where you trust them, load the adapter with PEFT and save it again: "
            "save_pretrained(folder, safe_serialization=True)",
        )
    raise CheckpointError(f"{ADAPTER_WEIGHTS} is missing", where=folder, remedy="copy the adapter folder again")


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(map(shown, listed[:3])) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _card(adapter: Adapter, base: str | None) -> str:
    kind = "DoRA" if adapter.config.use_dora else "LoRA"
    front_matter = [f"base_model: {_quoted(base)}"] if base else []
    front_matter += ["library_name: peft", "tags:", "- lora", "- inkstone"]
    rows = {
        "Base model": base or "not recorded",
        "Rank": adapter.config.r,
        "Alpha": adapter.config.lora_alpha,
        "Adapted layers": len(adapter.targets),
        "Values": f"{adapter.num_parameters():,}",
    }
    lines = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in rows.items()]
    return "\n".join(["---", *front_matter, "---", "", f"# {kind} adapter", "", "| | |", "|---|---|", *lines, "", _USE])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


_MERGE_ELSEWHERE = "merge it with PEFT and use the merged model"
_USE = """## Use

```python
from inkstone.checkpoint import load_checkpoint
from inkstone.checkpoint.adapters import load_adapter

model, tokenizer = load_checkpoint("path/to/the/base/model")
adapter = load_adapter("path/to/this/folder", model)
```

The folder is in the layout of PEFT: `peft.PeftModel.from_pretrained` loads it as well. An adapter changes the model
that it was trained on and means nothing on another.
"""
