"""Tables and numbers of the pages that people read, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; all columns but the first are aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def number(value: float | None) -> str:
    """Four digits, whatever the scale."""
    if value is None:
        return "–"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


def estimate(interval: Mapping[str, Any]) -> str:
    """A value with its interval."""
    if interval["low"] is None:
        return number(interval["value"])
    return f"{number(interval['value'])} ({number(interval['low'])} to {number(interval['high'])})"
