"""Run the stages of a recipe: skip what is unchanged, go on with what was interrupted."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inkstone.core.config import suggestion
from inkstone.core.errors import ConfigError, InkstoneError
from inkstone.core.files import write_json
from inkstone.core.manifest import has_manifest
from inkstone.core.progress import duration, say
from inkstone.core.stage import StageResult, execute
from inkstone.pipeline.recipe import Recipe, Step, find_recipe, load_recipe
from inkstone.pipeline.show import print_heading, print_json, print_table, summary_text

RUN_FILE = "run.json"


@dataclass(frozen=True)
class StepResult:
    """What became of one step."""

    name: str
    out: Path
    result: StageResult

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "stage": self.name,
            "folder": str(self.out),
            "skipped": self.result.skipped,
            "seconds": round(self.result.seconds, 3),
            "digest": self.result.digest,
            "summary": self.result.summary,
        }


def run_recipe(recipe: Recipe, folder: Path, *, only: Sequence[str] = (), start: str | None = None) -> list[StepResult]:
    """Run the steps of `recipe` into ``folder/<step>``; unchanged ones are skipped, and it is said.

    Args:
        recipe: A checked recipe.
        folder: The run's folder.
        only: Run just these steps; what they read must be finished.
        start: leave out the steps before this one.

    Raises:
        InkstoneError: from the first step that fails; the finished ones stay.
    """
    steps = select_steps(recipe, only, start)
    results = []
    with _recorded(recipe, folder):
        for step in steps:
            position = recipe.step_names().index(step.name) + 1
            print_heading(f"{position}/{len(recipe.steps)} {step.name}", step.stage.help)
            results.append(_run_step(step, folder))
    return results


def select_steps(recipe: Recipe, only: Sequence[str] = (), start: str | None = None) -> list[Step]:
    """The steps that ``--only`` and ``--from`` leave.

    Raises:
        ConfigError: they name no step of the recipe, or exclude each other.
    """
    known = recipe.step_names()
    for name in [*only, *([start] if start is not None else [])]:
        if name not in known:
            raise ConfigError(f"no stage is called {name!r}", where=recipe.path, remedy=suggestion(name, known))
    first = known.index(start) if start is not None else 0
    steps = [step for step in recipe.steps[first:] if not only or step.name in only]
    if not steps:
        raise ConfigError("--only and --from leave nothing to run", where=recipe.path, remedy="give one of them")
    return steps


def _run_step(step: Step, folder: Path) -> StepResult:
    out = folder / step.name
    for name, path in step.input_paths(folder).items():
        if step.inputs[name].startswith("${") and not has_manifest(folder / path.relative_to(folder).parts[0]):
            raise ConfigError(
                f"its input {name} ({path}) is not finished",
                where=step.name,
                remedy="run the recipe without --only and --from",
            )
    result = execute(step.stage, step.config, step.input_paths(folder), out)
    if result.skipped:
        say(f"{step.name}: unchanged, skipped")
    return StepResult(step.name, out, result)


@contextlib.contextmanager
def _recorded(recipe: Recipe, folder: Path) -> Iterator[None]:
    """Keep ``run.json`` beside the steps' folders: the recipe as run, its state, when and how long."""
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()

    def write(state: str, error: str | None = None) -> None:
        record = {
            "recipe": str(recipe.path.resolve()),
            "name": recipe.name,
            "state": state,
            "error": error,
            "started": started,
            "seconds": round(time.monotonic() - clock, 3),
            "steps": recipe.step_names(),
            "data": dict(recipe.data),
        }
        write_json(folder / RUN_FILE, record)

    write("running")
    try:
        yield
    except KeyboardInterrupt:
        write("interrupted")
        raise
    except Exception as error:
        cause = str(error).splitlines()[0] if isinstance(error, InkstoneError) else repr(error)
        with contextlib.suppress(OSError, InkstoneError):
            write("failed", cause)
        raise
    write("finished")


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
    """Run a recipe's stages, skipping those that are unchanged.

    Args:
        recipe: Path of a recipe, or the name of one that ships with Inkstone.
        set_: Change a setting: stage.key=value, the value in YAML; may be repeated.
        only: Run only this stage; may be repeated.
        from_: Leave out the stages before this one.
        runs: Folder of all runs; this one goes to RUNS/NAME.
        json: Print the results as JSON.
    """
    plan = load_recipe(find_recipe(recipe), set_)
    folder = runs / plan.name
    results = run_recipe(plan, folder, only=only, start=from_)
    if json:
        print_json({"name": plan.name, "folder": str(folder), "stages": [result.to_json() for result in results]})
    else:
        print_results(plan.name, results)


def print_results(title: str, results: Sequence[StepResult], note: Callable[[StepResult], str] | None = None) -> None:
    """Print the table that ends every run."""
    rows = [
        [
            step.name,
            "✓ unchanged" if step.result.skipped else "✓ done",
            duration(step.result.seconds),
            note(step) if note else summary_text(step.result.summary),
        ]
        for step in results
    ]
    print_table(title, ("stage", "state", "time", "result"), rows, right=("time",))
    if all(step.result.skipped for step in results):
        print("Everything is up to date.")
