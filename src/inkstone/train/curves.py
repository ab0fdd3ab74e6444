"""The curves of a run as one picture: a small panel for every family of metrics."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from inkstone.core.files import atomic_file
from inkstone.train.row_log import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VALID = "valid_"
NOT_DRAWN = frozenset({"step", "time", "tokens", "of_peak", "memory_bytes"})
_FAMILIES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("loss", lambda name: name == "loss"),
    ("parts of the loss", lambda name: name.endswith("_loss")),
    ("reward", lambda name: name.startswith("reward") or name == "margin"),
    ("accuracy", lambda name: name in ("accuracy", "agreement") or name.endswith("_accuracy")),
    ("KL divergence (nats)", lambda name: name in ("kl", "divergence")),
    ("entropy (nats)", lambda name: name == "entropy"),
    ("length (tokens)", lambda name: name.endswith("_tokens")),
    ("share", lambda name: name in ("truncated", "equal_groups") or name.endswith("_share")),
)
_LAST = {"learning_rate": "learning rate", "gradient_norm": "gradient norm", "tokens_per_s": "tokens per second"}
"""Drawn after everything that the objective measures."""
_SMOOTH = ("learning_rate", "tokens_per_s")
_TWO = ("#4f7d91", "#c2703d")
"""Colors of training and of validation."""
_SMOOTHED_FROM = 40
"""Points of a curve from which on its moving average is drawn, too."""
_MANY = 12
"""Points of a validation curve above which they are not marked one by one."""


def plot_losses(path: Path, rows: Sequence[Row], loss_unit: str) -> None:
    """Draw everything that was measured over the steps; nothing where there are no numbers.

    Args:
        path: of the PNG.
        rows: of `metrics.jsonl`.
        loss_unit: what the loss counts.
    """
    families = families_of(rows)
    if not families:
        return
    figure, panels = panel_grid(len(families))
    for axes, (title, names) in zip(panels, families.items(), strict=True):
        _draw_family(axes, rows, names)
        axes.set_title(f"loss ({loss_unit})" if title == "loss" else title, fontsize=10, loc="left")
        axes.set_xlabel("step", fontsize=8)
    save_figure(figure, path)


def families_of(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Title of a panel → names of the metrics in it, those of training before those of validation."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if _is_drawn(rows, name)]
    if f"{VALID}reward" in names:  # of which the validation loss is the negative
        names = [name for name in names if name != f"{VALID}loss"]
    order = [*(title for title, _ in _FAMILIES), *(set(map(_title, names)) - set(_LAST.values())), *_LAST.values()]
    families: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (order.index(_title(name)), name.startswith(VALID))):
        families.setdefault(_title(name), []).append(name)
    return families


def points(rows: Sequence[Row], name: str) -> tuple[list[int], list[float]]:
    """The steps at which a metric was taken down, and its values."""
    found = [(row["step"], row[name]) for row in rows if name in row]
    return [step for step, _ in found], [value for _, value in found]


def moving_average(values: Sequence[float]) -> list[float]:
    """Mean of each value and of its neighbors, as many before as after it: at most a twentieth of all on each side."""
    reach = len(values) // 20
    averages = []
    for index in range(len(values)):
        side = min(reach, index, len(values) - 1 - index)
        averages.append(fmean(values[index - side : index + side + 1]))
    return averages


def panel_grid(count: int) -> "tuple[Figure, list[Axes]]":
    """A figure with so many panels, at most four beside each other."""
    from matplotlib.figure import Figure

    columns = 4 if count > 9 else 2 if count == 4 else min(count, 3)
    lines = math.ceil(count / columns)
    figure = Figure(figsize=(max(6.0, 4.2 * columns), max(4.0, 2.9 * lines)), layout="constrained")
    cells = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
    for cell in cells[count:]:
        cell.set_visible(False)
    for cell in cells[:count]:
        cell.grid(alpha=0.25)
        cell.spines[["top", "right"]].set_visible(False)
        cell.tick_params(labelsize=8)
        cell.yaxis.set_major_formatter(lambda value, _: f"{value:.8g}")
    return figure, cells[:count]


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a PNG."""
    with atomic_file(path) as file:
        figure.savefig(file, dpi=130, format="png")


def draw_curve(axes: "Axes", x: Sequence[float], y: Sequence[float], *, rough: bool, **style: Any) -> None:
    """Draw a curve; one that is rough and long is drawn pale, with its moving average over it."""
    if rough and len(x) >= _SMOOTHED_FROM:
        axes.plot(x, y, color=style["color"], linewidth=0.7, alpha=0.3)
        y = moving_average(y)
    marker = "o" if len(x) == 1 or (not rough and len(x) <= _MANY) else None
    axes.plot(x, y, marker=marker, markersize=3, linewidth=1.5, **style)


def _draw_family(axes: "Axes", rows: Sequence[Row], names: Sequence[str]) -> None:
    """One metric in two colors; of several, each has a color, and validation is dashed."""
    bases = list(dict.fromkeys(_base(name) for name in names))
    for name in names:
        of_validation, base = name.startswith(VALID), _base(name)
        if len(bases) == 1:
            color, line, label = _TWO[of_validation], "-", ("training", "validation")[of_validation]
        else:
            color, line, label = f"C{bases.index(base)}", ("-", "--")[of_validation], base.replace("_", " ")
            label = "_" if of_validation and base in names else label
        rough = not of_validation and name not in _SMOOTH
        draw_curve(axes, *points(rows, name), rough=rough, color=color, linestyle=line, label=label)
    if len(names) > 1:
        dashed = len(bases) > 1 and any(name.startswith(VALID) for name in names)
        axes.legend(frameon=False, fontsize=7, title="dashed: validation" if dashed else None, title_fontsize=7)
    if names[0] in _SMOOTH:
        axes.set_ylim(bottom=0)


def _is_drawn(rows: Sequence[Row], name: str) -> bool:
    return name not in NOT_DRAWN and any(isinstance(row.get(name), int | float) for row in rows)


def _base(name: str) -> str:
    return name.removeprefix(VALID)


def _title(name: str) -> str:
    base = _base(name)
    return next((title for title, holds in _FAMILIES if holds(base)), _LAST.get(base, base.replace("_", " ")))
