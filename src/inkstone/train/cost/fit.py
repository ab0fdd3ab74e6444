"""When a run does not fit: the nearest settings that do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from inkstone.core.errors import InkstoneError
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.train.config import PretrainConfig
from inkstone.train.cost.forecast import Forecast

Changes = Mapping[str, Any]
Confirm = Callable[[Forecast], Forecast]
_CONFIRMED = 2
"""Sizes of micro-batches that are measured, at most, for a kind of change."""


def settings_that_fit(forecast: Forecast, confirm: Confirm, memory_bytes: float) -> list[dict[str, Any]]:
    """The nearest settings that need no more memory than there is, one for each kind of change.

    The kinds are, in this order: smaller micro-batches, gradient checkpointing, LoRA, LoRA on a quantized base; the
    later ones with smaller micro-batches only where they do not fit without.

    Args:
        forecast: of the settings that do not fit.
        confirm: measures a forecast, where it can.
        memory_bytes: that there are.

    Returns:
        Of each: `settings` (key → value), `memory_bytes` and `seconds`.
    """
    found = []
    for kind in _kinds(forecast.config):
        for changes in kind:
            if (fitting := _nearest(forecast, changes, confirm, memory_bytes)) is not None:
                settings, fits = fitting
                found.append({"settings": settings, "memory_bytes": fits.memory_bytes, "seconds": fits.seconds})
                break
    return found


def _kinds(config: Any) -> Iterator[Sequence[Changes]]:
    """Changes beside the size of micro-batches: of each kind the nearest first."""
    yield [{}]
    recomputed: Changes = {} if config.gradient_checkpointing else {"gradient_checkpointing": True}
    if recomputed:
        yield [recomputed]
    if not hasattr(config, "lora") or config.freeze.blocks or config.freeze.names:
        return
    adapted: Changes = {} if config.lora else {"lora": {}}
    if adapted:
        yield [adapted, {**adapted, **recomputed}] if recomputed else [adapted]
    if config.quantize_base is None:
        yield [{**adapted, **recomputed, "quantize_base": precision} for precision in ("int8", "int4")]


def _nearest(
    forecast: Forecast, changes: Changes, confirm: Confirm, memory_bytes: float
) -> tuple[Changes, Forecast] | None:
    """The changes with the largest micro-batch that fits."""
    sizes = list(_sizes(forecast, changes))
    try:
        if not sizes or (smallest := _variant(forecast, sizes[-1])).memory_bytes > memory_bytes:
            return None
        variants = (smallest if settings is sizes[-1] else _variant(forecast, settings) for settings in sizes)
        candidates = (
            (settings, variant)
            for settings, variant in zip(sizes, variants, strict=True)
            if variant.memory_bytes <= memory_bytes
        )
        for _, (settings, variant) in zip(range(_CONFIRMED), candidates, strict=False):
            if (confirmed := confirm(variant)).memory_bytes <= memory_bytes:
                return settings, confirmed
    except InkstoneError:  # such a model cannot be changed so
        return None
    return None


def _sizes(forecast: Forecast, changes: Changes) -> Iterator[Changes]:
    """The changes with smaller and smaller micro-batches; the first with those of the plan, if anything is changed."""
    if changes:
        yield changes
    config, trial = forecast.config, forecast.trial
    if isinstance(config, PretrainConfig):
        batch_size = config.chosen_batch_size()
        at_once = config.chosen_micro_batch_size(trial.settings.device.type)
        for size in range(at_once - 1, 0, -1):
            if batch_size % size == 0 and (size == 1 or size <= at_once // 2):
                yield {"micro_batch_size": size, **changes}
                at_once = size
        return
    tokens = min(trial.micro_batch_tokens, forecast.sketch.tokens) // 2
    while tokens >= trial.longest_tokens:
        yield {"micro_batch_tokens": tokens, **changes}
        tokens //= 2


def _variant(forecast: Forecast, changes: Changes) -> Forecast:
    values = {name: LoRAConfig() if name == "lora" else value for name, value in changes.items()}
    return Forecast.of(forecast.trial, forecast.config.model_copy(update=values), forecast)
