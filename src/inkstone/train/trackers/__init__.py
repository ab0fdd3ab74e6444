"""Programs that follow runs: MLflow, Weights & Biases, and plug-ins."""

from inkstone.train.trackers.base import TrackedRun, Tracker, Trackers, open_trackers

__all__ = ["TrackedRun", "Tracker", "Trackers", "open_trackers"]
