"""Runs in MLflow: where `MLFLOW_TRACKING_URI` says, by default in the database `mlflow.db`, with texts in `mlruns`."""

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from inkstone.core.extras import need
from inkstone.core.progress import say
from inkstone.train.trackers.base import TrackedRun

_MOST_LETTERS = 6000
"""Of a parameter's value; MLflow refuses more."""


class MLflowTracker:
    """A run of the experiment `MLFLOW_EXPERIMENT_NAME`, by default `inkstone`.

    Args:
        client: an `mlflow.MlflowClient`.
        entities: the module `mlflow.entities`.
        run: to open.
    """

    def __init__(self, client: Any, entities: Any, run: TrackedRun) -> None:
        self._client, self._entities = client, entities
        self.run_id = self._earlier(run) or self._new(run)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take down numbers of a step."""
        now = int(time.time() * 1000)
        rows = [self._entities.Metric(name, value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self.run_id, metrics=rows)

    def write_text(self, step: int, name: str, text: str) -> None:
        """Keep a text as an artifact of the run."""
        self._client.log_text(self.run_id, text, f"{name}/{step:07d}.md")

    def close(self, *, finished: bool) -> None:
        """Mark the run as finished or stopped."""
        self._client.set_terminated(self.run_id, "FINISHED" if finished else "KILLED")

    def _earlier(self, run: TrackedRun) -> str | None:
        if run.run_id is None:
            return None
        try:
            self._client.update_run(run.run_id, status="RUNNING")
        except Exception as error:  # noqa: BLE001 - a store of another kind fails in another way
            say(f"MLflow does not know the run {run.run_id} any more ({error}): a new one begins")
            return None
        return run.run_id

    def _new(self, run: TrackedRun) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "inkstone")
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        run_id: str = self._client.create_run(experiment_id, run_name=run.name).info.run_id
        params = [self._entities.Param(key, str(value)[:_MOST_LETTERS]) for key, value in _flat(run.config)]
        self._client.log_batch(run_id, params=params)
        return run_id


def open_mlflow(run: TrackedRun) -> MLflowTracker:
    """Begin a run, or go on with one.

    Raises:
        ConfigError: MLflow is not installed.
    """
    mlflow = need("mlflow", "mlflow", "leave it out of trackers")
    client = mlflow.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))
    return MLflowTracker(client, mlflow.entities, run)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
