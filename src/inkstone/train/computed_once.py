"""What is computed once, before training, and kept in the run's folder."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inkstone.checkpoint import read_safetensors, write_safetensors
from inkstone.checkpoint.safetensors_file import open_safetensors
from inkstone.core.errors import CheckpointError

_KEY = "computed_from"


def computed_once(path: Path, key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of `compute`, as private maps of the safetensors file at `path`.

    The file is used again as long as it was written under the same `key`.

    Args:
        path: of the file.
        key: digest of all that the tensors depend on.
        compute: called where there is no such file, or one of another key.

    Raises:
        ResourceError: the disk is full.
    """
    try:
        with open_safetensors(path) as file:
            if file.metadata.get(_KEY) == key:
                return {name: file.mapped(name) for name in file.tensors}
    except CheckpointError:  # missing, or damaged: nothing is lost
        pass
    write_safetensors(path, compute(), {_KEY: key})
    return read_safetensors(path)


def digest_weights(model: nn.Module) -> str:
    """SHA-256 of the names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def digest_encodings(encodings: Iterable[tuple[Any, ...]]) -> str:
    """SHA-256 of encodings (named tuples of arrays and numbers), in their order."""
    digest = hashlib.sha256()
    for encoding in encodings:
        for value in encoding:
            array = np.asarray(value)
            digest.update(f"{array.dtype}{array.shape}\n".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def digest_texts(*texts: str) -> str:
    """One SHA-256 of several texts, such as other digests."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
