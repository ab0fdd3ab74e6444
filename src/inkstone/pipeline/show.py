"""What commands print: tables and trees for people, JSON for programs."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inkstone.core.progress import duration, size

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 160


def print_json(value: object) -> None:
    """Print one JSON value to stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def console() -> "Console":
    """The console on stdout: colors on a terminal, plain and wide elsewhere."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False, soft_wrap=False)
    return Console(highlight=False, width=PLAIN_WIDTH, color_system=None)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print a table; aligned columns without a frame when stdout is not a terminal.

    `right` names the columns aligned to the right. Cells may not hold markup.
    """
    if not sys.stdout.isatty():
        _print_plain(title, columns, rows, right)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, title=Text(title, "bold"), title_justify="left", border_style="dim", header_style="dim"
    )
    for index, column in enumerate(columns):
        last = index == len(columns) - 1
        table.add_column(column, justify="right" if column in right else "left", no_wrap=not last, overflow="fold")
    table.show_header = any(columns)
    for row in rows:
        table.add_row(*(Text(cell, style=cell_style(cell)) for cell in row))
    console().print(table)


def cell_style(cell: str) -> str:
    """Color of a cell by its first sign: ✓ green, ! yellow, ✗ red."""
    return {"✓": "green", "!": "yellow", "✗": "red"}.get(cell[:1], "")


def _print_plain(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    print(title)
    lines = [columns, *rows] if any(columns) else list(rows)
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        cells = zip(columns, line, widths, strict=True)
        padded = [cell.rjust(width) if column in right else cell.ljust(width) for column, cell, width in cells]
        print("  " + "  ".join(padded).rstrip())


def print_heading(text: str, detail: str = "") -> None:
    """One line to stderr that opens a section."""
    if not sys.stderr.isatty():
        print(f"{text}{': ' + detail if detail else ''}", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, highlight=False).print(Text.assemble((f"▪ {text}", "bold cyan"), (f"  {detail}", "dim")))


def number(value: float) -> str:
    """A count as people say it: ``512``, ``12,345``, ``3.4 M``."""
    for limit, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= limit:
            return f"{value / limit:.1f} {sign}"
    return f"{value:,.0f}"


def value_text(key: str, value: Any) -> str:
    """One value of a summary, in the unit that its key names."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return {True: "yes", False: "no", None: "–"}.get(value, str(value)) if not isinstance(value, str) else value
    if isinstance(value, int | float):
        if key == "bytes" or key.endswith("_bytes"):
            return size(value)
        if key == "seconds" or key.endswith("_seconds"):
            return duration(value)
        return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else number(value)
    return json.dumps(value, ensure_ascii=False)


def summary_text(summary: Mapping[str, Any]) -> str:
    """The single values of a stage's summary on one line; what is nested stays in the manifest."""
    return " · ".join(
        f"{key.removesuffix('_bytes').replace('_', ' ')} {value_text(key, value)}"
        for key, value in summary.items()
        if isinstance(value, int | float | str) and not _is_path(value)
    )


def _is_path(value: object) -> bool:
    return isinstance(value, str) and (os.sep in value or len(value) > 40)
