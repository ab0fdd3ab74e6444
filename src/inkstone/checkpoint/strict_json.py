"""JSON from files that nobody has to trust: bounded, without duplicate keys, NaN or infinities."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from inkstone.core.errors import CheckpointError
from inkstone.core.files import StrPath

MAX_JSON_BYTES = 32 << 20
"""Far above any real config, index or header; what is longer is refused unread."""

_COPY_AGAIN = "copy or download the file again, or run the stage that made it again"


def read_json_object(path: StrPath) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        CheckpointError: the file is missing, too long, or no such object; duplicate keys and NaN are refused.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        raise CheckpointError("no such file", where=path, remedy=_COPY_AGAIN) from None
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", where=path, remedy=_COPY_AGAIN) from None
    if len(data) > MAX_JSON_BYTES:
        raise CheckpointError(f"longer than {MAX_JSON_BYTES:,} bytes of JSON", where=path, remedy=_COPY_AGAIN)
    return parse_json_object(data, where=Path(path))


def parse_json_object(data: bytes, *, where: Path) -> dict[str, Any]:
    """Parse UTF-8 JSON; arguments and errors as of `read_json_object`."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        cause = f"not UTF-8 text (byte {error.start})"
    except json.JSONDecodeError as error:
        cause = f"malformed JSON: {error.msg} (line {error.lineno})"
    except RecursionError:
        cause = "malformed JSON: nested too deeply"
    except ValueError as error:  # of the hooks, and of integers with thousands of digits
        cause = f"malformed JSON: {str(error).partition(';')[0]}"
    else:
        if isinstance(value, dict):
            return value
        cause = "expected a JSON object"
    raise CheckpointError(cause, where=where, remedy=_COPY_AGAIN)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {shown(twice)} is given twice")
    return keys


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def shown(name: object) -> str:
    """A name from a file as an error may show it: quoted, without control characters, not too long."""
    text = repr(name)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text):,} characters)"
