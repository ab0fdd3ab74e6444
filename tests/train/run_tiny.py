"""A tiny pretraining run as a process of its own: `python -m tests.train.run_tiny CORPUS TOKENIZER OUT [MOMENT]`.

With MOMENT = "checkpoint:N" the process kills itself in the middle of writing the N-th training checkpoint.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from inkstone.core.progress import set_quiet
from inkstone.core.stage import execute
from inkstone.train import state
from inkstone.train.config import PretrainConfig
from inkstone.train.stages import pretrain
from tests.train.helpers import TINY


def _kill_in_checkpoint(number: int) -> None:
    real, calls = state.write_safetensors, 0

    def write(path: Path, tensors: dict[str, Any]) -> None:
        nonlocal calls
        calls += path.name == "optimizer.safetensors"
        if calls == number:
            path.write_bytes(b"\x10\x00\x00")
            os.kill(os.getpid(), signal.SIGKILL)
        real(path, tensors)

    state.write_safetensors = write  # type: ignore[assignment]


def main(corpus: str, tokenizer: str, out: str, moment: str = "") -> None:
    """Run, or go on."""
    set_quiet(True)
    if moment:
        _kill_in_checkpoint(int(moment.partition(":")[2]))
    changes = {"steps": 60, "checkpoint_every": 7, "eval_every": 10, "eval_tokens": 256}
    execute(pretrain, PretrainConfig(**TINY | changes), {"corpus": corpus, "tokenizer": tokenizer}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
