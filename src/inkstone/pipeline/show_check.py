"""What `inkstone check` prints."""

import sys
from collections.abc import Sequence
from textwrap import indent
from typing import TYPE_CHECKING, Any

from inkstone.pipeline.show import console, number, print_table

if TYPE_CHECKING:
    from inkstone.data.check import CheckedSplit, CheckReport
    from inkstone.data.check.streams import Part

_SHOWN_PLACES = 3
_SHOWN_LABELS = 12
_BAR = 40
_TRAINED = ("black on green", "black on bright_green")
"""Neighboring tokens that are trained."""


def print_report(report: "CheckReport[Any]", title: str, examples: "Sequence[tuple[list[Part], str]]") -> None:
    """Print counts, labels, lengths, examples (as rendered, and where they are from) and findings."""
    _print_splits(report, title)
    for name, split in report.splits.items():
        _print_labels(name, split)
    _print_lengths(report)
    for parts, where in examples:
        _print_example(parts, where)
    _print_findings(report)


def _print_splits(report: "CheckReport[Any]", title: str) -> None:
    columns = ("split", "examples", "tokens", "trained", "cut", "median", "99 %", "longest", "stop token learned")
    rows = []
    for name, split in report.splits.items():
        lengths = split.length_summary()
        spread = (lengths.percentiles[50], lengths.percentiles[99], lengths.longest) if lengths else (0, 0, 0)
        trained = f"{split.num_trained_tokens / split.num_tokens:.0%}" if split.num_trained_tokens else "–"
        stops = f"{split.num_ended:,} of {split.num_answers:,} answers" if split.num_answers else "–"
        counts = [f"{split.num_examples:,}", number(split.num_tokens), trained, f"{split.num_cut:,}"]
        rows.append([name, *counts, *(f"{length:,}" for length in spread), stops])
    print_table(title, columns, rows, right=columns[1:-1])


def _print_labels(name: str, split: "CheckedSplit[Any]") -> None:
    labels = split.balance.to_json()
    if not labels:
        return
    if split.balance.numbers.count:
        rows = [[key.replace("_", " "), f"{value:g}"] for key, value in labels.items()]
        print_table(f"Labels of {name}", ("", "label"), rows, right=("label",))
        return
    total = sum(labels.values())
    rows = [
        [label, f"{count:,}", f"{count / total:.1%}", _bar(count, max(labels.values()))]
        for label, count in labels.items()
    ]
    more = f" (the commonest {_SHOWN_LABELS} of {len(rows)})" if len(rows) > _SHOWN_LABELS else ""
    print_table(
        f"Labels of {name}{more}", ("label", "count", "share", ""), rows[:_SHOWN_LABELS], right=("count", "share")
    )


def _print_lengths(report: "CheckReport[Any]") -> None:
    split = report.splits.get("train")
    lengths = split.length_summary() if split is not None else None
    if lengths is None:
        return
    bins = lengths.bins
    most = max(each.number for each in bins)
    rows = [[f"{each.low}–{each.high}", f"{each.number:,}", _bar(each.number, most)] for each in bins]
    print_table("Lengths in train", ("tokens", "examples", ""), rows, right=("tokens", "examples"))


def _bar(value: int, most: int) -> str:
    return "█" * max(round(_BAR * value / most), int(value > 0))


def _print_example(parts: "list[Part]", where: str) -> None:
    """Tokens that are trained in color, one apart from the next; between ⟦ and ⟧ where there is no color."""
    from rich.text import Text

    from inkstone.data.check.streams import marked, stretches

    if not sys.stdout.isatty():
        print(f"What is learned of {where}, between ⟦ and ⟧")
        print(indent(marked(parts), "  "))
        return
    text = Text.assemble((f"What is learned of {where}, in green\n", "bold"))
    for part in parts:
        text.append(f"{part.title}\n" if part.title else "", "italic")
        for trained, tag, pieces in stretches(part.pieces):
            for n, piece in enumerate(pieces):
                text.append(piece.text, _TRAINED[n % 2] if trained else "dim")
            text.append(f" {tag} " if tag else "", "magenta")
        text.append("\n")
    console().print(text)


def _print_findings(report: "CheckReport[Any]") -> None:
    findings = list(report.findings)
    rows = []
    for finding in findings:
        sign = "✗" if finding.fault.severity == "error" else "!"
        for n, place in enumerate(finding.places[:_SHOWN_PLACES]):
            rows.append(
                [
                    f"{sign} {finding.fault.name}" if n == 0 else "",
                    f"{finding.count:,}" if n == 0 else "",
                    place.where,
                    place.what,
                ]
            )
        hidden = finding.count - _SHOWN_PLACES
        rows.append(["", "", f"and {hidden:,} more" if hidden > 0 else "", f"→ {finding.fault.remedy}"])
    if rows:
        print_table("Findings", ("", "rows", "where", "what"), rows, right=("rows",))
    errors, warnings = report.num_errors, report.findings.count("warning")
    if errors:
        print(f"{_count(errors, 'error')} and {_count(warnings, 'warning')}. Training would not begin.")
    else:
        print(f"No errors, {_count(warnings, 'warning')}." if warnings else "Nothing is wrong with these examples.")


def _count(value: int, name: str) -> str:
    return f"{value:,} {name}" if value == 1 else f"{value:,} {name}s"
