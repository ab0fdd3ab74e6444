"""Packages that only some measurements need."""

from importlib import import_module
from typing import Any

from inkstone.core.errors import ConfigError


def need(module: str) -> Any:
    """The module, imported now.

    Raises:
        ConfigError: it is not installed; names the extra that brings it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the package {error.name} is not installed",
            where=module,
            remedy='install it with pip install "inkstone[evaluate]", or choose other metrics and baselines',
        ) from error
