"""What a filter is.

A filter is a class registered under the entry point group `inkstone.filters`. Its thresholds are a `Config`, one per
language, so that no language is judged by another's measure.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from inkstone.core.config import Config, parse_config
from inkstone.core.records import Document
from inkstone.core.registry import lookup

T = TypeVar("T", bound=Config)
FALLBACK = "other"


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a document is dropped."""

    reason: str
    """A phrase without numbers; drops are counted by it."""
    detail: str
    """What was measured, and the threshold."""


class Filter(ABC, Generic[T]):
    """Base of filters: thresholds by language, `other` for all that have none of their own."""

    thresholds: ClassVar[type[Config]]
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Thresholds that differ from the fields' defaults, by language."""

    def __init__(self, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Use the default thresholds, changed by `overrides`: `{"zh": {"min_letters": 1}}`."""
        overrides = overrides or {}
        self._by_language: dict[str, T] = {}
        for language in (*self.defaults, *overrides, FALLBACK):
            values = {**self.defaults.get(language, {}), **overrides.get(language, {})}
            self._by_language[language] = parse_config(
                self.thresholds, values, where=f"{type(self).__name__} for {language}"
            )  # type: ignore[assignment]

    def check(self, document: Document) -> Drop | None:
        """None to keep `document`, else why it is dropped."""
        language = document.lang or FALLBACK
        return self.judge(document.text, self._by_language.get(language) or self._by_language[FALLBACK])

    @abstractmethod
    def judge(self, text: str, limits: T) -> Drop | None:
        """Judge a text by the thresholds of its language."""


def make_filter(name: str, overrides: Mapping[str, Mapping[str, Any]]) -> Filter[Any]:
    """The filter registered as `name`, with these thresholds."""
    made: Filter[Any] = lookup("filters", name)(overrides)
    return made
