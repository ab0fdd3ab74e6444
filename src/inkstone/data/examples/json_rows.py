"""JSON files: an array of objects, an object that holds them under `data`, or objects one after another."""

import json
from collections.abc import Iterator
from typing import Any

from inkstone.core.errors import InputError
from inkstone.data.json_lines import json_cause, json_kind, without_surrogates
from inkstone.data.tables import Malformed


def json_rows(text: str, name: str, malformed: Malformed) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects with their places: `name[3]` in an array (counted from 0, as jq does), else `name:12`, their first line.

    Raises:
        InputError: an array that is malformed.
    """
    halves = "\\ud" in text or "\\uD" in text
    for where, row in _rows(text, name, malformed):
        yield where, without_surrogates(row) if halves else row


def _rows(text: str, name: str, malformed: Malformed) -> Iterator[tuple[str, dict[str, Any]]]:
    if text.lstrip().startswith("["):
        yield from _elements(_whole(text, name), name, malformed)
        return
    objects = _concatenated(text, name, malformed)
    first = next(objects, None)
    if first is None:
        return
    second = next(objects, None)
    rows = first[1].get("data")
    if second is None and isinstance(rows, list):
        yield from _elements(rows, name, malformed)
        return
    yield first
    if second is not None:
        yield second
    yield from objects


def _whole(text: str, name: str) -> list[Any]:
    try:
        rows: list[Any] = json.loads(text)
        return rows
    except json.JSONDecodeError as error:
        cause, where = f"malformed JSON: {error.msg}", f"{name}:{error.lineno}"
    except (ValueError, RecursionError) as error:
        cause, where = f"malformed JSON: {json_cause(error)}", name
    raise InputError(cause, where=where, remedy="repair the file, or write one object per line (JSON Lines)")


def _elements(rows: list[Any], name: str, malformed: Malformed) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(rows):
        if isinstance(row, dict):
            yield f"{name}[{number}]", row
        else:
            malformed(f"the element is {json_kind(row)}, not an object", f"{name}[{number}]", 'write {"text": …}')


def _concatenated(text: str, name: str, malformed: Malformed) -> Iterator[tuple[str, dict[str, Any]]]:
    decoder = json.JSONDecoder()
    position, line = 0, 1
    while (start := _skip_space(text, position)) < len(text):
        line += text.count("\n", position, start)
        where, position = f"{name}:{line}", start
        try:
            row, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            cause = error.msg if isinstance(error, json.JSONDecodeError) else json_cause(error)
            malformed(f"malformed JSON: {cause}", where, "repair or remove this object")
            following = text.find("\n{", start)
            end = len(text) if following < 0 else following
        else:
            if isinstance(row, dict):
                yield where, row
            else:
                malformed(f"holds {json_kind(row)}, not an object", where, 'write {"text": …}')
        line += text.count("\n", position, end)
        position = end


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position
