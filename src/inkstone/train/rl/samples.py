"""A sample of what the model writes while it learns: `samples.jsonl`."""

import contextlib
import json
from pathlib import Path
from typing import Any

from inkstone.core.files import atomic_file

SAMPLES = "samples.jsonl"


class SampleLog:
    """Appends one JSON object a line.

    Args:
        out: the run's folder.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / SAMPLES
        self._opened = False

    def write(self, step: int, **sample: Any) -> None:
        """Add a sample of rollouts that step `step` learns from first.

        What an interrupted attempt wrote of this step or later ones is taken back.
        """
        if not self._opened:
            kept = [row for row in read_samples(self._path.parent) if row["step"] < step]
            with atomic_file(self._path, "w") as file:
                file.writelines(_line(row) for row in kept)
            self._opened = True
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(_line({"step": step, **sample}))


def read_samples(out: Path) -> list[dict[str, Any]]:
    """The rows of a run's `samples.jsonl`; a last line cut short by a kill is left out."""
    if not (out / SAMPLES).is_file():
        return []
    rows = []
    for line in (out / SAMPLES).read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
