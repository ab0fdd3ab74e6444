"""Safetensors files: written atomically one tensor at a time, read through a memory map."""

import contextlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from inkstone.core.errors import CheckpointError
from inkstone.core.files import StrPath, atomic_file, read_json

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLE_PATTERNS = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")

_DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_safetensors(path: StrPath, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to one safetensors file, atomically, holding one tensor at a time in memory beside the source.

    The layout is that of https://huggingface.co/docs/safetensors: the header's size (8 bytes, little endian), the
    header (JSON, padded to 8 bytes), then the values, widest dtypes first so that each tensor is aligned.

    Raises:
        ResourceError: the disk is full; an earlier file at `path` is untouched.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    offset = 0
    for name in names:
        end = offset + tensors[name].numel() * tensors[name].element_size()
        dtype = _DTYPE_NAMES[tensors[name].dtype]
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with atomic_file(path, "wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for name in names:
            values = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            file.write(values.numpy().data)


def read_safetensors(path: StrPath, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """All tensors of one safetensors file; on the CPU they are views of the memory-mapped file.

    Raises:
        CheckpointError: the file is missing, truncated or malformed.
    """
    with open_safetensors(path, device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@contextlib.contextmanager
def open_safetensors(path: StrPath, device: str | torch.device = "cpu") -> Iterator[Any]:
    """Open a safetensors file for reading single tensors (`keys`, `get_slice`, `get_tensor`).

    Raises:
        CheckpointError: the file is missing, truncated or malformed.
    """
    path = Path(path)
    _check_size(path)
    try:
        file = safe_open(str(path), framework="pt", device=str(device))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"not a readable safetensors file: {error}", where=path, remedy=_COPY_AGAIN) from error
    with file:
        yield file


def weight_files(folder: Path) -> dict[str, Path]:
    """The file of every tensor of a model folder: `model.safetensors`, or shards with their index.

    Raises:
        CheckpointError: there are no safetensors weights, or a shard is missing.
    """
    if (folder / WEIGHTS_INDEX).is_file() and not (folder / WEIGHTS).is_file():
        return _sharded_files(folder)
    if not (folder / WEIGHTS).is_file():
        pickles = [path.name for pattern in PICKLE_PATTERNS for path in sorted(folder.glob(pattern))]
        if pickles:
            raise CheckpointError(
                f"the weights are pickled ({pickles[0]}); reading them could run any code, so Inkstone never does",
                where=folder,
                remedy=f"convert them to {WEIGHTS} where you trust them, or use another copy of the model",
            )
        raise CheckpointError(f"{WEIGHTS} is missing", where=folder, remedy="copy the whole model folder again")
    with open_safetensors(folder / WEIGHTS) as file:
        return dict.fromkeys(file.keys(), folder / WEIGHTS)


def _sharded_files(folder: Path) -> dict[str, Path]:
    index = read_json(folder / WEIGHTS_INDEX)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not all(_plain_name(name) for name in weight_map.values()):
        raise CheckpointError("has no usable weight_map", where=folder / WEIGHTS_INDEX, remedy=_COPY_AGAIN)
    for name in sorted(set(weight_map.values())):
        if not (folder / name).is_file():
            raise CheckpointError(f"the shard {name} is missing", where=folder, remedy=_COPY_AGAIN)
    return {key: folder / name for key, name in weight_map.items()}


def _plain_name(name: object) -> bool:
    return isinstance(name, str) and Path(name).name == name


def _check_size(path: Path) -> None:
    """Refuse a file that is shorter or longer than its own header says."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            (header_size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(header_size)) if header_size <= size - 8 else None
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", where=path, remedy=_COPY_AGAIN) from None
    except (struct.error, ValueError):
        raise CheckpointError("not a safetensors file: its header is damaged", where=path, remedy=_COPY_AGAIN) from None
    if header is None:
        raise CheckpointError(
            f"damaged or truncated: the header needs {header_size} bytes, the file has {size}",
            where=path,
            remedy=_COPY_AGAIN,
        )
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    expected = 8 + header_size + max(ends, default=0)
    if size != expected:
        state = "truncated" if size < expected else "damaged"
        raise CheckpointError(f"{state}: {size} bytes instead of {expected}", where=path, remedy=_COPY_AGAIN)


_COPY_AGAIN = "copy or download the file again, or run the stage that made it again"
