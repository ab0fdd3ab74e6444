"""Settings of the stage `examples`."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from inkstone.core.config import Config
from inkstone.data.examples.config import RowsConfig


class SourceConfig(RowsConfig):
    """Where examples come from, and which of them are held out."""

    paths: tuple[str, ...]
    """Files, globs, folders, two parallel text files (`train.en|train.zh`), or data sets of the hub
    (`hub:owner/name@revision#config/split`). A file named after a split (train, valid, dev, test …) belongs to it."""
    name: str = ""
    """Its name in the data, for mixtures; by default that of the first file or its folder."""
    split: Literal["train", "valid", "test"] | None = None
    """The split that all of it belongs to, whatever the files are called."""
    skip: int = Field(default=0, ge=0)
    """Leave out the first so many."""
    limit: int | None = Field(default=None, gt=0)
    """Take so many at most."""
    replace: Mapping[str, str] = Field(default_factory=dict)
    """Texts to put in place of others, such as `{"{{name}}": Inkstone}`."""
    group_by: str | int | None = None
    """Column that keeps what belongs together on one side of a split; by default the prompt, text or context."""
    test_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training examples to hold out for a test, by the SHA-1 of their group: of 0.05, where it is 0
    modulo 20."""
    valid_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training examples to hold out for validation, by their group too."""
    test_last: float = Field(default=0.0, ge=0)
    """Hold out the last so many training examples for a test; below 1, that share of them."""
    valid_last: float = Field(default=0.0, ge=0)
    """Hold out the last so many training examples, before those of `test_last`, for validation."""


class ExamplesStageConfig(Config):
    """Which examples a model is taught from."""

    sources: tuple[SourceConfig, ...] = ()
    """All of one kind: files of different formats are brought into one."""
    valid_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the training examples held out for validation where no source gives any."""
    drop_duplicates: bool = True
    """Drop rows that occur twice, except in the test, which is never changed."""
    drop_leakage: bool = True
    """Drop training examples that ask what the test or validation asks, and of the latter what the test asks."""
    on_error: Literal["stop", "skip"] = "stop"
    """At malformed rows: stop, or leave them out, count them and list them in the card."""
