"""Packages that only some features need."""

from importlib import import_module
from typing import Any

from inkstone.core.errors import ConfigError


def need(module: str, extra: str, otherwise: str) -> Any:
    """The module, imported now.

    Args:
        module: its name.
        extra: of this package, that brings it.
        otherwise: what to do instead.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the package {error.name} is not installed",
            where=module,
            remedy=f'install it with pip install "inkstone[{extra}]", or {otherwise}',
        ) from error
