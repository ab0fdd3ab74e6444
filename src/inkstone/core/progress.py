"""Progress of long steps: a live view on a terminal, plain lines elsewhere; always with rate and time left."""

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.progress import Progress as RichProgress

PLAIN_INTERVAL_S = 5.0
VIEWS_PER_S = 2
"""How often a `View` is drawn: seldom enough to cost a training loop next to nothing."""
_RATE_WINDOW_S = 30.0
_settings = {"quiet": False}
_live: list["Console"] = []
_logs: list[IO[str]] = []


def set_quiet(quiet: bool) -> None:
    """Print nothing from now on (for tests and embedding); logs are still written."""
    _settings["quiet"] = quiet


def say(text: str) -> None:
    """Print one status line to stderr, above the live bar if there is one, and to the stage's log."""
    _log(text)
    if _settings["quiet"]:
        return
    if _live:
        _live[-1].print(text, markup=False, highlight=False)
    else:
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def tee(path: Path) -> Iterator[None]:
    """Append every status and progress line to the file at `path` too."""
    with open(path, "a", encoding="utf-8", buffering=1) as file:
        _logs.append(file)
        try:
            yield
        finally:
            _logs.remove(file)


def _log(text: str) -> None:
    for file in _logs:
        file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {text}\n")


class Bar:
    """Counts work done; `update` is cheap enough to call for every item."""

    def __init__(self, label: str, total: float | None, unit: str, done: float) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self.fields: dict[str, Any] = {}
        self.started = time.monotonic()
        self._samples: deque[tuple[float, float]] = deque([(self.started, done)])
        self._printed = self.started

    def update(self, n: float = 1, done: float | None = None, **fields: Any) -> None:
        """Add `n` units, or set the count to `done`; `fields` (loss=2.1 …) are shown beside the bar."""
        self.done = self.done + n if done is None else done
        self.fields.update(fields)
        now = time.monotonic()
        if now - self._samples[-1][0] >= 0.25:
            self._samples.append((now, self.done))
            while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_WINDOW_S:
                self._samples.popleft()
            self._refresh()
        if now - self._printed >= PLAIN_INTERVAL_S:
            self._printed = now
            self._print_line()

    @property
    def rate(self) -> float:
        """Units per second over the last half minute."""
        (start, first), now = self._samples[0], time.monotonic()
        return (self.done - first) / (now - start) if now > start else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until `total` is reached, None while unknown."""
        if self.total is None or self.rate <= 0:
            return None
        return max(0.0, (self.total - self.done) / self.rate)

    def line(self) -> str:
        """The state as one plain line."""
        parts = [f"{self.label}: {self.count()}", _rate(self.rate, self.unit)]
        if self.seconds_left is not None:
            parts.append(f"{duration(self.seconds_left)} left")
        return ", ".join([*parts, *self._field_texts()])

    def count(self) -> str:
        """What is done, of what."""
        if self.total is None:
            return _amount(self.done, self.unit)
        percent = f" ({self.done / self.total:.0%})" if self.total else ""
        return f"{_number(self.done, self.unit)}/{_amount(self.total, self.unit)}{percent}"

    def _field_texts(self) -> list[str]:
        return [f"{name.replace('_per_s', '/s')} {value_text(value)}" for name, value in self.fields.items()]

    def _refresh(self) -> None:
        """Redraw; only terminals do."""

    def _print_line(self) -> None:
        say(self.line())

    def finish(self) -> None:
        """Say how much was done in what time."""
        seconds = time.monotonic() - self.started
        text = f"{self.label}: {_amount(self.done, self.unit)} in {duration(seconds)}"
        say(", ".join([text, *self._field_texts()]))


class _LiveBar(Bar):
    def __init__(self, label: str, total: float | None, unit: str, done: float, display: "RichProgress") -> None:
        super().__init__(label, total, unit, done)
        self._display = display
        self._task = display.add_task(label, total=total, completed=int(done), text="")

    def _refresh(self) -> None:
        self._display.update(self._task, completed=self.done, total=self.total, text=self._text())

    def _text(self) -> str:
        parts = [self.count(), _rate(self.rate, self.unit)]
        if self.seconds_left is not None:
            parts.append(f"{duration(self.seconds_left)} left")
        return " · ".join([*parts, *self._field_texts()])

    def _print_line(self) -> None:
        _log(self.line())


class View(Protocol):
    """What a terminal shows of a step that has more to say than fits beside a bar."""

    def update(self, fields: Mapping[str, Any]) -> None:
        """Told the fields of every `Bar.update`."""
        ...

    def draw(self, bar: Bar) -> "RenderableType":
        """The view as it stands; called from another thread."""
        ...


class _ViewedBar(Bar):
    def __init__(self, label: str, total: float | None, unit: str, done: float, view: View) -> None:
        super().__init__(label, total, unit, done)
        self._view = view

    def update(self, n: float = 1, done: float | None = None, **fields: Any) -> None:
        super().update(n, done, **fields)
        self._view.update(fields)

    def _print_line(self) -> None:
        _log(self.line())


@contextlib.contextmanager
def progress(
    label: str, total: float | None = None, unit: str = "item", done: float = 0, view: View | None = None
) -> Iterator[Bar]:
    """Show the progress of a long step while the block runs.

    Args:
        label: what is being done, in a word.
        total: units in all, None when unknown.
        unit: name of one unit; ``byte`` amounts are shown with SI prefixes.
        done: units done by an earlier, interrupted run.
        view: what a terminal shows instead of a bar.
    """
    if _settings["quiet"] or not sys.stderr.isatty() or _live:
        bar = Bar(label, total, unit, done)
        yield bar
    elif view is not None:
        bar = _ViewedBar(label, total, unit, done, view)
        with _drawn(view, bar):
            yield bar
    else:
        with _display() as display:
            bar = _LiveBar(label, total, unit, done, display)
            yield bar
            bar._refresh()
    bar.finish()


@contextlib.contextmanager
def _drawn(view: View, bar: Bar) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live

    with (
        _on(Console(stderr=True, highlight=False)) as console,
        Live(
            get_renderable=lambda: _Narrower(view.draw(bar)),
            console=console,
            refresh_per_second=VIEWS_PER_S,
            transient=True,
        ),
    ):
        yield


class _Narrower:
    """Leaves room behind a view for the `^C` that a terminal writes there, which would begin a new line otherwise."""

    def __init__(self, drawn: "RenderableType") -> None:
        self._drawn = drawn

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        width = max(1, options.max_width - 4)
        return console.render(self._drawn, options.update_width(width))


@contextlib.contextmanager
def _display() -> Iterator["RichProgress"]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(),
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with _on(Console(stderr=True)) as console, Progress(*columns, console=console, transient=True) as display:
        yield display


@contextlib.contextmanager
def _on(console: "Console") -> Iterator["Console"]:
    """Within the block, `say` prints above what is live on `console`; after it, the cursor is there in any case."""
    _live.append(console)
    try:
        yield console
    finally:
        _live.remove(console)
        console.show_cursor()


def duration(seconds: float) -> str:
    """Seconds as people say them: ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(num_bytes: float) -> str:
    """Bytes with an SI prefix: ``1.5 MB``."""
    for prefix in ("", "k", "M", "G"):
        if abs(num_bytes) < 1000:
            return f"{num_bytes:.0f} {prefix}B" if not prefix else f"{num_bytes:.1f} {prefix}B"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def _number(value: float, unit: str) -> str:
    return size(value) if unit in ("byte", "bytes") else f"{value:,.0f}"


def _amount(value: float, unit: str) -> str:
    return size(value) if unit in ("byte", "bytes") else f"{value:,.0f} {_plural(unit)}"


def _rate(rate: float, unit: str) -> str:
    if unit in ("byte", "bytes"):
        return f"{size(rate)}/s"
    return f"{rate:,.0f} {_plural(unit)}/s" if rate >= 10 else f"{rate:.2f} {_plural(unit)}/s"


def _plural(unit: str) -> str:
    return unit if unit.endswith("s") else f"{unit}s"


def value_text(value: Any) -> str:
    """A value beside a bar: four digits of a number."""
    if isinstance(value, float):
        for least, form in ((100, ",.0f"), (10, ".2f"), (0.1, ".3f")):
            if abs(value) >= least:
                return f"{value:{form}}"
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
