"""A plan for people, at 80 columns."""

import json
import shlex
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from inkstone.core.progress import duration, size
from inkstone.pipeline.show import number, print_table, value_text

if TYPE_CHECKING:
    from inkstone.pipeline.plan import Plan, StepPlan

_WIDTH = 80
_COLUMNS = ("stage", "state", "parameters", "memory", "disk", "time")


def print_plan(plan: "Plan") -> None:
    """A row for every stage; below it the memory of the hungriest, and what fits where something does not."""
    rows = [_row(step) for step in plan.steps]
    total = ["to run", "", "", size(plan.memory_bytes), size(plan.disk_bytes), duration(plan.seconds)]
    print_table(f"{plan.name} → {plan.folder}", _COLUMNS, [*rows, total], right=_COLUMNS[2:])
    for step in plan.steps:
        facts = {"tokens": step.tokens, **step.notes}
        _print_wrapped(step.stage, [_fact(key, value) for key, value in facts.items() if value is not None])
    _print_parts(plan)
    there = size(plan.memory_available_bytes), size(plan.disk_available_bytes)
    print(f"There are {there[0]} of memory and {there[1]} of free disk.")
    for warning in plan.warnings:
        print(f"! {warning}")
    for step in plan.steps:
        _print_alternatives(step)


def _row(step: "StepPlan") -> list[str]:
    parameters = "–" if step.parameters is None else number(step.parameters)
    if step.trained_parameters not in (None, step.parameters):
        parameters = f"{number(step.trained_parameters or 0)} of {parameters}"
    return [
        step.stage,
        "✓ unchanged" if step.state == "unchanged" else step.state,
        parameters,
        "–" if step.memory_bytes is None else size(step.memory_bytes),
        "–" if step.disk_bytes is None else size(step.disk_bytes),
        "–" if step.seconds is None else duration(step.seconds),
    ]


def _print_parts(plan: "Plan") -> None:
    """Of the stage that is still to run and needs most, what its memory is for."""
    ahead = [step for step in plan.steps if step.state != "unchanged" and step.memory]
    if ahead:
        hungriest = max(ahead, key=lambda step: step.memory_bytes or 0)
        parts = sorted(hungriest.memory.items(), key=lambda part: -part[1])
        _print_wrapped(f"memory of {hungriest.stage}", [f"{name} {size(value)}" for name, value in parts])


def _print_alternatives(step: "StepPlan") -> None:
    if not step.alternatives:
        return
    print(f"{step.stage} would fit with one of these, the nearest first:")
    for alternative in step.alternatives:
        costs = f"{size(alternative['memory_bytes'])}, {duration(alternative['seconds'])}"
        print(f"  {settings_text(step.stage, alternative['settings'])}\n      {costs}")


def settings_text(stage: str, settings: Mapping[str, Any]) -> str:
    """Settings of a stage as they are given to `inkstone run` and `inkstone plan`."""
    values = (shlex.quote(f"{stage}.{key}={json.dumps(value).strip(chr(34))}") for key, value in settings.items())
    return " ".join(f"--set {value}" for value in values)


def _fact(key: str, value: object) -> str:
    return f"{key.replace('_', ' ')} {value_text(key, value)}"


def _print_wrapped(title: str, facts: list[str]) -> None:
    if facts:
        text = f"{title}: {' · '.join(facts)}"
        print(textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))
