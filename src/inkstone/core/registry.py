"""Plug-ins by kind and name. Built-ins come through the same door as everybody's: entry points ``inkstone.<kind>``."""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from inkstone.core.config import suggestion
from inkstone.core.errors import ConfigError

T = TypeVar("T")

_registered: dict[str, dict[str, Any]] = {}


def register(kind: str, name: str) -> Callable[[T], T]:
    """Decorator that makes an object known in this process as the `kind` called `name`.

    Raises:
        ConfigError: another object is already registered under that name.
    """

    def decorate(obj: T) -> T:
        if _registered.setdefault(kind, {}).setdefault(name, obj) is not obj:
            raise ConfigError(f"{name!r} is registered twice", where=f"inkstone.{kind}", remedy="choose another name")
        return obj

    return decorate


def lookup(kind: str, name: str) -> Any:
    """The object registered as `name`; its module is imported now, when it is first asked for.

    Raises:
        ConfigError: nothing has that name (the nearest one is named), or its module cannot be imported.
    """
    if name in (registered := _registered.get(kind, {})):
        return registered[name]
    points = _entry_points(kind)
    if name not in points:
        raise ConfigError(f"no {kind.removesuffix('s')} is called {name!r}", remedy=suggestion(name, names(kind)))
    point = points[name]
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the plug-in {name!r} ({point.value}) cannot be loaded: {error}",
            where=f"inkstone.{kind}",
            remedy="install what it needs, or remove the package that declares it",
        ) from error


def names(kind: str) -> list[str]:
    """All known names of a kind, sorted; imports nothing."""
    return sorted({*_registered.get(kind, {}), *_entry_points(kind)})


def _entry_points(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"inkstone.{kind}")}
