"""Which layers have a window, in config.json."""

from collections.abc import Sequence
from typing import Any

from inkstone.checkpoint.families.base import HFConfig, value_or
from inkstone.nn.models.llama import LlamaConfig

FULL, SLIDING = "full_attention", "sliding_attention"


def windows_from_hf(hf: HFConfig, default_window: int | None, default_types: Sequence[str]) -> dict[str, Any]:
    """`sliding_window` and `layer_types` of our config.

    Args:
        hf: config.json, where `use_sliding_window` switches all windows on.
        default_window: taken where config.json leaves `sliding_window` out.
        default_types: taken where it leaves `layer_types` out.
    """
    window = hf.get("sliding_window", default_window)
    types = tuple(value_or(hf, "layer_types", default_types))
    if not value_or(hf, "use_sliding_window", False) or window is None or set(types) == {FULL}:
        return {"sliding_window": None, "layer_types": None}
    return {"sliding_window": window, "layer_types": None if set(types) == {SLIDING} else types}


def windows_to_hf(config: LlamaConfig) -> dict[str, Any]:
    """Keys of config.json; a null `layer_types` would be read as the family's default pattern."""
    types = [FULL if window is None else SLIDING for window in config.windows]
    return {
        "use_sliding_window": config.sliding_window is not None,
        "sliding_window": config.sliding_window,
        "layer_types": types,
        "max_window_layers": types.index(SLIDING) if SLIDING in types else len(types),
    }
