"""A run's folder as later stages may plan with it: what is there, and outlines of what is not."""

from collections.abc import Collection
from pathlib import Path

from inkstone.core.errors import InkstoneError
from inkstone.core.manifest import has_manifest
from inkstone.core.progress import say
from inkstone.pipeline.recipe import Recipe, Step


def needed_steps(recipe: Recipe, planned: Collection[str]) -> set[str]:
    """Names of the steps that others of `planned`, or those that these need, read."""
    needed: set[str] = set()
    for step in reversed(recipe.steps):
        if step.name in planned or step.name in needed:
            needed |= set(step.depends)
    return needed


def stand_in(step: Step, finished: Path | None, folder: Path) -> None:
    """Put a step's output into `folder`: a link to where it is finished, or an outline of it.

    Args:
        step: whose output others read.
        finished: its folder, where that is as it will be.
        folder: of stand-ins, those of the steps before it among them.
    """
    if finished is not None and has_manifest(finished):
        (folder / step.name).symlink_to(finished.resolve(), target_is_directory=True)
        return
    if step.stage.outline is None:
        return
    (folder / step.name).mkdir()
    try:
        step.stage.outline(step.config, step.input_paths(folder), folder / step.name)
    except InkstoneError as error:
        say(f"{step.name}: what it will make is not known yet: {error}")
