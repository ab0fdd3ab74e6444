"""Tensors of a file that are several parameters one after the other, such as all experts of a mixture."""

from collections.abc import Mapping
from math import prod

from inkstone.checkpoint.families import ModelFamily
from inkstone.checkpoint.safetensors_file import StoredTensor
from inkstone.checkpoint.weights import Place


def unpack(family: ModelFamily, places: Mapping[str, Place]) -> dict[str, Place]:
    """Every tensor of a folder, each part of what the family knows as packed in a place of its own; nothing is read."""
    unpacked: dict[str, Place] = {}
    for name, place in places.items():
        parts = family.unpacked(name, place.tensor.shape)
        begin, dtype = place.tensor.begin, place.tensor.dtype
        for part, shape in parts.items():
            num_bytes = prod(shape) * dtype.itemsize
            unpacked[part] = Place(place.file, StoredTensor(dtype, shape, begin, num_bytes))
            begin += num_bytes
        if parts:
            assert begin == place.tensor.begin + place.tensor.num_bytes
        else:
            unpacked[name] = place
    return unpacked
