import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from inkstone.train.metrics import read_metrics
from inkstone.train.rl.samples import read_samples
from tests.train.rl.run_tiny import CHANGES, loop_of


@pytest.mark.parametrize(("method", "moment", "reached"), [("grpo", "step:7", 4), ("ppo", "checkpoint:2", 3)])
def test_killed_in_the_middle_of_a_round_it_ends_with_the_same_bits(
    tmp_path: Path, root: Path, method: str, moment: str, reached: int
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    loop_of(method, whole).run()
    killed = subprocess.run(
        [sys.executable, "-m", "tests.train.rl.run_tiny", method, str(broken), moment],
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(root)},
        cwd=root,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    resumed = loop_of(method, broken)
    assert resumed.state.step == reached
    assert reached % CHANGES[method]["rl"]["updates_per_rollout"] != 0
    resumed.run()

    for name in ("model", "optimizer", "examples"):
        path = Path("checkpoints", "last", f"{name}.safetensors")
        assert (broken / path).read_bytes() == (whole / path).read_bytes(), name
    assert timeless(broken) == timeless(whole)
    assert read_samples(broken) == read_samples(whole)
    assert len({row["reward"] for row in timeless(whole) if "reward" in row}) > 2


def timeless(out: Path) -> list[dict[str, Any]]:
    changing = ("time", "tokens_per_s", "of_peak", "memory_bytes")
    return [{name: value for name, value in row.items() if name not in changing} for row in read_metrics(out)]
