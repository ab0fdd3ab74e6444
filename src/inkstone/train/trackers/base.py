"""What a tracker is, how it is told without delaying training, and how it goes on with a run that was interrupted."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol

from inkstone.core.errors import InkstoneError, ResourceError
from inkstone.core.files import read_json, write_json
from inkstone.core.progress import say
from inkstone.core.registry import lookup
from inkstone.train.row_log import Row

RECORD = "trackers.json"


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run when it is opened."""

    name: str
    config: Mapping[str, Any]
    """Settings of the stage, JSON values."""
    run_id: str | None
    """The tracker's own name for the run, where an earlier attempt opened it; None for a new one."""


class Tracker(Protocol):
    """Follows a run elsewhere. A plug-in of the entry point group `inkstone.trackers` makes one of a `TrackedRun`."""

    run_id: str
    """The tracker's own name for the run."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take down numbers of a step; steps never fall. Called from a thread of its own."""
        ...

    def write_text(self, step: int, name: str, text: str) -> None:
        """Take down a text in Markdown."""
        ...

    def close(self, *, finished: bool) -> None:
        """The run is over, or interrupted."""
        ...


class Told(NamedTuple):
    """How far a tracker was told about a run."""

    step: int = 0
    names: frozenset[str] = frozenset()
    """Of that last step."""

    def covers(self, row: Row) -> bool:
        """Whether the tracker knows the row, or one that is the same bit for bit."""
        return row["step"] < self.step or (row["step"] == self.step and row.keys() <= self.names)

    def after(self, row: Row) -> "Told":
        """When the row was told, too."""
        return Told(row["step"], frozenset(row) | (self.names if row["step"] == self.step else frozenset()))


class Trackers:
    """All that follow a run. They are told in a thread, and one that fails is given up: training goes on.

    How far each was told is written down before it is told more, so that a run that was killed and goes on tells
    nothing twice, and leaves out one row at most: that of the moment.

    Args:
        trackers: by their names.
        told: what each knows from an earlier attempt.
        record: the file that says it.
    """

    def __init__(self, trackers: Mapping[str, Tracker], told: Mapping[str, Told], record: Path) -> None:
        self._trackers, self._told, self._record = dict(trackers), dict(told), record
        self._ids = {name: tracker.run_id for name, tracker in trackers.items()}
        self._queue: SimpleQueue[Row | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="trackers", daemon=True)
        self._thread.start()

    def write(self, row: Row) -> None:
        """Tell numbers and texts of a step to those that do not know them; steps never fall."""
        self._queue.put(row)

    def close(self, *, finished: bool) -> None:
        """Wait until everything is told; the run is over, or interrupted."""
        self._queue.put(None)
        self._thread.join()
        for name, tracker in list(self._trackers.items()):
            with self._giving_up(name):
                tracker.close(finished=finished)

    def _work(self) -> None:
        while (row := self._queue.get()) is not None:
            for name, tracker in list(self._trackers.items()):
                if not self._told[name].covers(row):
                    self._told[name] = self._told[name].after(row)
                    with self._giving_up(name):
                        self._write_record()
                        _tell(tracker, row)

    def _write_record(self) -> None:
        record = {
            name: {"run": self._ids[name], "step": told.step, "names": sorted(told.names)}
            for name, told in self._told.items()
        }
        write_json(self._record, record)

    @contextlib.contextmanager
    def _giving_up(self, name: str) -> Iterator[None]:
        """Let the tracker go if it fails within the block."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a tracker dies of, training shall not
            del self._trackers[name]
            say(f"the tracker {name} is given up, the run goes on: {type(error).__name__}: {error}")


def _tell(tracker: Tracker, row: Row) -> None:
    step, values = row["step"], {name: value for name, value in row.items() if name not in ("step", "time")}
    numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
    if numbers:
        tracker.write(step, numbers)
    for name, value in values.items():
        if isinstance(value, str):
            tracker.write_text(step, name, value)


def open_trackers(names: Sequence[str], out: Path, config: Mapping[str, Any]) -> Trackers | None:
    """Open the trackers called `names` for the run in `out`, those of an earlier attempt where they stood.

    Raises:
        ConfigError: there is no such tracker, or its package is not installed.
        ResourceError: it cannot be opened.
    """
    if not names:
        return None
    record = read_json(out / RECORD) if (out / RECORD).is_file() else {}
    trackers, told = dict[str, Tracker](), dict[str, Told]()
    for name in dict.fromkeys(names):
        known = record.get(name)
        run = TrackedRun(f"{out.parent.name}/{out.name}", config, known["run"] if known else None)
        trackers[name] = _open(name, run)
        if known and trackers[name].run_id == known["run"]:
            told[name] = Told(known["step"], frozenset(known["names"]))
        else:
            told[name] = Told()
    return Trackers(trackers, told, out / RECORD)


def _open(name: str, run: TrackedRun) -> Tracker:
    opener: Callable[[TrackedRun], Tracker] = lookup("trackers", name)
    try:
        return opener(run)
    except InkstoneError:
        raise
    except Exception as error:
        raise ResourceError(
            f"it cannot be opened: {type(error).__name__}: {error}",
            where=f"tracker {name}",
            remedy="see that it can be reached and written, or leave it out of trackers",
        ) from error
