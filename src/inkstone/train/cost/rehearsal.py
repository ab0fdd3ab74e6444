"""A few micro-batches of a run, measured in a process of its own, in which nothing else has left traces."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from inkstone.core.apart import run_apart

_TIMED_AT_LEAST = 2
_MOST_TIMED = 24
_MICRO_BATCHES = 8
"""How much is encoded for them."""
_WRITTEN = 1 << 25
"""Bytes written to see how fast the disk is."""


class Timed(NamedTuple):
    """A micro-batch."""

    tokens: int
    forward: float
    """Seconds, of the loss."""
    backward: float
    """Seconds, of the gradient."""


class Drawn(NamedTuple):
    """Completions that were drawn at once."""

    completions: int
    seconds: float
    bytes: int
    """By which memory grew."""


@dataclass
class Measured:
    """What was measured."""

    process_bytes: int = 0
    """Before anything is loaded."""
    data_bytes: int = 0
    """Of the examples as they are read."""
    peak_bytes: int = 0
    start_seconds: float = 0.0
    """Until the model is loaded and the examples are read."""
    once_seconds: float = 0.0
    """Of what is computed once before training, for a token."""
    write_bytes_per_second: float = 1.0
    update_seconds: float = 0.0
    micro_batches: list[Timed] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)


def rehearse(stage: str, config: Mapping[str, Any], inputs: Mapping[str, Path], seconds: float) -> Measured:
    """Measure a stage in a process of its own.

    Args:
        stage: its registered name.
        config: its settings, as JSON.
        inputs: its inputs, or outlines of them.
        seconds: to spend on micro-batches, about; a few are measured in any case.

    Raises:
        ApartError: the process ended with an error.
    """
    job = {"stage": stage, "config": config, "inputs": {k: str(v) for k, v in inputs.items()}, "seconds": seconds}
    values = run_apart("inkstone.train.cost.rehearsal", job)
    values["micro_batches"] = [Timed(*each) for each in values["micro_batches"]]
    values["drawn"] = [Drawn(*each) for each in values["drawn"]]
    return Measured(**values)


def main() -> None:
    """Read a job from stdin and write what was measured to stdout."""
    job = json.load(sys.stdin)
    from inkstone.core.device import seed_everything, tune_allocator
    from inkstone.core.progress import set_quiet
    from inkstone.train.cost.trials import parsed, trial_of
    from inkstone.train.usage import peak_memory_bytes

    set_quiet(True)
    tune_allocator()
    seed_everything(0)
    _warm_up()
    measured = Measured(process_bytes=_resident_bytes())
    began = time.perf_counter()
    inputs = {name: Path(path) for name, path in job["inputs"].items()}
    trial = trial_of(job["stage"], parsed(job["stage"], job["config"]), inputs)
    measured.data_bytes = max(0, _resident_bytes() - measured.process_bytes)
    model = trial.load()
    measured.start_seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        tokens = _MICRO_BATCHES * trial.micro_batch_tokens
        run = trial.run(model, trial.config, Path(folder), tokens)
        measured.once_seconds = run.once_seconds / max(1, run.once_tokens)
        _measure(run, job["seconds"], measured)
        measured.write_bytes_per_second = _write_speed(Path(folder))
    measured.peak_bytes = peak_memory_bytes(trial.settings.device)
    print(json.dumps(asdict(measured)), flush=True)


def _warm_up() -> None:
    """Let the libraries take what they need whatever they compute."""
    import torch

    weight = torch.nn.Parameter(torch.ones(512, 512))
    optimizer = torch.optim.AdamW([weight], fused=True)
    torch.nn.functional.cross_entropy(weight @ weight, torch.zeros(512, dtype=torch.long)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _measure(run: Any, seconds: float, measured: Measured) -> None:
    """The hungriest micro-batch first, so that memory is as full as it gets; then others."""
    from inkstone.train.rl.rounds import Rounds

    loop = run.loop
    size = loop.settings.batch_size
    on_policy = isinstance(loop.examples, Rounds)
    until = time.perf_counter() + seconds
    if on_policy:
        examples = _draw(loop, size, seconds / 2, measured)
    _timed(loop, run.hungriest)
    _update(loop)
    updates = []
    number = 0
    while len(measured.micro_batches) < _TIMED_AT_LEAST or (
        time.perf_counter() < until and len(measured.micro_batches) < _MOST_TIMED
    ):
        if not on_policy:
            examples = loop.examples.batch(number * size, size)
        parts = loop.settings.split(examples)
        for part in dict.fromkeys((number % len(parts), (number + len(parts) // 2) % len(parts))):
            measured.micro_batches.append(_timed(loop, parts[part]))
        updates.append(_update(loop))
        number += 1
    measured.update_seconds = sorted(updates)[len(updates) // 2]


def _timed(loop: Any, examples: Sequence[Any]) -> Timed:
    from inkstone.train.objectives import num_tokens

    began = time.perf_counter()
    batch = loop.objective.collate(examples)
    loop.prepare_step([batch])
    loss = loop.batch_loss(batch)[0] / max(1, loop.objective.num_targets(batch))
    float(loss.detach())  # waits for the device
    forward = time.perf_counter()
    loss.backward()
    _wait(loop)
    return Timed(num_tokens(batch), forward - began, time.perf_counter() - forward)


def _update(loop: Any) -> float:
    from inkstone.train.optim import clip_gradient

    began = time.perf_counter()
    clip_gradient(loop.parameters, loop.settings.config.optimizer.grad_clip)
    for optimizer in loop.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if loop.average:
        loop.average.update(1)
    _wait(loop)
    return time.perf_counter() - began


def _draw(loop: Any, size: int, seconds: float, measured: Measured) -> Sequence[Any]:
    """Completions of one problem, then of as many as there is time for; both tell what any number takes."""
    every = loop.examples.config.updates_per_rollout
    examples: Sequence[Any] = ()
    number = 1
    for turn in range(2):
        before, began = _resident_bytes(), time.perf_counter()
        examples = loop.examples.batch(turn * every * number, number)
        spent = time.perf_counter() - began
        measured.drawn.append(Drawn(len(examples), spent, max(0, _resident_bytes() - before)))
        number = max(1, min(size, int(seconds / spent)))
        if number == 1:
            break
    return examples


def _wait(loop: Any) -> None:
    if loop.settings.device.type == "cuda":
        import torch

        torch.cuda.synchronize(loop.settings.device)


def _write_speed(folder: Path) -> float:
    began = time.perf_counter()
    with open(folder / "written", "wb") as file:
        file.write(bytes(_WRITTEN))
        file.flush()
        os.fsync(file.fileno())
    return _WRITTEN / (time.perf_counter() - began)


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
