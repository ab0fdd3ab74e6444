"""The curves of several runs in one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inkstone.core.errors import InputError
from inkstone.pipeline.compare import Group
from inkstone.pipeline.trained import positions
from inkstone.train.curves import VALID, draw_curve, families_of, panel_grid, points, save_figure
from inkstone.train.row_log import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AXES = {"step": "step", "tokens": "tokens", "time": "minutes in training"}
_OF_THE_MACHINE = ("gradient_norm", "tokens_per_s")


class Curve(NamedTuple):
    """Of one metric of a group of runs, at the steps that all of them took down."""

    x: list[float]
    """Mean over the runs."""
    mean: list[float]
    sd: list[float]
    """n − 1 in the denominator; 0 of one run."""


def curve_of(group: Group, name: str, by: str) -> Curve:
    """The curve of a metric; empty where a run does not have it."""
    values = [dict(zip(*points(run.rows, name), strict=True)) for run in group.runs]
    places = [positions(run.rows, by) for run in group.runs]
    steps = sorted(set.intersection(*map(set, values)))
    y = np.array([[each[step] for step in steps] for each in values])
    x = np.array([[each[step] for step in steps] for each in places])
    sd = y.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(len(steps))
    return Curve(x.mean(axis=0).tolist(), y.mean(axis=0).tolist(), sd.tolist())


def draw_comparison(groups: Sequence[Group], out: Path, by: str) -> None:
    """Draw a panel for each metric, in it a curve for each group, with a band of one standard deviation around means.

    Raises:
        InputError: there is nothing to draw, or `out` cannot be written.
    """
    names = list(dict.fromkeys(name for group in groups for run in group.runs for name in _names(run.rows)))
    if not names:
        raise InputError("nothing was measured yet", where=out, remedy="wait until the runs have taken a few steps")
    figure, panels = panel_grid(len(names))
    for axes, name in zip(panels, names, strict=True):
        for number, group in enumerate(groups):
            _draw(axes, curve_of(group, name, by), name, f"C{number}", f"({number + 1}) {group.label}")
        axes.set_title(_title(name), fontsize=10, loc="left")
        axes.set_xlabel(_AXES[by], fontsize=8)
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper left",
        ncols=min(3, len(handles)),
        frameon=False,
        fontsize=8,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, out)


def _draw(axes: "Axes", curve: Curve, name: str, color: str, label: str) -> None:
    if not curve.x:
        return
    rough = not name.startswith(VALID) and name != "learning_rate"
    draw_curve(axes, curve.x, curve.mean, rough=rough, color=color, label=label)
    if any(curve.sd):
        low, high = (np.array(curve.mean) + sign * np.array(curve.sd) for sign in (-1, 1))
        axes.fill_between(curve.x, low, high, color=color, alpha=0.15, linewidth=0)


def _names(rows: Sequence[Row]) -> list[str]:
    return [name for names in families_of(rows).values() for name in names if name not in _OF_THE_MACHINE]


def _title(name: str) -> str:
    base = name.removeprefix(VALID).replace("_", " ")
    return f"{base}, validation" if name.startswith(VALID) else base if name == "learning_rate" else f"{base}, training"
