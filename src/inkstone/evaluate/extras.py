"""Packages that only some measurements need."""

from typing import Any

from inkstone.core import extras


def need(module: str) -> Any:
    """The module, imported now.

    Raises:
        ConfigError: it is not installed; names the extra that brings it.
    """
    return extras.need(module, "evaluate", "choose other metrics and baselines")
