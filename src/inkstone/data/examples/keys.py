"""What makes rows and texts the same."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def row_key(row: Mapping[str, Any]) -> str:
    """All of a row: the same twice is a duplicate."""
    return json.dumps(row, ensure_ascii=False, sort_keys=True, default=str)


def digest(text: str) -> bytes:
    """128-bit hash of a text, lone surrogates included."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
