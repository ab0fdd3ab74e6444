"""Drops texts that are too short to teach anything."""

from typing import ClassVar

from inkstone.core.config import Config
from inkstone.data.characters import profile
from inkstone.data.filters.base import Drop, Filter


class LengthThresholds(Config):
    """Lengths are counted in letters and digits, so that signs and spaces do not count."""

    min_letters: int = 20
    max_chars: int | None = None


class LengthFilter(Filter[LengthThresholds]):
    """Length. A Chinese sentence of two characters is a sentence; an English one is longer."""

    thresholds = LengthThresholds
    defaults: ClassVar = {"zh": {"min_letters": 2}, "en": {"min_letters": 20}, "code": {"min_letters": 20}}

    def judge(self, text: str, limits: LengthThresholds) -> Drop | None:
        """Drop texts shorter or longer than allowed."""
        if limits.max_chars is not None and len(text) > limits.max_chars:
            return Drop("too long", f"{len(text):,} characters, at most {limits.max_chars:,}")
        if len(text) > 10 * limits.min_letters + 1000:
            return None
        counts = profile(text)
        letters = counts.letters + counts.digits
        if letters < limits.min_letters:
            return Drop("too short", f"{letters} letters and digits, at least {limits.min_letters}")
        return None
