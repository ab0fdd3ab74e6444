"""What a run measured and wrote: `metrics.jsonl`, `samples.jsonl`, TensorBoard events, trackers and curves."""

import contextlib
import os
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from inkstone.core.files import atomic_file
from inkstone.train.curves import plot_losses
from inkstone.train.objectives.base import NATS_PER_TOKEN
from inkstone.train.row_log import METRICS, Row, RowLog, read_rows
from inkstone.train.samples import SAMPLES, sample_page
from inkstone.train.tensorboard import event_file, write_header, write_scalars, write_texts
from inkstone.train.trackers.base import Trackers

LOSS_CURVE = "loss.png"
MACHINE_METRICS = frozenset({"time", "tokens_per_s", "of_peak", "memory_bytes"})
"""What differs between two runs that compute the same."""


def is_largest(name: str) -> bool:
    """Whether a metric is the largest of what was seen (`max_…`), where others are sums and means."""
    return name.startswith("max_")


def combine(metrics: dict[str, float], name: str, value: float) -> None:
    """Add what a further part says of a metric."""
    known = metrics.get(name)
    metrics[name] = value if known is None else max(known, value) if is_largest(name) else known + value


class MetricsLog:
    """Takes down numbers and samples, in every form that a run keeps them in.

    Args:
        out: the run's folder.
        step: where the run goes on; what an interrupted attempt wrote about later steps is taken back.
        loss_unit: for the curves.
        trackers: told the same.
    """

    def __init__(
        self, out: Path, step: int = 0, loss_unit: str = NATS_PER_TOKEN, trackers: Trackers | None = None
    ) -> None:
        self._out, self._loss_unit = out, loss_unit
        self._trackers = trackers
        self._rows, self._samples = RowLog(out / METRICS, step), RowLog(out / SAMPLES, step)
        self.kept = self._rows.kept
        """Rows of earlier attempts."""
        self.latest: dict[str, Any] = {name: value for row in self.kept for name, value in row.items()}
        """Of every metric the latest value."""
        self.latest_sample: Row | None = self._samples.kept[-1] if self._samples.kept else None
        told = sorted([*self.kept, *map(_told, self._samples.kept)], key=lambda row: row["step"])
        (out / "tensorboard").mkdir(exist_ok=True)
        path = event_file(out / "tensorboard")
        with atomic_file(path) as events:
            write_header(events, self.kept[0]["time"] if self.kept else time.time())
            for row in told:
                _write_event(events, row)
        self._events: IO[bytes] = open(path, "ab")  # noqa: SIM115
        if trackers:
            for row in told:
                trackers.write(row)

    def write(self, step: int, **metrics: Any) -> None:
        """Add the metrics of a step; texts are welcome."""
        row = {"step": step, "time": round(time.time(), 3), **metrics}
        self.latest |= row
        self._rows.write(row)
        self._tell(row)

    def write_sample(self, step: int, **sample: Any) -> None:
        """Add what the model wrote at a step: `prompt`, `completion` and what else is known of it."""
        row = {"step": step, **sample}
        self.latest_sample = row
        self._samples.write(row)
        self._tell(_told(row))

    def _tell(self, row: Row) -> None:
        _write_event(self._events, row)
        self._events.flush()
        if self._trackers:
            self._trackers.write(row)

    def flush(self) -> None:
        """Bring everything written so far to the disk."""
        self._rows.flush()
        self._samples.flush()
        self._events.flush()
        os.fsync(self._events.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in (self._rows, self._samples, self._events):
            file.close()
        if self._trackers:
            self._trackers.close(finished=kind is None)
        with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
            plot_losses(self._out / LOSS_CURVE, read_metrics(self._out), self._loss_unit)


def read_metrics(out: Path) -> list[Row]:
    """The rows of a run's `metrics.jsonl`; a last line cut short by a kill is left out."""
    return read_rows(out / METRICS)


def _told(sample: Row) -> Row:
    """A sample as trackers and TensorBoard have it."""
    return {"step": sample["step"], "sample": sample_page(sample)}


def _write_event(events: IO[bytes], row: Row) -> None:
    step, seconds = row["step"], row.get("time", time.time())
    values = {name: value for name, value in row.items() if name not in ("step", "time")}
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    if numbers:
        write_scalars(events, step, seconds, numbers)
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    if texts:
        write_texts(events, step, seconds, texts)
