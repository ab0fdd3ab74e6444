"""Reading one safetensors file: its header is checked whole before any value is touched."""

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkstone.checkpoint.strict_json import MAX_JSON_BYTES, parse_json_object, shown
from inkstone.core.errors import CheckpointError
from inkstone.core.files import StrPath

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Names that the format gives to dtypes."""

_MAX_DIMENSIONS = 64
_MAX_SIZE = 1 << 62
_CHUNK_VALUES = 1 << 20
_COPY_AGAIN = "copy or download the file again, or run the stage that made it again"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """What the header says of one tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    """First byte, counted from the beginning of the file."""
    num_bytes: int


@dataclass
class SafetensorsFile:
    """An open file of https://huggingface.co/docs/safetensors; close it after reading (mapped tensors stay valid)."""

    path: Path
    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]
    _descriptor: int
    _mapping: mmap.mmap | None = field(default=None, init=False)

    def mapped(self, tensor: str | StoredTensor) -> Tensor:
        """A tensor, by name or place, whose memory is a private map of the file: what is written to is copied first.

        Replacing or removing the file (by name, as every tool that writes atomically does) leaves the tensor as it is.
        """
        stored = self._stored(tensor)
        if stored.num_bytes == 0:
            return torch.empty(stored.shape, dtype=stored.dtype)
        if stored.begin % stored.dtype.itemsize:
            data = bytearray(os.pread(self._descriptor, stored.num_bytes, stored.begin))
            return torch.frombuffer(data, dtype=stored.dtype).view(stored.shape)
        flat = torch.frombuffer(self._map(), dtype=stored.dtype, count=prod(stored.shape), offset=stored.begin)
        return flat.view(stored.shape)

    def read_into(self, tensor: str | StoredTensor, out: Tensor) -> Tensor:
        """Read a tensor into `out`, contiguous and of the same shape, converting to its dtype and device by and by.

        Pages of the file are given back as soon as they are read: beside `out`, no more than a few megabytes are held.
        """
        stored = self._stored(tensor)
        source, target = self.mapped(stored).view(-1), out.view(-1)
        itemsize = stored.dtype.itemsize
        for start in range(0, target.numel(), _CHUNK_VALUES):
            end = min(start + _CHUNK_VALUES, target.numel())
            target[start:end].copy_(source[start:end])
            self._release(stored.begin + start * itemsize, stored.begin + end * itemsize)
        return out

    def _stored(self, tensor: str | StoredTensor) -> StoredTensor:
        return self.tensors[tensor] if isinstance(tensor, str) else tensor

    def _map(self) -> mmap.mmap:
        if self._mapping is None:
            self._mapping = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_COPY)
        return self._mapping

    def _release(self, begin: int, end: int) -> None:
        """Give back the pages that lie wholly between two bytes; they were only read, so the file still has them."""
        begin, end = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        if begin < end:
            self._map().madvise(mmap.MADV_DONTNEED, begin, end - begin)


@contextlib.contextmanager
def open_safetensors(path: StrPath) -> Iterator[SafetensorsFile]:
    """Open a safetensors file.

    Raises:
        CheckpointError: it is missing or truncated, or its header is malformed or lies about the file: unknown dtypes,
            sizes that do not fit the shape, tensors that overlap, leave gaps or end outside the file.
    """
    path = Path(path)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", where=path, remedy=_COPY_AGAIN) from None
    try:
        yield SafetensorsFile(path, *_read_header(descriptor, path), descriptor)
    finally:
        os.close(descriptor)


def read_safetensors(path: StrPath, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """All tensors of one safetensors file; on the CPU they are private maps of the file.

    Raises:
        CheckpointError: as `open_safetensors` does.
    """
    with open_safetensors(path) as file:
        return {name: file.mapped(name).to(device) for name in file.tensors}


def read_header(path: StrPath) -> Mapping[str, StoredTensor]:
    """Names, dtypes and shapes of the tensors of a file; errors as of `open_safetensors`."""
    with open_safetensors(path) as file:
        return file.tensors


def _read_header(descriptor: int, path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    try:
        size = os.fstat(descriptor).st_size
        prefix = os.pread(descriptor, 8, 0)
        if len(prefix) < 8:
            raise _damaged(path, "not a safetensors file: its header is damaged")
        (header_size,) = struct.unpack("<Q", prefix)
        if header_size > size - 8:
            cause = f"damaged or truncated: the header needs {header_size} bytes, the file has {size}"
            raise _damaged(path, cause)
        if header_size > MAX_JSON_BYTES:
            raise _damaged(path, f"damaged: a header of {header_size:,} bytes")
        data = os.pread(descriptor, header_size, 8)
    except OSError as error:
        raise _damaged(path, f"cannot be read: {error.strerror}") from None
    header = parse_json_object(data, where=path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, "damaged: __metadata__ does not map names to texts")
    tensors = {name: _stored_tensor(path, name, entry, 8 + header_size) for name, entry in header.items()}
    _check_layout(path, tensors, 8 + header_size, size)
    return tensors, metadata


def _stored_tensor(path: Path, name: str, entry: Any, data_begin: int) -> StoredTensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"damaged: the header's entry {shown(name)} is not dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _damaged(path, f"{shown(name)} has the dtype {shown(dtype)}, which is not supported")
    if not _are_sizes(shape) or len(shape) > _MAX_DIMENSIONS:
        raise _damaged(path, f"damaged: {shown(name)} has the shape {shown(shape)}")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _damaged(path, f"damaged: {shown(name)} has the data_offsets {shown(offsets)}")
    num_bytes = offsets[1] - offsets[0]
    if num_bytes != prod(shape) * DTYPES[dtype].itemsize:
        cause = f"damaged: {shown(name)} has {num_bytes:,} bytes, which is not what {dtype} {shown(shape)} needs"
        raise _damaged(path, cause)
    return StoredTensor(DTYPES[dtype], tuple(shape), data_begin + offsets[0], num_bytes)


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < _MAX_SIZE for value in values)


def _check_layout(path: Path, tensors: Mapping[str, StoredTensor], data_begin: int, size: int) -> None:
    """The tensors must follow each other without gap or overlap, from the header to the end of the file."""
    end = data_begin
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].num_bytes)):
        if tensor.begin != end:
            fault = "overlaps another tensor" if tensor.begin < end else "leaves a gap before it"
            raise _damaged(path, f"damaged: {shown(name)} {fault}")
        end = tensor.begin + tensor.num_bytes
    if size != end:
        state = "truncated" if size < end else "damaged"
        raise _damaged(path, f"{state}: {size} bytes instead of {end}")


def _damaged(path: Path, cause: str) -> CheckpointError:
    return CheckpointError(cause, where=path, remedy=_COPY_AGAIN)
