"""The plans of the stages that train."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inkstone.core.apart import ApartError
from inkstone.core.device import free_memory_bytes
from inkstone.train.config_teach import TeachConfig
from inkstone.train.cost.fit import settings_that_fit
from inkstone.train.cost.forecast import Forecast
from inkstone.train.cost.rehearsal import rehearse
from inkstone.train.cost.trial_teach import TeachTrial
from inkstone.train.cost.trials import trial_of

SECONDS = 8.0
"""To spend on the micro-batches of a stage."""
_SAFE = 0.9
"""Of the memory that is free, what a rehearsal may be expected to take."""

Outline = Callable[[Any, Mapping[str, Path], Path], None]
Plan = Callable[[Any, Mapping[str, Path]], Mapping[str, Any]]


def plan_of(stage: str) -> Plan:
    """The plan of a stage that trains: see `plan_training`."""
    return functools.partial(plan_training, stage)


def outline_of(stage: str) -> Outline:
    """The outline of a stage that teaches: its folder, with zeros for weights."""
    return functools.partial(_outline, stage)


def plan_training(stage: str, config: Any, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Parameters, memory, disk and time of a stage that trains, and `fit`: bytes of memory → settings that fit.

    Raises:
        InkstoneError: it could not run with these settings and inputs.
    """
    trial = trial_of(stage, config, inputs)
    forecast, note = measured_if_it_fits(stage, Forecast.of(trial, config), inputs)
    notes = dict(trial.notes) | ({"not measured": note} if note else {})
    fit = functools.partial(settings_that_fit, forecast, functools.partial(_measured, stage, inputs))
    return {**forecast.to_plan(), **notes, "fit": fit}


def measured_if_it_fits(stage: str, forecast: Forecast, inputs: Mapping[str, Path]) -> tuple[Forecast, str | None]:
    """The forecast with what a rehearsal measures, where this machine has the memory for one; or why not."""
    if forecast.memory_bytes > _SAFE * free_memory_bytes():
        return forecast, "it does not fit into the memory that is free here; memory and time are extrapolated"
    values = forecast.config.model_dump(mode="json", exclude_defaults=True)
    try:
        return forecast.with_measured(rehearse(stage, values, inputs, SECONDS)), None
    except ApartError as error:
        return forecast, str(error)


def _measured(stage: str, inputs: Mapping[str, Path], forecast: Forecast) -> Forecast:
    return measured_if_it_fits(stage, forecast, inputs)[0]


def _outline(stage: str, config: TeachConfig, inputs: Mapping[str, Path], out: Path) -> None:
    TeachTrial(stage, config, inputs).save_outline(out)
