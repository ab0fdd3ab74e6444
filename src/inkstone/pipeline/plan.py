"""What a recipe will need, before anything is started."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inkstone.core.device import total_memory_bytes
from inkstone.core.errors import InkstoneError
from inkstone.core.manifest import has_manifest, read_manifest
from inkstone.core.progress import say, size
from inkstone.core.stage import has_unfinished_work, is_complete
from inkstone.pipeline.outlines import needed_steps, stand_in
from inkstone.pipeline.recipe import Recipe, Step, find_recipe, load_recipe
from inkstone.pipeline.runner import select_steps
from inkstone.pipeline.show import print_json
from inkstone.pipeline.show_plan import print_plan

_ESTIMATES = ("parameters", "trained_parameters", "tokens", "memory_bytes", "memory", "disk_bytes", "seconds")
_FIT = "fit"

Fit = Callable[[float], Sequence[Mapping[str, Any]]]
"""Bytes of memory → settings that need no more, each with `settings`, `memory_bytes` and `seconds`."""


@dataclass(frozen=True)
class StepPlan:
    """What one step will need; None where its stage does not say."""

    stage: str
    state: str
    """``unchanged``, ``to continue`` or ``to run``."""
    parameters: int | None = None
    trained_parameters: int | None = None
    tokens: int | None = None
    memory_bytes: int | None = None
    """The peak."""
    memory: Mapping[str, float] = field(default_factory=dict)
    """The peak, part by part."""
    disk_bytes: int | None = None
    seconds: float | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    alternatives: Sequence[Mapping[str, Any]] = ()
    """Where it needs more memory than there is: settings with which it does not, the nearest first."""


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
        """Where the recipe needs more than there is."""
        pairs = (
            ("memory", self.memory_bytes, self.memory_available_bytes),
            ("disk", self.disk_bytes, self.disk_available_bytes),
        )
        return [f"needs {size(need)} of {name}, but there are {size(has)}" for name, need, has in pairs if need > has]


def plan_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    only: Sequence[str] = (),
    start: str | None = None,
    memory_bytes: int | None = None,
) -> Plan:
    """Ask every stage what it will need (those that train measure a few micro-batches), or read what it took.

    Args:
        recipe: what to plan.
        folder: of its run.
        only: names of the steps to plan, by default all.
        start: the first step to plan.
        memory_bytes: that there are, by default this machine's.

    Raises:
        InkstoneError: from a stage whose settings cannot work.
    """
    available = total_memory_bytes() if memory_bytes is None else memory_bytes
    selected = {step.name for step in select_steps(recipe, only, start)}
    needed = needed_steps(recipe, selected)
    states: dict[str, str] = {}
    plans = []
    with tempfile.TemporaryDirectory(prefix="inkstone-plan-") as outlines:
        for step in recipe.steps:
            if step.name in selected:
                states[step.name] = _state(step, folder, states)
                plans.append(_plan_step(step, folder, Path(outlines), states[step.name], available))
            if step.name in needed:
                is_finished = states.get(step.name, "unchanged") == "unchanged"
                stand_in(step, folder / step.name if is_finished else None, Path(outlines))
    ahead = [plan for plan in plans if plan.state != "unchanged"]
    return Plan(
        name=recipe.name,
        folder=str(folder),
        steps=tuple(plans),
        memory_bytes=max((plan.memory_bytes or 0 for plan in ahead), default=0),
        disk_bytes=sum(plan.disk_bytes or 0 for plan in ahead),
        seconds=sum(plan.seconds or 0.0 for plan in ahead),
        memory_available_bytes=available,
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


def _plan_step(step: Step, folder: Path, outlines: Path, state: str, available: int) -> StepPlan:
    if state == "unchanged":
        return _as_it_was(step, folder)
    if step.stage.plan is None:
        return StepPlan(step.name, state)
    say(f"{step.name}: estimating")
    try:
        estimate = dict(step.stage.plan(step.config, step.input_paths(outlines)))
    except InkstoneError as error:
        if all((outlines / name).is_symlink() for name in step.depends):  # finished, as they will be
            raise
        return StepPlan(step.name, state, notes={"not planned": str(error)})
    known = {key: estimate.pop(key) for key in _ESTIMATES if key in estimate}
    fit: Fit | None = estimate.pop(_FIT, None)
    alternatives: Sequence[Mapping[str, Any]] = ()
    if fit is not None and known["memory_bytes"] > available:
        say(f"{step.name}: looking for settings that fit")
        alternatives = fit(available)
    return StepPlan(step.name, state, **known, notes=estimate, alternatives=alternatives)


def _as_it_was(step: Step, folder: Path) -> StepPlan:
    manifest = read_manifest(folder / step.name)
    return StepPlan(
        step.name,
        "unchanged",
        parameters=manifest.summary.get("parameters"),
        trained_parameters=manifest.summary.get("trained_parameters"),
        tokens=manifest.summary.get("tokens"),
        disk_bytes=sum(output.size for output in manifest.outputs.values()),
        seconds=manifest.duration_s,
    )


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
    memory: str | None = None,
    runs: Path = Path("runs"),
    json: bool = False,
) -> None:
    """Say what a recipe needs: parameters, tokens, memory, disk and time, and what to change where it does not fit.

    Args:
        recipe: Path of a recipe, or the name of one that ships with Inkstone.
        set_: Change a setting: stage.key=value, the value in YAML; may be repeated.
        only: Plan only this stage; may be repeated.
        from_: Leave out the stages before this one.
        memory: Memory that there is, such as 8GB, instead of this machine's.
        runs: Folder of all runs.
        json: Print the plan as JSON.
    """
    from inkstone.checkpoint.weights import parse_size

    parsed = load_recipe(find_recipe(recipe), set_)
    memory_bytes = None if memory is None else parse_size(memory, where="--memory")
    plan = plan_recipe(parsed, runs / parsed.name, only=only, start=from_, memory_bytes=memory_bytes)
    if json:
        print_json({**asdict(plan), "warnings": plan.warnings})
    else:
        print_plan(plan)
