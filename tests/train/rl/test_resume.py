"""Beside `tests.train.test_kill`: rounds of several steps, whose rollouts are in the checkpoints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inkstone.checkpoint import read_safetensors
from inkstone.train.samples import read_samples
from tests.train.kill import Runner
from tests.train.taught import job_of

pytestmark = pytest.mark.slow

REWARDS = {"rewards": {"length": -1.0, "format": 1.0}, "format_pattern": "[a-z]*", "group_size": 3, "max_new_tokens": 6}
RUNS: dict[str, dict[str, Any]] = {
    "grpo": {"rl": REWARDS | {"updates_per_rollout": 3, "kl_coefficient": 0.1, "resample": 2, "overlong_tokens": 2}},
    "ppo": {"rl": REWARDS | {"updates_per_rollout": 3}, "lora": {"r": 2, "lora_dropout": 0.3}},
}


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


@pytest.mark.parametrize("method", sorted(RUNS))
def test_killed_in_the_middle_of_a_round_it_ends_with_the_same_bits(
    method: str, runner: Runner, tmp_path: Path
) -> None:
    runner.survives(job_of(method, tmp_path, steps=8, **RUNS[method]), tmp_path)
    last = read_safetensors(tmp_path / "whole" / "checkpoints" / "last" / "examples.safetensors")
    assert "experiences.input_ids" in last  # step 8 is the second of three
    samples = [read_samples(tmp_path / name) for name in ("whole", "broken")]
    assert samples[0] == samples[1]
    assert [row["step"] for row in samples[0]] == [1, 4, 7]
