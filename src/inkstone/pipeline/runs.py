"""The runs of a folder: their state, results and time."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inkstone.core.errors import InkstoneError, InputError
from inkstone.core.files import read_json
from inkstone.core.manifest import STATE, has_manifest, read_manifest
from inkstone.core.progress import duration
from inkstone.core.stage import is_locked
from inkstone.pipeline.runner import RUN_FILE
from inkstone.pipeline.show import print_json, print_table, value_text

METRICS = ("bits_per_byte", "perplexity", "valid_loss", "train_loss", "parameters", "tokens", "kept", "documents")


@dataclass(frozen=True)
class StageState:
    """One stage of a run."""

    name: str
    state: str
    """``done``, ``running``, ``unfinished``, ``damaged`` or ``not started``."""
    seconds: float
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """One run folder."""

    name: str
    folder: str
    state: str
    """``finished``, ``running``, ``interrupted`` or ``failed``."""
    error: str | None
    started: str
    seconds: float
    """Sum over its finished stages."""
    stages: tuple[StageState, ...]

    @property
    def metrics(self) -> dict[str, Any]:
        """The best known single numbers of its stages; later stages win."""
        found: dict[str, Any] = {}
        for stage in self.stages:
            found.update({key: value for key, value in stage.summary.items() if key in METRICS})
        return found


def list_runs(folder: Path) -> list[Run]:
    """Every run in `folder`, latest first.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError("no such folder", where=folder, remedy="give --runs DIR, or start with: inkstone quickstart")
    runs = [read_run(path.parent) for path in folder.glob(f"*/{RUN_FILE}")]
    return sorted(runs, key=lambda run: run.started, reverse=True)


def read_run(folder: Path) -> Run:
    """Read one run's folder.

    Raises:
        InputError: its ``run.json`` is malformed.
    """
    record = read_json(folder / RUN_FILE)
    try:
        stages = tuple(_read_stage(folder / name) for name in record["steps"])
        state, error, started = record["state"], record["error"], record["started"]
    except (KeyError, TypeError) as missing:
        raise InputError(
            f"not a run's record: {missing}", where=folder / RUN_FILE, remedy="run the recipe again"
        ) from None
    if state == "running" and not any(stage.state == "running" for stage in stages):
        state = "finished" if all(stage.state == "done" for stage in stages) else "interrupted"
    seconds = sum(stage.seconds for stage in stages)
    return Run(folder.name, str(folder), state, error, started, seconds, stages)


def _read_stage(folder: Path) -> StageState:
    if has_manifest(folder):
        try:
            manifest = read_manifest(folder)
        except InkstoneError:
            return StageState(folder.name, "damaged", 0.0, {})
        return StageState(folder.name, "done", manifest.duration_s, manifest.summary)
    if is_locked(folder):
        return StageState(folder.name, "running", 0.0, {})
    return StageState(folder.name, "unfinished" if (folder / STATE).is_file() else "not started", 0.0, {})


def command(runs: Path = Path("runs"), /, *, json: bool = False) -> None:
    """List runs with their state, results and time.

    Args:
        runs: Folder of all runs.
        json: Print the list as JSON.
    """
    found = list_runs(runs)
    if json:
        print_json([{**asdict(run), "metrics": run.metrics} for run in found])
        return
    if not found:
        print(f"No runs in {runs}. Start with: inkstone quickstart")
        return
    rows = [
        [
            run.name,
            _state_text(run),
            _progress_text(run),
            duration(run.seconds),
            _minute(run.started),
            _metrics_text(run),
        ]
        for run in found
    ]
    print_table(str(runs), ("run", "state", "stages", "time", "started (UTC)", "results"), rows, right=("time",))
    for run in found:
        if run.error:
            print(f"✗ {run.name}: {run.error}")


def _minute(started: str) -> str:
    return started[:16].replace("T", " ")


def _state_text(run: Run) -> str:
    sign = {"finished": "✓ ", "interrupted": "! ", "failed": "✗ "}.get(run.state, "")
    return f"{sign}{run.state}"


def _progress_text(run: Run) -> str:
    done = sum(stage.state == "done" for stage in run.stages)
    following = next((stage for stage in run.stages if stage.state != "done"), None)
    return f"{done}/{len(run.stages)}" + (f", {following.name} {following.state}" if following else "")


def _metrics_text(run: Run) -> str:
    shown = [(key, run.metrics[key]) for key in METRICS if key in run.metrics][:3]
    return " · ".join(f"{key.replace('_', ' ')} {value_text(key, value)}" for key, value in shown)
