"""What a tracker is, and how a run that was interrupted goes on in the same one."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from inkstone.core.errors import InkstoneError, ResourceError
from inkstone.core.files import read_json, write_json
from inkstone.core.progress import say
from inkstone.core.registry import lookup
from inkstone.train.row_log import METRICS, Row, read_rows
from inkstone.train.samples import SAMPLES, sample_page

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
        """Take down numbers of a step; steps never fall."""
        ...

    def write_text(self, step: int, name: str, text: str) -> None:
        """Take down a text in Markdown."""
        ...

    def close(self, *, finished: bool) -> None:
        """The run is over, or interrupted."""
        ...


@dataclass(frozen=True)
class Told:
    """How far a tracker was told about a run."""

    step: int = 0
    names: frozenset[str] = frozenset()
    """Metrics of that last step."""
    sample_step: int = 0

    @classmethod
    def by(cls, rows: Sequence[Row], samples: Sequence[Row]) -> "Told":
        """What rows say, all of which were told."""
        step = max((row["step"] for row in rows), default=0)
        names = {name for row in rows if row["step"] == step for name in row}
        return cls(step, frozenset(names), max((sample["step"] for sample in samples), default=0))

    def joined(self, other: "Told") -> "Told":
        """What either says."""
        names = [told.names for told in (self, other) if told.step == max(self.step, other.step)]
        return Told(max(self.step, other.step), frozenset().union(*names), max(self.sample_step, other.sample_step))

    def covers(self, row: Row) -> bool:
        """Whether the tracker knows the row, or one that is the same bit for bit."""
        return row["step"] < self.step or (row["step"] == self.step and row.keys() <= self.names)


@dataclass
class Trackers:
    """All that follow a run. One that fails is given up, and training goes on."""

    trackers: dict[str, Tracker] = field(default_factory=dict)
    told: Mapping[str, Told] = field(default_factory=dict)

    def write(self, row: Row) -> None:
        """Tell the metrics of a step to those that do not know them."""
        step = row["step"]
        values = {name: value for name, value in row.items() if name not in ("step", "time")}
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
        texts = {name: value for name, value in values.items() if isinstance(value, str)}
        for name, tracker in list(self.trackers.items()):
            if not self.told[name].covers(row):
                with self._giving_up(name):
                    if numbers:
                        tracker.write(step, numbers)
                    for title, text in texts.items():
                        tracker.write_text(step, title, text)

    def write_sample(self, sample: Row) -> None:
        """Tell what the model wrote to those that do not know it."""
        step = sample["step"]
        for name, tracker in list(self.trackers.items()):
            if step > self.told[name].sample_step:
                with self._giving_up(name):
                    tracker.write_text(step, "sample", sample_page(sample))

    def close(self, *, finished: bool) -> None:
        """The run is over, or interrupted."""
        for name, tracker in list(self.trackers.items()):
            with self._giving_up(name):
                tracker.close(finished=finished)
        self.trackers = {}

    @contextlib.contextmanager
    def _giving_up(self, name: str) -> Iterator[None]:
        """Let the tracker go if it fails within the block."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a tracker dies of, training shall not
            del self.trackers[name]
            say(f"the tracker {name} is given up, the run goes on: {type(error).__name__}: {error}")


def open_trackers(names: Sequence[str], out: Path, config: Mapping[str, Any]) -> Trackers:
    """Open the trackers called `names` for the run in `out`, those of an earlier attempt where they stood.

    What they were told stands in `trackers.json` and in the metrics and samples of the earlier attempt; call this
    before those are taken back to the last checkpoint.

    Raises:
        ConfigError: there is no such tracker, or its package is not installed.
        ResourceError: it cannot be opened.
    """
    if not names:
        return Trackers()
    record = read_json(out / RECORD) if (out / RECORD).is_file() else {}
    latest = Told.by(read_rows(out / METRICS), read_rows(out / SAMPLES))
    trackers, told = dict[str, Tracker](), dict[str, Told]()
    for name in dict.fromkeys(names):
        known = record.get(name)
        run = TrackedRun(f"{out.parent.name}/{out.name}", config, known["run"] if known else None)
        trackers[name] = _open(name, run)
        told[name] = _told(known).joined(latest) if known and trackers[name].run_id == known["run"] else Told()
    write_json(
        out / RECORD,
        {
            name: {
                "run": trackers[name].run_id,
                "step": told[name].step,
                "names": sorted(told[name].names),
                "sample_step": told[name].sample_step,
            }
            for name in trackers
        },
    )
    return Trackers(trackers, told)


def _told(record: Mapping[str, Any]) -> Told:
    return Told(record["step"], frozenset(record["names"]), record["sample_step"])


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
