"""Runs of a stage that are killed and started again, in processes that fork from one that has imported everything.

    with Runner() as runner:
        runner.survives(Job("finetune", {"method": "chat"}, inputs), folder)

As a program it is the process that forks: one JSON object a line on stdin, the exit status of its run on stdout.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Job:
    """A run of a stage."""

    stage: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    out: str = ""
    kill: Mapping[str, int] = field(default_factory=dict)
    """`step`: before the weights of the n-th step of this process change. `write`: in the middle of the n-th file of
    its training checkpoints. `log`: after its n-th line of metrics."""


class Runner:
    """Starts runs, one after the other."""

    def __enter__(self) -> Self:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.train.kill"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes the pipes and waits
            pass

    def run(self, job: Job) -> int:
        """Exit status: 0 where the run is finished, minus the signal where it was killed."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(asdict(job)) + "\n")
        stdin.flush()
        return int(stdout.readline())

    def survives(self, job: Job, folder: Path, num_kills: int = 2, then: Mapping[str, Any] | None = None) -> Path:
        """Run a job whole, and again with kills; all that both leave must be the same, bit for bit.

        Args:
            job: its `out` is chosen here.
            folder: for both.
            num_kills: the first in the middle of writing a checkpoint, the others wherever chance will have it.
            then: further settings with which each is continued when it is finished, and killed once more.

        Returns:
            The folder of the run that was killed.
        """
        moments = random.Random(time.time_ns())
        whole, broken = (replace(job, out=str(folder / name)) for name in ("whole", "broken"))
        assert self.run(whole) == 0
        kills: list[Mapping[str, int]] = [{"write": moments.randint(5, 8)}]
        kills += [{moments.choice(("step", "log")): moments.randint(2, 3)} for _ in range(num_kills - 1)]
        self._killed(broken, kills)
        if then is not None:
            whole, broken = (replace(each, config={**job.config, **then}) for each in (whole, broken))
            assert self.run(whole) == 0
            self._killed(broken, [{"step": moments.randint(1, 3)}])
        assert_same_outcome(Path(whole.out), Path(broken.out))
        return Path(broken.out)

    def _killed(self, job: Job, kills: Sequence[Mapping[str, int]]) -> None:
        for kill in kills:
            status = self.run(replace(job, kill=kill))
            assert status == -signal.SIGKILL, f"{kill}: {status}"
        assert self.run(job) == 0


def assert_same_outcome(first: Path, second: Path) -> None:
    """Two folders have the same tensors, bit for bit, and the same metrics."""
    from inkstone.train.metrics import MACHINE_METRICS, read_metrics

    names = [sorted(path.relative_to(out).as_posix() for path in out.rglob("*.safetensors")) for out in (first, second)]
    assert names[0] == names[1]
    assert "checkpoints/last/optimizer.safetensors" in names[0]
    for name in names[0]:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    rows = [
        [{key: value for key, value in row.items() if key not in MACHINE_METRICS} for row in read_metrics(out)]
        for out in (first, second)
    ]
    assert rows[0] == rows[1]
    assert rows[0]
    leftovers = [path.name for path in second.rglob("*") if path.name.endswith((".tmp", ".old"))]
    assert leftovers == []


def _serve(jobs: IO[str]) -> None:
    """Fork for every job; nothing else here may start threads."""
    import torch

    import inkstone.pipeline.recipe
    import inkstone.train.stages  # noqa: F401
    from inkstone.core.registry import lookup, names

    torch.set_num_threads(1)
    for name in names("methods"):
        lookup("methods", name)
    for line in jobs:
        child = os.fork()
        if child == 0:
            _run(Job(**json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(job: Job) -> None:
    """Run a job in this process, and end it."""
    import traceback

    from inkstone.core.config import parse_config
    from inkstone.core.progress import set_quiet
    from inkstone.core.registry import lookup
    from inkstone.core.stage import execute

    set_quiet(True)
    _arm(job.kill)
    try:
        stage = lookup("stages", job.stage)
        execute(stage, parse_config(stage.config, job.config, where=job.stage), job.inputs, job.out)
    except BaseException:  # noqa: BLE001  (the parent only sees the status)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _arm(kill: Mapping[str, int]) -> None:
    """Let this process kill itself at the moment that `kill` says, and draw no curves."""
    from inkstone.train import loop, metrics, state

    def after(number: int, call: Any, leave: Any = None) -> Any:
        calls = 0

        def counted(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number and leave is not None:
                leave(*args)
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*args, **options)
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted

    def half_a_file(path: Path, *_: Any) -> None:
        path.write_bytes(b"\x10\x00\x00")

    metrics.plot_losses = lambda *_: None  # most of the time of a tiny run
    if "step" in kill:
        loop.check_step = after(kill["step"], loop.check_step)
    if "log" in kill:
        metrics.MetricsLog.write = after(kill["log"], metrics.MetricsLog.write)  # type: ignore[method-assign]
    if "write" in kill:
        state.write_safetensors = after(kill["write"], state.write_safetensors, half_a_file)


if __name__ == "__main__":
    _serve(sys.stdin)
