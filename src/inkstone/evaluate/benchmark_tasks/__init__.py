"""What can be benchmarked: one file per job of a model, each saying how it is done, what counts and what to compare."""

from inkstone.evaluate.benchmark_tasks.base import BenchmarkTask, Subject
from inkstone.evaluate.benchmark_tasks.choose import choose_task, tasks_of

__all__ = ["BenchmarkTask", "Subject", "choose_task", "tasks_of"]
