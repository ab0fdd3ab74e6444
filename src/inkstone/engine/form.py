"""What completions must look like; imported without torch."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from inkstone.core.config import Config


class Form(Config):
    """What completions must look like; exactly one of these."""

    json_schema: Mapping[str, Any] | bool | None = None
    """A document that this JSON Schema allows."""
    regex: str | None = None
    """A text that the whole pattern matches (Rust's syntax, no look-around)."""
    choice: tuple[str, ...] | None = Field(default=None, min_length=1)
    """One of these texts."""
    grammar: str | None = None
    """A text of this context-free grammar, in llguidance's variant of Lark."""

    @model_validator(mode="after")
    def _check(self) -> "Form":
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of json_schema, regex, choice and grammar, not {' and '.join(given) or 'none'}")
        return self

    @property
    def kind(self) -> Literal["json_schema", "regex", "choice", "grammar"]:
        """Which it is."""
        kinds: tuple[Literal["json_schema", "regex", "choice", "grammar"], ...]
        kinds = "json_schema", "regex", "choice", "grammar"
        return next(name for name in kinds if getattr(self, name) is not None)
