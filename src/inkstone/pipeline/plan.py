"""What a recipe will need, before anything is started."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inkstone.core.device import total_memory_bytes
from inkstone.core.errors import InkstoneError
from inkstone.core.manifest import has_manifest, read_manifest
from inkstone.core.progress import duration, say, size
from inkstone.core.stage import has_unfinished_work, is_complete
from inkstone.pipeline.recipe import Recipe, Step, find_recipe, load_recipe
from inkstone.pipeline.runner import select_steps
from inkstone.pipeline.show import number, print_json, print_table, value_text

ESTIMATES = ("parameters", "tokens", "memory_bytes", "disk_bytes", "seconds")


@dataclass(frozen=True)
class StepPlan:
    """What one step will need; None where its stage does not say."""

    stage: str
    state: str
    """``unchanged``, ``to continue`` or ``to run``."""
    parameters: int | None = None
    tokens: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    seconds: float | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a recipe will need, and what this machine has."""

    name: str
    folder: str
    steps: tuple[StepPlan, ...]
    memory_bytes: int
    """Of the hungriest step that is still to run."""
    disk_bytes: int
    """Of all steps that are still to run."""
    seconds: float
    """Of all steps that are still to run and say how long they take."""
    memory_available_bytes: int
    disk_available_bytes: int

    @property
    def warnings(self) -> list[str]:
        """Where the recipe needs more than this machine has."""
        pairs = (
            ("memory", self.memory_bytes, self.memory_available_bytes),
            ("disk", self.disk_bytes, self.disk_available_bytes),
        )
        return [f"needs {size(need)} of {name}, but there are {size(has)}" for name, need, has in pairs if need > has]


def plan_recipe(recipe: Recipe, folder: Path, *, only: Sequence[str] = (), start: str | None = None) -> Plan:
    """Ask every stage what it will need (those that train time a few steps), or read what it took.

    Raises:
        InkstoneError: from a stage whose settings cannot work.
    """
    states: dict[str, str] = {}
    plans = []
    for step in select_steps(recipe, only, start):
        states[step.name] = _state(step, folder, states)
        plans.append(_plan_step(step, folder, states[step.name]))
    ahead = [plan for plan in plans if plan.state != "unchanged"]
    return Plan(
        name=recipe.name,
        folder=str(folder),
        steps=tuple(plans),
        memory_bytes=max((plan.memory_bytes or 0 for plan in ahead), default=0),
        disk_bytes=sum(plan.disk_bytes or 0 for plan in ahead),
        seconds=sum(plan.seconds or 0.0 for plan in ahead),
        memory_available_bytes=total_memory_bytes(),
        disk_available_bytes=_free_disk(folder),
    )


def _state(step: Step, folder: Path, states: Mapping[str, str]) -> str:
    out = folder / step.name
    if any(states.get(name, "unchanged") != "unchanged" for name in step.depends):
        return "to run"
    try:
        inputs = step.input_paths(folder)
        if all(has_manifest(folder / name) for name in step.depends):
            if is_complete(step.stage, step.config, inputs, out):
                return "unchanged"
            if has_unfinished_work(step.stage, step.config, inputs, out):
                return "to continue"
    except InkstoneError as error:
        say(f"{step.name}: {error}")
    return "to run"


def _plan_step(step: Step, folder: Path, state: str) -> StepPlan:
    if state == "unchanged":
        manifest = read_manifest(folder / step.name)
        disk = sum(output.size for output in manifest.outputs.values())
        return StepPlan(
            step.name,
            state,
            parameters=manifest.summary.get("parameters"),
            tokens=manifest.summary.get("tokens"),
            disk_bytes=disk,
            seconds=manifest.duration_s,
        )
    if step.stage.plan is None:
        return StepPlan(step.name, state)
    say(f"{step.name}: estimating")
    estimate = dict(step.stage.plan(step.config, step.input_paths(folder)))
    known = {key: estimate.pop(key) for key in ESTIMATES if key in estimate}
    return StepPlan(step.name, state, **known, notes=estimate)


def _free_disk(folder: Path) -> int:
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    return shutil.disk_usage(existing).free


def command(
    recipe: str,
    /,
    *,
    set_: Sequence[str] = (),
    only: Sequence[str] = (),
    from_: str | None = None,
    runs: Path = Path("runs"),
    json: bool = False,
) -> None:
    """Say what a recipe needs: parameters, tokens, memory, disk and time.

    Args:
        recipe: Path of a recipe, or the name of one that ships with Inkstone.
        set_: Change a setting: stage.key=value, the value in YAML; may be repeated.
        only: Plan only this stage; may be repeated.
        from_: Leave out the stages before this one.
        runs: Folder of all runs.
        json: Print the plan as JSON.
    """
    parsed = load_recipe(find_recipe(recipe), set_)
    plan = plan_recipe(parsed, runs / parsed.name, only=only, start=from_)
    if json:
        print_json({**asdict(plan), "warnings": plan.warnings})
    else:
        _print(plan)


def _print(plan: Plan) -> None:
    rows = [
        [
            step.stage,
            "✓ unchanged" if step.state == "unchanged" else step.state,
            *(_cell(key, getattr(step, key)) for key in ESTIMATES),
        ]
        for step in plan.steps
    ]
    total = ["to run", "", "", "", size(plan.memory_bytes), size(plan.disk_bytes), duration(plan.seconds)]
    columns = ("stage", "state", "parameters", "tokens", "memory", "disk", "time")
    print_table(f"{plan.name} → {plan.folder}", columns, [*rows, total], right=columns[2:])
    for step in plan.steps:
        for key, value in step.notes.items():
            print(f"  {step.stage}: {key.replace('_', ' ')} {value_text(key, value)}")
    print(f"This machine: {size(plan.memory_available_bytes)} memory, {size(plan.disk_available_bytes)} free disk.")
    for warning in plan.warnings:
        print(f"! {warning}")


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    return value_text(key, value) if key.endswith("_bytes") or key == "seconds" else number(value)
