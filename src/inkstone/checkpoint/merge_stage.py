"""The stage that makes one plain model of a base model and its adapter."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from inkstone.core.config import Config
from inkstone.core.errors import CheckpointError
from inkstone.core.stage import Summary, stage

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from inkstone.nn.layers.lora import LinearLike
    from inkstone.nn.models.base import Model

_TOLERANCE = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 3e-2}
"""Of a layer's output, relative: some units in the last place of the dtype."""
_NUM_PROBES = 8


class MergeConfig(Config):
    """How the merged model is written."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the merged weights; auto keeps that of the base model."""


@stage("merge", inputs=("model", "adapter"))
def merge(config: MergeConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """A model and its adapter to one model, which is checked against the two before it counts."""
    import torch

    from inkstone.checkpoint.adapters import load_adapter
    from inkstone.checkpoint.load import load_checkpoint
    from inkstone.checkpoint.save import save_checkpoint
    from inkstone.core.device import resolve_dtype

    # Read in float32, whatever is stored: the sum is then rounded once, when it is written.
    model, tokenizer = load_checkpoint(inputs["model"], device="cpu", dtype="float32")
    dtype = stored_dtype(inputs["model"]) if config.dtype == "auto" else resolve_dtype(config.dtype)
    adapter = load_adapter(inputs["adapter"], model)
    layers, num_parameters = adapter.targets, adapter.num_parameters()
    expected = _probe(model, layers)
    training = {"base model": inputs["model"].name, "merged adapter": inputs["adapter"].name}
    save_checkpoint(out, adapter.merge_and_unload(), tokenizer, dtype=dtype, training=training)
    _read_back(model, out)
    found = _probe(model, layers)
    differences = [(found[name] - expected[name]).norm() / expected[name].norm() for name in layers]
    difference = float(torch.stack(differences).max())
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
