"""Files of JSON rows that each belong to a step, and that a resumed run goes on with."""

import contextlib
import json
import os
from pathlib import Path
from typing import IO, Any

from inkstone.core.files import atomic_file

METRICS = "metrics.jsonl"
Row = dict[str, Any]
"""JSON values, `step` among them."""


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, none where there is no file; a last line cut short by a kill is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


class RowLog:
    """Appends one JSON object a line; the file is there once there is a row.

    Args:
        path: of the file.
        step: where the run goes on; what an interrupted attempt wrote about later steps is taken back.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self.kept = [row for row in read_rows(path) if row["step"] <= step]
        """Rows that were there already."""
        if path.is_file():
            with atomic_file(path, "w") as file:
                file.writelines(map(_line, self.kept))

    def write(self, row: Row) -> None:
        """Add a row; it survives the end of this process, though not yet that of the machine."""
        if self._file is None:
            self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115
        self._file.write(_line(row))
        self._file.flush()

    def flush(self) -> None:
        """Bring everything written so far to the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write no more."""
        if self._file is not None:
            self._file.close()


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
