"""The weights of a model folder: one safetensors file, or shards with an index."""

import json
import os
import re
import shlex
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from inkstone.checkpoint.safetensors_file import DTYPES, StoredTensor, read_header
from inkstone.checkpoint.strict_json import read_json_object, shown
from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.core.files import StrPath, atomic_file, write_json

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
MAX_SHARD_SIZE = "5GB"
UNREADABLE = ("pytorch_model*.bin", "tf_model.h5", "flax_model.msgpack", "*.gguf", "*.pt", "*.pth", "*.ckpt", "*.pkl")
"""Weights in formats that are not read, as they lie in folders of the field."""

_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_SHARD_NAME = re.compile(r"[\w-][\w.-]{0,200}\.safetensors", re.ASCII)
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_HEADER_ALIGNMENT = 64
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_COPY_AGAIN = "copy or download the file again, or run the stage that made it again"


class Place(NamedTuple):
    """Where one tensor of a model folder lies."""

    file: Path
    tensor: StoredTensor


def find_weights(folder: Path) -> dict[str, Place]:
    """Every tensor of a model folder by its name in the files; only headers are read.

    Raises:
        CheckpointError: there are no safetensors weights (the error says what there is instead), a shard is missing,
            lies outside the folder or does not hold what the index says.
    """
    if (folder / WEIGHTS).is_file():
        file = inside(folder, WEIGHTS)
        return {name: Place(file, tensor) for name, tensor in read_header(file).items()}
    if (folder / WEIGHTS_INDEX).is_file():
        return _find_in_shards(folder)
    raise _no_weights(folder)


def _find_in_shards(folder: Path) -> dict[str, Place]:
    index = inside(folder, WEIGHTS_INDEX)
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError("has no usable weight_map", where=index, remedy=_COPY_AGAIN)
    places: dict[str, Place] = {}
    for shard in sorted({_shard_name(index, value) for value in weight_map.values()}):
        if not (folder / shard).is_file():
            raise CheckpointError(f"the shard {shard} is missing", where=folder, remedy=_COPY_AGAIN)
        file = inside(folder, shard)
        for name, tensor in read_header(file).items():
            if weight_map.get(name, shard) != shard or name in places:
                raise CheckpointError(f"{shown(name)} lies in two shards", where=index, remedy=_COPY_AGAIN)
            places[name] = Place(file, tensor)
    absent = sorted(weight_map.keys() - places.keys())
    if absent:
        cause = f"{shown(absent[0])} is not in {weight_map[absent[0]]}, where the index has it"
        raise CheckpointError(cause, where=index, remedy=_COPY_AGAIN)
    return places


def _shard_name(index: Path, value: object) -> str:
    if isinstance(value, str) and _SHARD_NAME.fullmatch(value):
        return value
    raise CheckpointError(
        f"names the shard {shown(value)}; a shard is a .safetensors file beside the index",
        where=index,
        remedy="do not trust this folder; take another copy of the model",
    )


def inside(folder: Path, name: str) -> Path:
    """The path of a file of a model folder, which must be there and not elsewhere through a symbolic link.

    Raises:
        CheckpointError: a link leads out of the folder (into the blobs of the hub's own cache it may lead).
    """
    home, file = folder.resolve(), (folder / name).resolve()
    allowed = [home, *([home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [])]
    if any(file.is_relative_to(place) for place in allowed):
        return folder / name
    raise CheckpointError(
        f"{name} is a link to {file}, outside of the folder",
        where=folder,
        remedy="copy the file itself into the folder if you trust it",
    )


def _no_weights(folder: Path) -> CheckpointError:
    found = [path.name for pattern in UNREADABLE for path in sorted(folder.glob(pattern))]
    if not found:
        return CheckpointError(f"{WEIGHTS} is missing", where=folder, remedy="copy the whole model folder again")
    if found[0].endswith(".gguf"):
        cause = f"the weights are a GGUF file ({found[0]}), which is read by other programs and often quantized"
        remedy = f"use the model's original folder, with {WEIGHTS}"
    elif found[0].endswith((".h5", ".msgpack")):
        cause, remedy = f"the weights are those of another library ({found[0]})", f"use a copy with {WEIGHTS}"
    else:
        cause = f"the weights are pickled ({found[0]}); reading them could run any code, so Inkstone never does"
        remedy = (
            f"convert them where you trust them and transformers is installed: {_convert_command(folder)}\n"
            "  (or use a copy of the model that has safetensors)"
        )
    return CheckpointError(cause, where=folder, remedy=remedy)


def _convert_command(folder: Path) -> str:
    """The command that rewrites pickled weights, elsewhere and at the user's own risk."""
    try:
        named = read_json_object(folder / "config.json").get("architectures")
    except CheckpointError:
        named = None
    first = named[0] if isinstance(named, list) and named else None
    architecture = first if isinstance(first, str) and first.isidentifier() else "AutoModel"
    program = (
        f"from transformers import {architecture} as M, AutoTokenizer as T; "
        f"f, to = {os.fspath(folder)!r}, 'converted'; "
        "M.from_pretrained(f).save_pretrained(to); T.from_pretrained(f).save_pretrained(to)"
    )
    return f"python -c {shlex.quote(program)}"


def write_weights(
    folder: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype, max_shard_size: int | str = MAX_SHARD_SIZE
) -> None:
    """Write the weights as one file or, where they are larger than `max_shard_size`, as shards with an index.

    Args:
        folder: earlier weights in it, in either layout, are gone afterwards.
        tensors: name → values.
        dtype: to convert floating-point values to while writing.
        max_shard_size: bytes, or a text such as `5GB` or `500MB`.

    Raises:
        ConfigError: `max_shard_size` is no size.
        ResourceError: the disk is full.
    """
    saved = {name: _saved_dtype(value, dtype) for name, value in tensors.items()}
    sizes = {name: value.numel() * saved[name].itemsize for name, value in tensors.items()}
    shards = _split(sizes, parse_size(max_shard_size))
    files = [WEIGHTS] if len(shards) == 1 else [_shard_file(n, len(shards)) for n in range(len(shards))]
    for file, names in zip(files, shards, strict=True):
        write_safetensors(folder / file, {name: tensors[name] for name in names}, dtype=dtype)
    if len(shards) > 1:
        weight_map = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        total = {"total_size": sum(sizes.values()), "total_parameters": sum(map(torch.numel, tensors.values()))}
        write_json(folder / WEIGHTS_INDEX, {"metadata": total, "weight_map": dict(sorted(weight_map.items()))})
    _remove_earlier(folder, {*files, *([WEIGHTS_INDEX] if len(shards) > 1 else [])})


def write_safetensors(
    path: StrPath,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write tensors to one safetensors file, atomically, holding one tensor at a time in memory beside the source.

    The layout is that of https://huggingface.co/docs/safetensors: the header's size (8 bytes, little endian), the
    header (JSON, padded so that values begin at a multiple of 64 bytes), then the values, widest dtypes first so that
    each tensor is aligned. Floating-point values are converted to `dtype`, where one is given. A tensor on the meta
    device, which has no values, is written as zeros that take no space on the disk.

    Raises:
        ResourceError: the disk is full; an earlier file at `path` is untouched.
    """
    saved = {name: _saved_dtype(value, dtype) for name, value in tensors.items()}
    names = sorted(tensors, key=lambda name: (-saved[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    offset = 0
    for name in names:
        end = offset + tensors[name].numel() * saved[name].itemsize
        shape = list(tensors[name].shape)
        header[name] = {"dtype": _DTYPE_NAMES[saved[name]], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-(8 + len(encoded)) % _HEADER_ALIGNMENT)
    with atomic_file(path, "wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for name in names:
            if tensors[name].is_meta:
                file.seek(tensors[name].numel() * saved[name].itemsize, os.SEEK_CUR)
                continue
            values = tensors[name].detach().to("cpu", saved[name]).contiguous().reshape(-1).view(torch.uint8)
            file.write(values.numpy().data)
        file.truncate()


def _saved_dtype(value: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and value.is_floating_point() else value.dtype


def parse_size(size: int | str, *, where: str = "max_shard_size") -> int:
    """Bytes of a size such as `5GB`, `500MB` or `2GiB`.

    Args:
        size: a number of bytes, or a text.
        where: the setting, for errors.

    Raises:
        ConfigError: it is no size.
    """
    match = re.fullmatch(r"\s*(\d{1,15})\s*([KMG]I?B)?\s*", str(size), re.IGNORECASE)
    num_bytes = int(match[1]) * _UNITS[(match[2] or "").upper()] if match else 0
    if num_bytes == 0:
        raise ConfigError(f"{size!r} is no size", where=where, remedy="write it like 5GB or 500MB")
    return num_bytes


def _split(sizes: Mapping[str, int], max_bytes: int) -> list[list[str]]:
    """Names in their order, cut where a shard would become larger than `max_bytes`; one tensor is never cut."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > max_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _shard_file(number: int, count: int) -> str:
    return f"model-{number + 1:05d}-of-{count:05d}.safetensors"


def _remove_earlier(folder: Path, kept: set[str]) -> None:
    """Remove weights of an earlier save in the other layout, which a reader could take for these."""
    for path in folder.iterdir():
        name = path.name
        if name not in kept and (name in (WEIGHTS, WEIGHTS_INDEX) or _SHARD.fullmatch(name)):
            with suppress(FileNotFoundError):
                path.unlink()
