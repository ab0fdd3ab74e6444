"""How files of examples are read."""

from collections.abc import Mapping

from pydantic import Field

from inkstone.core.config import Config


class RowsConfig(Config):
    """How files become rows, and rows examples."""

    format: str = "auto"
    """Name of a format (chat, completion, labels, spans, questions, pairs, preferences, judged, problems, text);
    auto: the one of the wanted kind that has the file's columns."""
    columns: Mapping[str, str | int] = Field(default_factory=dict)
    """Our column → the file's: `{source: en, target: zh}`. Numbers count the columns of a file without a header from
    0; a dot leads into an object: `{source: translation.en}`."""
    header: bool | None = None
    """Whether CSV and TSV files begin with a row of column names; judged from the first rows when not set."""
    quotes: bool | None = None
    """Whether double quotes enclose cells: by default in CSV, not in TSV."""
    encoding: str | None = None
    """Character encoding of text files; detected file by file when not set."""


class ExamplesConfig(RowsConfig):
    """How rows become examples."""

    valid_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the examples held out for validation where the data have no file of their own for it; the same ones
    each time, and examples with the same prompt on the same side."""
