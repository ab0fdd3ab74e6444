"""The form of completions, as flags of a command; imported without torch."""

import json
from pathlib import Path

from inkstone.core.config import Config, parse_config
from inkstone.core.errors import ConfigError, InputError
from inkstone.engine.form import Form


class FormFlags(Config):
    """What completions must look like; at most one of these."""

    json_schema: str | None = None
    """A document that this JSON Schema allows: a file, or the schema itself."""
    regex: str | None = None
    """A text that the whole pattern matches (Rust's syntax, no look-around)."""
    choice: tuple[str, ...] = ()
    """One of these texts."""
    grammar: str | None = None
    """A text of this grammar, in llguidance's variant of Lark: a file, or the grammar itself."""

    def form(self) -> Form | None:
        """What was asked for; None if nothing was.

        Raises:
            ConfigError: more than one was given, or the schema is no JSON.
            InputError: a file cannot be read.
        """
        given = {
            "json_schema": None if self.json_schema is None else _parse(_text_of(self.json_schema, "{")),
            "regex": self.regex,
            "choice": self.choice or None,
            "grammar": None if self.grammar is None else _text_of(self.grammar, ":"),
        }
        given = {name: value for name, value in given.items() if value is not None}
        return parse_config(Form, given, where="form") if given else None


def _text_of(given: str, mark: str) -> str:
    """What has the mark of a schema or a grammar is one; everything else names a file, whose text is returned."""
    if mark in given:
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=given, remedy="give a text file") from None


def _parse(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"this is no JSON: {error}", where="json_schema", remedy="give a file with a JSON Schema, or the schema"
        ) from None
