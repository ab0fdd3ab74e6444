import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from inkstone.checkpoint import read_safetensors
from inkstone.core.errors import InkstoneError
from inkstone.core.manifest import has_manifest
from inkstone.tokenizer import Tokenizer
from inkstone.train.metrics import MACHINE_METRICS, read_metrics
from inkstone.train.state import load_state
from tests.train.helpers import tiny_loop


def command(corpus: Path, tokenizer: Path, out: Path, *moment: str) -> list[str]:
    return [sys.executable, "-m", "tests.train.run_tiny", str(corpus), str(tokenizer), str(out), *moment]


@pytest.fixture
def environment(root: Path) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(root), "MPLBACKEND": "agg"}


def steps_on_disk(out: Path) -> int:
    return max((row["step"] for row in read_metrics(out)), default=0)


def test_killed_at_random_moments_it_ends_with_the_same_bits(
    corpus_folder: Path, tokenizer_folder: Path, tmp_path: Path, root: Path, environment: dict[str, str]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(corpus_folder, tokenizer_folder, whole), check=True, env=environment, cwd=root)

    # Once in the middle of writing a checkpoint, then wherever the run happens to be.
    first = subprocess.run(
        command(corpus_folder, tokenizer_folder, broken, "checkpoint:3"), env=environment, cwd=root, check=False
    )
    assert first.returncode == -signal.SIGKILL
    moments = random.Random(time.time_ns())
    kills = 1
    for target in sorted(moments.sample(range(16, 45), 3)):
        process = subprocess.Popen(command(corpus_folder, tokenizer_folder, broken), env=environment, cwd=root)
        while process.poll() is None and steps_on_disk(broken) < target:
            time.sleep(0.002)
        time.sleep(moments.random() * 0.02)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 2
    assert not has_manifest(broken) or kills < 4
    subprocess.run(command(corpus_folder, tokenizer_folder, broken), check=True, env=environment, cwd=root)

    for name in ("model.safetensors", "checkpoints/last/model.safetensors", "checkpoints/last/optimizer.safetensors"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
    timeless = [
        [{key: value for key, value in row.items() if key not in MACHINE_METRICS} for row in read_metrics(out)]
        for out in (whole, broken)
    ]
    assert timeless[0] == timeless[1]
    leftovers = [path.name for path in broken.rglob("*") if path.name.endswith((".tmp", ".old"))]
    assert leftovers == []


def test_interrupted_by_a_signal_it_writes_a_checkpoint_and_goes_on(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path / "broken", steps=12, checkpoint_every=100)
    real = loop.accumulate_gradient

    def interrupts_itself(start: int) -> tuple[float, int]:
        if start == 5 * 8:
            os.kill(os.getpid(), signal.SIGINT)
        return real(start)

    loop.accumulate_gradient = interrupts_itself  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt, match="after step 6"):
        loop.run()
    resumed = tiny_loop(corpus_folder, tokenizer, tmp_path / "broken", steps=12, checkpoint_every=100)
    assert resumed.state.step == 6
    resumed.run()
    whole = tiny_loop(corpus_folder, tokenizer, tmp_path / "whole", steps=12, checkpoint_every=100)
    whole.run()
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters, whole.parameters, strict=True))


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_a_checkpoint_holds_optimizer_and_every_random_stream(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path, optimizer: str
) -> None:
    changes = {"steps": 3, "optimizer": {"name": optimizer}}
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, **changes)
    loop.run()
    drawn = (random.random(), np.random.rand(3).tolist(), torch.rand(3).tolist())
    fresh = tiny_loop(corpus_folder, tokenizer, tmp_path, **changes)
    assert (random.random(), np.random.rand(3).tolist(), torch.rand(3).tolist()) == drawn
    assert fresh.state.step == 3
    for mine, other in zip(loop.optimizers, fresh.optimizers, strict=True):
        states = [
            [optimizer.state[parameter] for group in optimizer.param_groups for parameter in group["params"]]
            for optimizer in (mine, other)
        ]
        for first, second in zip(*states, strict=True):
            tensors = {name: value for name, value in first.items() if value is not None}
            assert tensors
            assert all(torch.equal(value, second[name]) for name, value in tensors.items())


def test_a_truncated_checkpoint_is_named_and_nothing_is_overwritten(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    tiny_loop(corpus_folder, tokenizer, tmp_path).run()
    weights = tmp_path / "checkpoints" / "last" / "model.safetensors"
    damaged = weights.read_bytes()[:-100]
    weights.write_bytes(damaged)
    with pytest.raises(InkstoneError, match=r"model\.safetensors"):
        tiny_loop(corpus_folder, tokenizer, tmp_path)
    assert weights.read_bytes() == damaged


def test_a_checkpoint_of_another_shape_is_refused(corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    tiny_loop(corpus_folder, tokenizer, tmp_path).run()
    other = tiny_loop(corpus_folder, tokenizer, tmp_path / "other", model={"hidden_size": 64})
    with pytest.raises(InkstoneError, match="another shape"):
        load_state(tmp_path / "checkpoints" / "last", other.model, other.optimizers)


def test_the_run_folder_tells_the_state_in_json(corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    tiny_loop(corpus_folder, tokenizer, tmp_path).run()
    state = json.loads((tmp_path / "checkpoints" / "last" / "state.json").read_text())
    assert (state["step"], state["tokens"]) == (6, 6 * 8 * 32)
    assert set(read_safetensors(tmp_path / "checkpoints" / "last" / "random.safetensors")) >= {"torch", "numpy.keys"}
