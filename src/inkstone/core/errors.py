"""Errors that a user can cause or must act on: where, what is wrong, and what to do about it."""

import contextlib
import os
from collections.abc import Iterator
from typing import ClassVar


class InkstoneError(ValueError):
    """An error whose message is meant for the user; the command line prints it without a traceback.

    ``str(error)`` reads ``<where>: <cause>`` and, on a second line, ``remedy: <remedy>``.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, cause: str, *, where: str | os.PathLike[str] | None = None, remedy: str | None = None) -> None:
        self.cause = cause
        self.where = None if where is None else os.fspath(where)
        self.remedy = remedy
        message = cause if self.where is None else f"{self.where}: {cause}"
        super().__init__(message if remedy is None else f"{message}\n  remedy: {remedy}")


class ConfigError(InkstoneError):
    """A recipe, a flag or a configuration key is wrong."""


class InputError(InkstoneError):
    """A file or a text given by the user cannot be used."""


class CheckpointError(InkstoneError):
    """A model folder, or any folder with a manifest, is damaged, unfinished or does not match."""


class DivergenceError(InkstoneError):
    """Training produced NaN or a loss that only grows."""

    exit_code = 3


class ResourceError(InkstoneError):
    """The machine ran out of something: disk, memory."""

    exit_code = 4


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Name the place in every `InputError` that is raised inside."""
    try:
        yield
    except InputError as error:
        raise InputError(error.cause, where=where, remedy=error.remedy) from error
