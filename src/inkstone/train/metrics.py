"""What a run measured: `metrics.jsonl`, TensorBoard events and the loss curve."""

import contextlib
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from inkstone.core.files import atomic_file
from inkstone.train.tensorboard import event_file, write_header, write_scalars

METRICS = "metrics.jsonl"
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
    """Appends one JSON object a line, and the same numbers to a TensorBoard event file.

    Args:
        out: the run's folder.
        step: where the run goes on; what an interrupted attempt wrote about later steps is taken back.
    """

    def __init__(self, out: Path, step: int = 0) -> None:
        self._out = out
        kept = [row for row in read_metrics(out) if row["step"] <= step]
        with atomic_file(out / METRICS, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in kept)
        (out / "tensorboard").mkdir(exist_ok=True)
        with atomic_file(event_file(out / "tensorboard")) as events:
            write_header(events, kept[0]["time"] if kept else time.time())
            for row in kept:
                _write_event(events, row)
        self._file: IO[str] = open(out / METRICS, "a", encoding="utf-8")  # noqa: SIM115
        self._events: IO[bytes] = open(event_file(out / "tensorboard"), "ab")  # noqa: SIM115

    def write(self, step: int, **metrics: Any) -> None:
        """Add the metrics of a step."""
        row = {"step": step, "time": round(time.time(), 3), **metrics}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        _write_event(self._events, row)

    def flush(self) -> None:
        """Bring everything written so far to the disk."""
        for file in (self._file, self._events):
            file.flush()
            os.fsync(file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._events.close()
        with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
            plot_losses(self._out)


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The rows of a run's `metrics.jsonl`; a last line cut short by a kill is left out."""
    if not (out / METRICS).is_file():
        return []
    rows = []
    for line in (out / METRICS).read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def _write_event(events: IO[bytes], row: dict[str, Any]) -> None:
    scalars = {
        name: value for name, value in row.items() if name not in ("step", "time") and isinstance(value, int | float)
    }
    write_scalars(events, row["step"], row["time"], scalars)


def plot_losses(out: Path) -> None:
    """Draw training and validation loss (nats per token) and the learning rate over the steps as `loss.png`."""
    from matplotlib.figure import Figure

    rows = read_metrics(out)
    if not rows:
        return
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    _draw(axes, rows, "loss", color="#9db4c0", linewidth=1.2, label="training")
    _draw(axes, rows, "valid_loss", color="#253237", linewidth=1.8, marker="o", markersize=3, label="validation")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    rate_axes = axes.twinx()
    _draw(rate_axes, rows, "learning_rate", color="#c2703d", linewidth=1, linestyle=":", label="learning rate")
    rate_axes.set_ylabel("learning rate")
    rate_axes.set_ylim(bottom=0)
    rate_axes.spines["top"].set_visible(False)
    handles, labels = (
        first + second
        for first, second in zip(axes.get_legend_handles_labels(), rate_axes.get_legend_handles_labels(), strict=True)
    )
    axes.legend(handles, labels, frameon=False)
    with atomic_file(out / LOSS_CURVE) as file:
        figure.savefig(file, dpi=150, format="png")


def _draw(axes: Any, rows: list[dict[str, Any]], name: str, **style: Any) -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        axes.plot(*zip(*points, strict=True), **style)
