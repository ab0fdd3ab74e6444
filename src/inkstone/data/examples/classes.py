"""What the labels of texts say: names of classes, or numbers."""

import math
from collections.abc import Iterable

from inkstone.core.errors import InputError

Label = str | float | tuple[str, ...]
"""Of a `LabeledText`."""


def class_names(label: Label) -> tuple[str, ...]:
    """The classes in a label; a number may name one, too."""
    if isinstance(label, tuple):
        return label
    return (label if isinstance(label, str) else f"{label:.12g}",)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Different names of classes, sorted: as numbers where all are, else as texts."""
    different = set(names)
    if all(name.isascii() and name.isdecimal() for name in different):
        return tuple(sorted(different, key=lambda name: (int(name), name)))
    return tuple(sorted(different))


def number(label: Label) -> float:
    """The number that a label is.

    Raises:
        InputError: it is none.
    """
    try:
        value = float(label)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"the label {label!r} is no number", remedy="names of classes are for the method classify")
    return value
