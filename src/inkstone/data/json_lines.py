"""JSON Lines: one object per line."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from inkstone.data.tables import Malformed

JSON_LINES = frozenset({".jsonl", ".ndjson"})
_SURROGATES = re.compile("[\ud800-\udfff]")


def json_objects(
    lines: Iterable[tuple[int, str]], name: str, malformed: Malformed
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects with the numbers of their lines; `malformed` is told of lines of the file `name` that hold none."""
    for number, line in lines:
        where = f"{name}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            malformed(f"malformed JSON: {json_cause(error)}", where, "repair or remove the line")
            continue
        if "\\ud" in line or "\\uD" in line:
            row = without_surrogates(row)
        if isinstance(row, dict):
            yield number, row
        else:
            malformed(f"the line holds {json_kind(row)}, not an object", where, 'write {"text": …}')


def json_cause(error: Exception) -> str:
    """What is wrong with a JSON text."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return "nested too deep" if isinstance(error, RecursionError) else "a number that is too long"


def without_surrogates(row: object) -> Any:
    """The same JSON value with halves of surrogate pairs, which no text may hold, as U+FFFD."""
    return json.loads(_SURROGATES.sub("\ufffd", json.dumps(row, ensure_ascii=False)))


def json_kind(value: object) -> str:
    """What a JSON value is, in words."""
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
