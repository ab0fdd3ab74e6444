"""Drops texts that are mostly signs, digits, or letters of another script."""

from typing import ClassVar

from inkstone.core.config import Config
from inkstone.data.characters import profile
from inkstone.data.filters.base import Drop, Filter

FEW_SYMBOLS = 4
"""So many symbols are allowed in any text: in a short one they are a large share."""


class LettersThresholds(Config):
    """Shares of the characters that are not white space."""

    min_letters: float = 0.5
    """Letters of any script."""
    max_symbols: float = 0.2
    """Characters that are neither letters, digits nor punctuation."""
    min_script: float = 0.0
    """Letters of the language's own script (Han, Latin), as a share of all letters."""
    script: str = ""
    """`han` or `latin`; empty when any will do."""


class LettersFilter(Filter[LettersThresholds]):
    """Share of letters, symbols and the language's own script. Code has many signs, classical Chinese many marks."""

    thresholds = LettersThresholds
    defaults: ClassVar = {
        "zh": {"min_letters": 0.4, "script": "han", "min_script": 0.3},
        "en": {"min_letters": 0.4, "script": "latin", "min_script": 0.7},
        "code": {"min_letters": 0.2, "max_symbols": 0.5},
    }

    def judge(self, text: str, limits: LettersThresholds) -> Drop | None:
        """Drop texts whose shares are out of bounds."""
        counts = profile(text)
        visible, letters = counts.visible, counts.letters
        if visible == 0:
            return Drop("no visible text", "only white space")
        if letters < limits.min_letters * visible:
            return Drop("too few letters", f"{letters / visible:.0%} letters, at least {limits.min_letters:.0%}")
        if counts.symbols > max(limits.max_symbols * visible, FEW_SYMBOLS):
            return Drop("too many symbols", f"{counts.symbols / visible:.0%} symbols, at most {limits.max_symbols:.0%}")
        own = {"han": counts.han, "latin": counts.latin}.get(limits.script, letters)
        if own < limits.min_script * letters:
            share = own / letters
            return Drop("another script", f"{share:.0%} {limits.script} letters, at least {limits.min_script:.0%}")
        return None
