"""What a terminal shows of a training run: where it stands, how it learns, what it costs, what it writes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from inkstone.core.progress import Bar, duration, size, value_text
from inkstone.core.sparkline import Series, sparkline
from inkstone.train.curves import NOT_DRAWN, VALID
from inkstone.train.metrics import MetricsLog
from inkstone.train.row_log import Row
from inkstone.train.state import TrainState
from inkstone.train.usage import memory_bytes, peak_memory_bytes

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

_SHOWN_BY_NAME = NOT_DRAWN | {"loss", "valid_loss", "learning_rate", "gradient_norm", "tokens_per_s"}
_LABEL_WIDTH = 8
Pair = tuple[str, str]
"""A value and what it is; either may be empty."""


class TrainingView:
    """A panel of a few lines; drawn of what the run keeps anyway, so that training does no work for it.

    Args:
        state: of the run.
        log: of the run.
        device: that it trains on.
    """

    def __init__(self, state: TrainState, log: MetricsLog, device: torch.device) -> None:
        self._state, self._log, self._device = state, log, device
        self._losses = Series()
        before = 0
        for row in log.kept:
            if "loss" in row:
                for _ in range(row["step"] - before):
                    self._losses.add(row["loss"])
                before = row["step"]

    def update(self, fields: Mapping[str, Any]) -> None:
        """Told what a step gave."""
        if "loss" in fields:
            self._losses.add(fields["loss"])

    def draw(self, bar: Bar) -> "RenderableType":
        """The panel."""
        from rich.panel import Panel
        from rich.text import Text

        return Panel(_Lines(lambda width: self._lines(bar, width)), title=Text(bar.label, "bold"), title_align="left")

    def _lines(self, bar: Bar, width: int) -> Iterator["Text"]:
        from rich.text import Text

        yield _bar_line(bar, width)
        room = width - _LABEL_WIDTH
        latest = dict(self._log.latest)
        for label, pairs in (
            ("loss", self._loss_pairs(bar)),
            ("", [(sparkline(list(self._losses.means), room), "")]),
            ("update", _known([("learning_rate", "learning rate"), ("gradient_norm", "gradient norm")], latest)),
            ("speed", _speed_pairs(bar, latest)),
            ("memory", self._memory_pairs()),
            ("metrics", _metric_pairs(latest)),
        ):
            for number, text in enumerate(_fitted(pairs, room)):
                yield Text.assemble((("" if number else label).ljust(_LABEL_WIDTH), "dim"), text)
        sample = self._log.latest_sample
        if sample is not None:
            yield Text.assemble(("sample".ljust(_LABEL_WIDTH), "dim"), _sample_text(sample, room))

    def _loss_pairs(self, bar: Bar) -> list[Pair]:
        state, latest = self._state, self._log.latest
        pairs = [(value_text(bar.fields["loss"]), "")] if "loss" in bar.fields else []
        if state.smoothed_loss is not None:
            pairs.append((value_text(state.smoothed_loss), "smoothed"))
        if "valid_loss" in latest:
            pairs.append((value_text(latest["valid_loss"]), "validation"))
        if state.best_loss is not None:
            pairs.append((value_text(state.best_loss), f"best, at step {state.best_step:,}"))
        return pairs

    def _memory_pairs(self) -> list[Pair]:
        return [
            (size(memory_bytes(self._device)), "now"),
            (size(peak_memory_bytes(self._device)), "at most"),
        ]


def one_line(text: str) -> str:
    """Text on one line, with nothing in it that a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text.replace("\n", "⏎"))


class _Lines:
    """Lines of text for whatever width there is."""

    def __init__(self, lines: "Callable[[int], Iterator[Text]]") -> None:
        self._lines = lines

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Text]":
        for line in self._lines(options.max_width):
            line.no_wrap, line.overflow = True, "ellipsis"
            yield line


def _bar_line(bar: Bar, width: int) -> "Text":
    from rich.text import Text

    parts = [bar.count(), *([] if bar.seconds_left is None else [f"{duration(bar.seconds_left)} left"])]
    facts = "  " + " · ".join(parts)
    room = max(0, width - len(facts))
    done = round(room * min(1.0, bar.done / bar.total)) if bar.total else 0
    return Text.assemble(("━" * done, "green"), ("━" * (room - done), "bright_black"), facts)


def _fitted(pairs: Sequence[Pair], width: int) -> "list[Text]":
    """As many lines as it takes; a value stays with its name."""
    from rich.text import Text

    lines: list[Text] = []
    for value, name in pairs:
        pair = Text.assemble((value, "cyan"), (f" {name}" if name else "", "dim"))
        if lines and lines[-1].cell_len + 3 + pair.cell_len <= width:
            lines[-1] += Text("   ") + pair
        else:
            lines.append(pair)
    return lines


def _sample_text(sample: Row, width: int) -> "Text":
    """The end of the prompt, on a third of the line at most, and what the model made of it."""
    from rich.cells import chop_cells
    from rich.text import Text

    prompt, completion = one_line(sample["prompt"][-width:]), one_line(sample["completion"][:width])
    ends = chop_cells(prompt[::-1], max(1, width // 3))
    if len(ends) > 1:
        prompt = "…" + ends[0][::-1]
    text = Text.assemble((prompt, "dim"), completion)
    text.truncate(width, overflow="ellipsis")
    return text


def _known(names: Sequence[Pair], latest: Mapping[str, Any]) -> list[Pair]:
    return [(value_text(latest[name]), title) for name, title in names if name in latest]


def _speed_pairs(bar: Bar, latest: Mapping[str, Any]) -> list[Pair]:
    pairs = [(f"{latest['tokens_per_s']:,.0f}", "tokens/s")] if "tokens_per_s" in latest else []
    if "of_peak" in latest:
        pairs.append((f"{latest['of_peak']:.0%}", "of the machine's matrix peak"))
    if bar.rate > 0:
        pairs.append((f"{bar.rate:.2f}", "steps/s") if bar.rate >= 1 else (duration(1 / bar.rate), "a step"))
    return pairs


def _metric_pairs(latest: Mapping[str, Any]) -> list[Pair]:
    """What the objective measures, in training and in validation."""
    values = {
        name: value_text(float(value))
        for name, value in latest.items()
        if name not in _SHOWN_BY_NAME and isinstance(value, int | float)
    }
    pairs = []
    for base in dict.fromkeys(name.removeprefix(VALID) for name in values):
        title, validated = base.replace("_", " "), values.get(f"{VALID}{base}")
        if base not in values:
            pairs.append((values[f"{VALID}{base}"], f"{title} in validation"))
        else:
            pairs.append((values[base], title if validated is None else f"{title} (validation {validated})"))
    return pairs
