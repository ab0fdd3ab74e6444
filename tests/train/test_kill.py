"""Every method goes on bit for bit after SIGKILL, and so does every switch that has a state."""

from dataclasses import replace
from pathlib import Path

import pytest

from inkstone.core.registry import names
from inkstone.train.metrics import read_metrics
from tests.train.kill import Job, Runner
from tests.train.taught import METHODS, job_of

pytestmark = pytest.mark.slow


def test_every_method_is_killed() -> None:
    assert set(METHODS) == set(names("methods"))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_killed_it_ends_with_the_same_bits(method: str, runner: Runner, tmp_path: Path) -> None:
    runner.survives(job_of(method, tmp_path), tmp_path)


def with_replay(job: Job, folder: Path) -> Job:
    text = folder / "general.txt"
    text.write_text("".join(f"{number}: the stone is wet, 墨分五色\n\n" for number in range(60)))
    return replace(job, inputs={**job.inputs, "replay": str(text)})


def test_averages_noise_mixture_and_replay_survive(runner: Runner, tmp_path: Path) -> None:
    switches = {
        "ema": 0.9,
        "neftune_alpha": 5.0,
        "mixture": {"en": 2, "zh": 0.5},
        "curriculum": True,
        "replay_share": 0.3,
        "keep_every": 2,
        "keep": "average",
        "average_last": 3,
    }
    out = runner.survives(with_replay(job_of("chat", tmp_path, **switches), tmp_path), tmp_path)
    assert (out / "checkpoints" / "last" / "average.safetensors").is_file()
    assert (out / "checkpoints" / "step-0000008").is_dir()


def test_an_adapter_with_dropout_on_a_quantized_base_survives(runner: Runner, tmp_path: Path) -> None:
    lora = {"r": 4, "lora_dropout": 0.2, "use_dora": True}
    switches = {"lora": lora, "quantize_base": "int4", "gradient_checkpointing": True, "layer_decay": 0.8}
    runner.survives(job_of("classify", tmp_path, **switches), tmp_path)


def test_a_finished_run_that_goes_on_survives(runner: Runner, tmp_path: Path) -> None:
    out = runner.survives(job_of("grpo", tmp_path, ema=0.9), tmp_path, num_kills=1, then={"steps": 12})
    assert max(row["step"] for row in read_metrics(out)) == 12
