"""Which trial stands for which stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inkstone.core.config import parse_config
from inkstone.core.registry import lookup
from inkstone.core.stage import Stage
from inkstone.train.cost.trial import Trial
from inkstone.train.cost.trial_pretrain import PretrainTrial
from inkstone.train.cost.trial_teach import TeachTrial


def trial_of(stage: str, config: Any, inputs: Mapping[str, Path]) -> Trial:
    """The trial of a stage.

    Raises:
        InkstoneError: it could not run with these settings and inputs.
    """
    return PretrainTrial(config, inputs) if stage == "pretrain" else TeachTrial(stage, config, inputs)


def parsed(stage: str, values: Mapping[str, Any]) -> Any:
    """The settings of a stage, from JSON."""
    registered: Stage[Any] = lookup("stages", stage)
    return parse_config(registered.config, values, where=stage)
