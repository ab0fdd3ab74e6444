"""Inkstone: from raw text to a language model, on the machine you have."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inkstone.api import LanguageModel, load

__version__ = "0.1.0"
__all__ = ["LanguageModel", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """`inkstone.load` and `inkstone.LanguageModel`, imported when first asked for."""
    if name in ("LanguageModel", "load"):
        from inkstone import api

        return getattr(api, name)
    raise AttributeError(f"module 'inkstone' has no attribute {name!r}")
