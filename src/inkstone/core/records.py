"""The records that rooms exchange."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """One text with its origin."""

    text: str
    id: str
    """Unique within its corpus and stable between runs."""
    source: str
    """File, URL or collection that the text came from."""
    lang: str | None = None
    """ISO 639-1 code, or None when unknown."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """JSON values only."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    """``system``, ``user``, ``assistant`` or ``tool``."""
    content: str


Conversation = Sequence[Message]
"""Messages in the order they were said."""
