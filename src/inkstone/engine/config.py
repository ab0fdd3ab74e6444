"""How an engine computes; imported without torch."""

from typing import Literal

from pydantic import Field

from inkstone.core.config import Config


class EngineConfig(Config):
    """How an engine computes."""

    quant: Literal["auto", "float32", "bfloat16", "int8", "int4"] = "auto"
    """How weights are kept: auto as they were saved, int8 in half the memory of bfloat16, int4 in a quarter."""
    kv_cache: Literal["auto", "int8"] = "auto"
    """How keys and values are kept: auto in float16, float32 for float32 weights; int8 in half of float16's memory."""
    kv_memory_gb: float | None = Field(default=None, gt=0)
    """For keys and values; by default what `max_running` full contexts need, at most a quarter of what is free."""
    max_running: int = Field(default=32, gt=0)
    """Sequences that are computed together."""
    max_step_tokens: int = Field(default=512, gt=0)
    """Of one step: more is faster for long prompts, fewer lets others wait less for each token."""
    prefix_reuse: bool = True
    """Remember the beginnings of prompts."""
    speculate: Literal["off", "prompt"] = "off"
    """Guess tokens by looking up what followed the same words before; the text stays the same."""
    threads: int | None = Field(default=None, gt=0)
    """That compute; by default all cores, one for very small models."""
