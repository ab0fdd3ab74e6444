"""A tiny run that kills itself: `python -m tests.train.rl.run_tiny METHOD OUT MOMENT`.

MOMENT is "step:N", in the middle of computing step N, or "checkpoint:N", in the middle of writing the N-th checkpoint.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import inkstone.train.state
from inkstone.core.progress import set_quiet
from inkstone.train.loop import Loop
from inkstone.train.method import method_named
from inkstone.train.rl.experience import Experience
from tests.train.rl.helpers import tiny_loop

CHANGES: dict[str, dict[str, Any]] = {
    "grpo": {"steps": 11, "checkpoint_every": 4, "rl": {"updates_per_rollout": 3, "kl_coefficient": 0.1}},
    "ppo": {"steps": 9, "checkpoint_every": 3, "rl": {"updates_per_rollout": 2}, "lora": {"r": 2}},
}


def loop_of(method: str, out: Path) -> Loop[Experience]:
    """The run, from where it stands; in the middle of a round there is always a checkpoint."""
    changes = CHANGES[method]
    rewards = {"length": -1, "format": 1}  # which tiny random models have different ones of
    rl = changes["rl"] | {"rewards": rewards, "format_pattern": "[a-z]*", "overlong_tokens": 2, "resample": 1}
    return tiny_loop(out, method=method_named(method, "align"), **changes | {"rl": rl})


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(method: str, out: str, moment: str) -> None:
    """Run until the moment."""
    set_quiet(True)
    kind, number = moment.split(":")
    loop = loop_of(method, Path(out))
    if kind == "step":
        real_loss, size = loop.objective.prepare_step, loop.settings.batch_size
        real_batch, starts = loop.examples.batch, list[int]()

        def batch(start: int, count: int) -> Any:
            starts.append(start)
            return real_batch(start, count)

        loop.examples.batch = batch  # type: ignore[method-assign]
        loop.objective.prepare_step = (  # type: ignore[method-assign]
            lambda *given: _die() if starts[-1] == size * (int(number) - 1) else real_loss(*given)
        )
    else:
        real_write, calls = inkstone.train.state.write_safetensors, list[Path]()

        def write(path: Path, tensors: Any, *rest: Any) -> None:
            calls.extend([path] * (path.name == "optimizer.safetensors"))
            if len(calls) == int(number):
                _die()
            real_write(path, tensors, *rest)

        inkstone.train.state.write_safetensors = write  # type: ignore[assignment]
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
