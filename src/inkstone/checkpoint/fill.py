"""Giving a model without values the tensors of its files, one at a time."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from inkstone.checkpoint.families import ModelFamily
from inkstone.checkpoint.safetensors_file import SafetensorsFile, StoredTensor, open_safetensors
from inkstone.checkpoint.strict_json import shown
from inkstone.checkpoint.weights import Place
from inkstone.core.device import resolve_dtype
from inkstone.core.errors import CheckpointError
from inkstone.nn.models.base import Model

_COMPUTED = (".rotary_emb.inv_freq", ".attn.masked_bias")
"""Endings of entries in old checkpoints that are tables, not weights."""
_NOT_TOGETHER = "the weights and config.json do not belong together; copy the model folder again"


def match_names(family: ModelFamily, model: Model, places: Mapping[str, Place], folder: Path) -> dict[str, str]:
    """Which tensor of the files fills which of the model's names: our name → name in the files.

    Raises:
        CheckpointError: tensors are missing, of another shape, of another kind than numbers, or nobody's.
    """
    values = model.state_dict()
    stored = [name for name in places if not name.endswith(_COMPUTED)]
    names: dict[str, str] = {}
    for tensor, name in family.parameter_names(stored, values.keys()).items():
        if name in names:
            cause = f"{shown(tensor)} and {shown(names[name])} are the same weight"
            raise CheckpointError(cause, where=places[tensor].file, remedy=_NOT_TOGETHER)
        names[name] = tensor
    for alias, name in model.tied_weights.items():
        if name not in names and alias in names:
            names[name] = names.pop(alias)
    _check_complete(folder, values.keys() - model.tied_weights.keys(), names.keys() - model.tied_weights.keys())
    for name, tensor in names.items():
        _check_tensor(places[tensor], tensor, tuple(values[name].shape))
    return names


def fill(model: Model, names: Mapping[str, str], places: Mapping[str, Place], device: torch.device, dtype: str) -> None:
    """Give every parameter of a skeleton its values, and put the model on the device.

    Args:
        model: of `build_skeleton`.
        names: of `match_names`.
        places: where the tensors lie.
        device: where to put them.
        dtype: `auto`, or a dtype's name.

    Raises:
        CheckpointError: the files hold another matrix for a weight that the config ties.
    """
    tied = {alias: name for alias, name in model.tied_weights.items() if alias in names}
    own = {name: tensor for name, tensor in names.items() if name not in tied}
    target = _target_dtype([places[tensor] for tensor in own.values()], device, dtype)
    for file in sorted({places[tensor].file for tensor in own.values()}):
        with open_safetensors(file) as opened:
            opened.tensors = {tensor: place.tensor for tensor, place in places.items() if place.file == file}
            for name, tensor in own.items():
                if places[tensor].file == file:
                    _assign(model, name, _read(opened, places[tensor].tensor, device, target))
    model.tie_weights()
    for alias, name in tied.items():
        _check_tied(model, places[names[alias]], names[alias], name)
    model.to(device)


def _target_dtype(places: list[Place], device: torch.device, dtype: str) -> torch.dtype:
    """The one dtype of the loaded model; `auto` is that of most stored values, or float32 where that is slow."""
    if dtype != "auto":
        return resolve_dtype(dtype, device)
    counts: Counter[torch.dtype] = Counter()
    for place in places:
        counts[place.tensor.dtype] += place.tensor.num_bytes // place.tensor.dtype.itemsize
    stored = max(counts, key=lambda each: (counts[each], each.itemsize))
    if device.type == "cpu" and stored.itemsize == 2:
        return stored if stored == resolve_dtype("auto", device) else torch.float32
    return stored


def _read(file: SafetensorsFile, stored: StoredTensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    if device.type == "cpu" and stored.dtype == dtype:
        return file.mapped(stored)
    return file.read_into(stored, torch.empty(stored.shape, dtype=dtype, device=device))


def _assign(model: nn.Module, name: str, values: Tensor) -> None:
    owner, _, attribute = name.rpartition(".")
    module = model.get_submodule(owner)
    earlier = getattr(module, attribute)
    if isinstance(earlier, nn.Parameter):
        setattr(module, attribute, nn.Parameter(values, requires_grad=earlier.requires_grad))
    else:
        setattr(module, attribute, values)


def _check_complete(folder: Path, expected: set[str], found: set[str]) -> None:
    for cause, names in (("missing", expected - found), ("unexpected", found - expected)):
        if names:
            listing = ", ".join(shown(name)[1:-1] for name in sorted(names)[:3]) + (", …" if len(names) > 3 else "")
            raise CheckpointError(
                f"{len(names)} {cause} weight{'s' * (len(names) > 1)} for this config.json: {listing}",
                where=folder,
                remedy=_NOT_TOGETHER,
            )


def _check_tensor(place: Place, name: str, expected: tuple[int, ...]) -> None:
    if place.tensor.shape != expected:
        raise CheckpointError(
            f"{shown(name)[1:-1]} has shape {list(place.tensor.shape)}, config.json asks for {list(expected)}",
            where=place.file,
            remedy=_NOT_TOGETHER,
        )
    if not place.tensor.dtype.is_floating_point or place.tensor.dtype.itemsize == 1:
        kind = str(place.tensor.dtype).removeprefix("torch.")
        raise CheckpointError(
            f"{shown(name)[1:-1]} is stored as {kind}: quantized weights are not supported yet",
            where=place.file,
            remedy="use the model that was quantized, in bfloat16, float16 or float32",
        )


def _check_tied(model: Model, place: Place, tensor: str, name: str) -> None:
    """A tied checkpoint may repeat a matrix under its other name; leaving out another matrix would be a loss."""
    kept = model.get_parameter(name).detach()
    with open_safetensors(place.file) as opened:
        repeated = _read(opened, place.tensor, kept.device, kept.dtype)
    if not torch.equal(repeated, kept):
        raise CheckpointError(
            f"config.json ties {shown(tensor)[1:-1]} to {name}, but the file holds another matrix for it",
            where=place.file,
            remedy="set tie_word_embeddings to false in config.json",
        )
