"""Runs in Weights & Biases; offline, in the folder `wandb`, unless `WANDB_MODE` says otherwise."""

import os
from collections.abc import Mapping
from typing import Any

from inkstone.core.extras import need
from inkstone.train.trackers.base import TrackedRun


class WandbTracker:
    """A run of the project `WANDB_PROJECT`, by default `inkstone`.

    A run that goes on offline has a further folder with the same id; `wandb sync` joins them.

    Args:
        wandb: the module.
        run: to open.
    """

    def __init__(self, wandb: Any, run: TrackedRun) -> None:
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "inkstone"),
            name=run.name,
            id=run.run_id,
            resume=None if run.run_id is None else "allow",
            config=dict(run.config),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(console="off", silent=True),
        )
        self.run_id: str = self._run.id

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take down numbers of a step."""
        self._run.log(dict(metrics), step=step)

    def write_text(self, step: int, name: str, text: str) -> None:
        """Take down a text."""
        self._run.log({name: text}, step=step)

    def close(self, *, finished: bool) -> None:
        """Write everything that is not on the disk yet."""
        self._run.finish(exit_code=0 if finished else 1)


def open_wandb(run: TrackedRun) -> WandbTracker:
    """Begin a run, or go on with one.

    Raises:
        ConfigError: W&B is not installed.
    """
    return WandbTracker(need("wandb", "wandb", "leave it out of trackers"), run)
