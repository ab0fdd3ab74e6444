"""The stage that makes one plain model of a base model and its adapter."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field

from inkstone.core.config import Config
from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.core.stage import Summary, stage

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from inkstone.nn.adapters import Adapter
    from inkstone.nn.layers.lora import LinearLike
    from inkstone.nn.models.base import Model

_TOLERANCE = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 3e-2}
"""Of a layer's output, relative: some units in the last place of the dtype."""
_NUM_PROBES = 8


class MergeConfig(Config):
    """How the merged model is written."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the merged weights; auto keeps that of the base model."""
    weight: float = 1.0
    """The adapter's update is multiplied by it."""
    others: Mapping[str, float] = Field(default_factory=dict)
    """Folders of further LoRA adapters of the same model → weights of their updates: `W + Σ weight · update`."""


def _files_of_others(config: MergeConfig) -> Iterator[Path]:
    for folder in config.others:
        yield from (Path(folder, name) for name in ("adapter_config.json", "adapter_model.safetensors"))


@stage("merge", inputs=("model", "adapter"), sources=_files_of_others)
def merge(config: MergeConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """A model and its adapter (or several) to one model, which is checked against them before it counts."""
    from inkstone.checkpoint.adapters import load_adapter
    from inkstone.checkpoint.load import load_checkpoint
    from inkstone.checkpoint.save import save_checkpoint
    from inkstone.core.device import resolve_dtype

    # Read in float32, whatever is stored: the sum is then rounded once, when it is written.
    model, tokenizer = load_checkpoint(inputs["model"], device="cpu", dtype="float32")
    dtype = stored_dtype(inputs["model"]) if config.dtype == "auto" else resolve_dtype(config.dtype)
    folded = {folder: _fold(model, Path(folder), weight) for folder, weight in config.others.items()}
    adapter = load_adapter(inputs["adapter"], model)
    if folded or config.weight != 1:
        _weigh(adapter, config.weight, inputs["adapter"])
    num_parameters = adapter.num_parameters()
    layers = sorted({*adapter.targets, *(name for targets in folded.values() for name in targets)})
    expected = _probe(model, layers)
    training = {"base model": inputs["model"].name, "merged adapter": inputs["adapter"].name}
    if folded:
        weights = [
            (inputs["adapter"].name, config.weight),
            *((Path(each).name, w) for each, w in config.others.items()),
        ]
        training["merged adapter"] = " + ".join(f"{weight:g} · {name}" for name, weight in weights)
    save_checkpoint(out, adapter.merge_and_unload(), tokenizer, dtype=dtype, training=training)
    _read_back(model, out)
    difference = _difference(_probe(model, layers), expected)
    dtype_name = str(dtype).removeprefix("torch.")
    if not difference <= _TOLERANCE.get(dtype_name, 0.1):
        raise CheckpointError(
            f"the merged model differs from the model with its adapter by {difference:.2g}",
            where=out,
            remedy="look for values that are not finite in the adapter, or write another dtype",
        )
    return {
        "adapted_layers": len(layers),
        "adapter_parameters": num_parameters,
        "dtype": dtype_name,
        "largest_difference": difference,
    }


def _fold(model: "Model", folder: Path, weight: float) -> Sequence[str]:
    """Add the weighted update of an adapter to the model's weights, in float32; returns the names of its layers."""
    from inkstone.checkpoint.adapters import load_adapter

    adapter = load_adapter(folder, model)
    _weigh(adapter, weight, folder)
    targets = adapter.targets
    expected = _probe(model, targets)
    adapter.merge_and_unload()
    difference = _difference(_probe(model, targets), expected)
    if not difference <= _TOLERANCE["float32"]:
        raise CheckpointError(
            f"with its weights merged the model differs by {difference:.2g} from the model with the adapter",
            where=folder,
            remedy="look for values that are not finite in it",
        )
    return targets


def _weigh(adapter: "Adapter", weight: float, folder: Path) -> None:
    """Multiply an adapter's update by a weight.

    Raises:
        ConfigError: it is more than an update that is added: it could be neither weighed nor combined.
    """
    config = adapter.config
    if config.use_dora or config.modules_to_save or config.bias != "none":
        raise ConfigError(
            "has trained magnitudes, biases or whole modules (use_dora, bias, modules_to_save), not only updates",
            where=folder,
            remedy="merge it alone and with weight 1",
        )
    for layer in adapter.layers:
        layer.scaling *= weight


def _difference(found: Mapping[str, "Tensor"], expected: Mapping[str, "Tensor"]) -> float:
    """The largest relative difference of a layer's outputs; NaN where one is not finite."""
    import torch

    return float(torch.stack([(found[name] - expected[name]).norm() / expected[name].norm() for name in found]).max())


def stored_dtype(folder: Path) -> "torch.dtype":
    """The dtype of most values in a model folder's files."""
    from inkstone.checkpoint.weights import find_weights

    sizes: Counter[torch.dtype] = Counter()
    for place in find_weights(folder).values():
        if place.tensor.dtype.is_floating_point:
            sizes[place.tensor.dtype] += place.tensor.num_bytes // place.tensor.dtype.itemsize
    return sizes.most_common(1)[0][0]


def _read_back(model: "Model", folder: Path) -> None:
    """Fill a model with what was just written."""
    from inkstone.checkpoint.safetensors_file import open_safetensors
    from inkstone.checkpoint.weights import find_weights

    for name, place in find_weights(folder).items():
        with open_safetensors(place.file) as file:
            file.read_into(name, model.get_parameter(name).data)


def _probe(model: "Model", names: Iterable[str]) -> dict[str, "Tensor"]:
    """What the named layers make of the same random inputs."""
    import torch

    generator = torch.Generator().manual_seed(0)
    outputs = {}
    with torch.inference_mode():
        for name in names:
            layer = cast("LinearLike", model.get_submodule(name))
            outputs[name] = layer(torch.randn(_NUM_PROBES, layer.in_features, generator=generator))
    return outputs
