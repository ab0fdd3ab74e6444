"""Experts in files: a tensor for each matrix of each expert, or packed as `transformers` 5 holds them in memory."""

import re
from collections.abc import Callable, Mapping

_PACKED = re.compile(r"(?P<experts>.*\.experts)\.(?P<which>gate_up_proj|down_proj)")
_MAX_EXPERTS = 1 << 14
"""More than any model has; beyond it a file is hostile."""


def experts_unpacker(gate: str, up: str, down: str) -> Callable[[str, tuple[int, ...]], Mapping[str, tuple[int, ...]]]:
    """What `ModelFamily.unpacked` asks for, from the names that the matrices of one expert have.

    In a packed file `gate_up_proj` is (E, 2·I, C), gate before up, and `down_proj` (E, C, I).
    """

    def unpacked(name: str, shape: tuple[int, ...]) -> Mapping[str, tuple[int, ...]]:
        match = _PACKED.fullmatch(name)
        if match is None or len(shape) != 3 or shape[0] > _MAX_EXPERTS:
            return {}
        num_experts, rows, columns = shape
        matrices = (down,) if match["which"] == "down_proj" else (gate, up)
        if rows % len(matrices):
            return {}
        part = (rows // len(matrices), columns)
        return {
            f"{match['experts']}.{index}.{matrix}.weight": part for index in range(num_experts) for matrix in matrices
        }

    return unpacked
