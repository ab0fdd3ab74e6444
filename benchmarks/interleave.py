"""Contenders in processes of their own that take turns, so that a change of the machine's speed meets all alike."""

import multiprocessing
import platform
import queue
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from inkstone.core.device import peak_rss_bytes

Steps = Callable[[int], None]
"""Runs so many training steps."""
Contender = Callable[[], Steps]
"""Builds everything and warms up; runs in the contender's process."""


class Result(NamedTuple):
    """What was measured of a contender."""

    seconds: list[float]
    """A step's, in every round."""
    peak_bytes: int
    """Largest resident memory of its process."""


def rounds(contenders: Mapping[str, Contender], steps: int, num_rounds: int) -> dict[str, Result]:
    """Let every contender run `steps` steps in every round, by turns."""
    found = turns(contenders, [steps], num_rounds)
    return {
        name: Result([seconds / steps for seconds in result.seconds[0]], result.peak_bytes)
        for name, result in found.items()
    }


class Turns(NamedTuple):
    """What was measured of a contender that has several jobs."""

    seconds: list[list[float]]
    """Of each job, in every round."""
    build_s: float
    """To build it, its imports included, and to warm up."""
    peak_bytes: int
    """Largest resident memory of its process."""


def turns(
    contenders: Mapping[str, Callable[[], Callable[[Any], None]]], jobs: Sequence[Any], num_rounds: int
) -> dict[str, Turns]:
    """Let every contender do every job in every round, by turns."""
    context = multiprocessing.get_context("spawn")
    workers = {}
    build_s = dict[str, float]()
    for name, contender in contenders.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(contender, theirs), daemon=True)
        began = time.perf_counter()
        process.start()
        theirs.close()
        ours.recv()
        build_s[name] = time.perf_counter() - began
        workers[name] = (process, ours)
    seconds: dict[str, list[list[float]]] = {name: [[] for _ in jobs] for name in workers}
    for _ in range(num_rounds):
        for index, job in enumerate(jobs):
            for name, (_, pipe) in workers.items():
                pipe.send(job)
                seconds[name][index].append(pipe.recv())
    peaks = dict[str, int]()
    for name, (process, pipe) in workers.items():
        pipe.send(None)
        peaks[name] = pipe.recv()
        process.join()
    return {name: Turns(seconds[name], build_s[name], peaks[name]) for name in workers}


def _work(contender: Callable[[], Callable[[Any], None]], pipe: Connection) -> None:
    run = contender()
    pipe.send("ready")
    while (job := pipe.recv()) is not None:
        began = time.perf_counter()
        run(job)
        pipe.send(time.perf_counter() - began)
    pipe.send(peak_rss_bytes())


def stepwise(trainer: Any) -> Steps:
    """A trainer of `transformers` or TRL that waits for its turn, in a thread; it has done one step already."""
    from transformers import TrainerCallback

    turns: queue.Queue[int] = queue.Queue()
    done: queue.Queue[None] = queue.Queue()

    class Turns(TrainerCallback):
        left = 0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if self.left == 0:
                self.left = turns.get()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.left -= 1
            if self.left == 0:
                done.put(None)

    trainer.add_callback(Turns())
    threading.Thread(target=trainer.train, daemon=True).start()

    def run(steps: int) -> None:
        turns.put(steps)
        done.get()

    run(1)
    return run


def ratio(theirs: list[float], ours: list[float]) -> str:
    """How many times sooner ours is, round by round: median (least to most)."""
    ratios = [other / own for other, own in zip(theirs, ours, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def matrix_peak(dtype: torch.dtype, size: int = 3072) -> float:
    """Operations a second of a large square product, the best of five."""
    multiply = torch._int_mm if dtype == torch.int8 else torch.matmul
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    times = []
    for _ in range(6):
        began = time.perf_counter()
        multiply(left, right)
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)


def machine_line() -> str:
    """Date, processor, cores and versions, for the head of a table."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    flags = next((line for line in lines if line.startswith("flags")), "")
    units = [unit for unit in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if f" {unit}" in flags]
    today = datetime.now().astimezone().date()
    processor = f"{next(names, platform.machine())} ({units[0] if units else 'no vector units'})"
    return f"{today}, {processor}, {torch.get_num_threads()} threads, torch {torch.__version__}"
