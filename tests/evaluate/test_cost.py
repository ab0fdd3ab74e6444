"""What measuring takes, planned from a little of it."""

from pathlib import Path
from typing import Any

import pytest

from inkstone.checkpoint import load_checkpoint, save_checkpoint
from inkstone.core.errors import InputError
from inkstone.core.registry import lookup
from inkstone.core.stage import execute
from inkstone.evaluate.benchmark_config import BenchmarkConfig
from inkstone.evaluate.cost import plan_benchmark, plan_evaluate
from inkstone.evaluate.stages import EvaluateConfig
from tests.train.taught import make_data, make_model


def test_the_rest_costs_what_the_slope_between_little_and_more_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without baselines 16 examples take 3 s and 64 take 7 s: 1/12 s each. 16 with baselines take 13 s."""
    asked: dict[str, Any] = {}

    def measured(module: str, job: dict[str, Any]) -> Any:
        asked.update(job)
        return [[3.0, 1000, 10], [7.0, 3000, 20], [13.0, 1500, 30]]

    monkeypatch.setattr("inkstone.evaluate.cost.run_apart", measured)
    inputs = {"model": make_model("decoder", tmp_path), "data": make_data("chat", tmp_path, count=160)}
    planned = plan_benchmark(BenchmarkConfig(split="train"), inputs)
    assert [each["limit"] for each in asked["changes"]] == [16, 64, 16]
    assert [each.get("baselines") for each in asked["changes"]] == [["none"], ["none"], None]
    assert planned["seconds"] == pytest.approx(13 + 144 / 12)
    assert planned["disk_bytes"] == pytest.approx(1500 + 144 / 48 * 2000)
    assert planned["memory_bytes"] == 30


def test_few_examples_are_run_as_they_are(tmp_path: Path) -> None:
    inputs = {"model": make_model("decoder", tmp_path), "data": make_data("chat", tmp_path)}
    config = BenchmarkConfig(num_bootstrap=100)
    planned = plan_benchmark(config, inputs)
    execute(lookup("stages", "benchmark"), config, inputs, tmp_path / "out")
    written = [tmp_path / "out" / name for name in ("benchmark.json", "benchmark.md", "predictions.jsonl")]
    # What it writes says how many seconds it took.
    assert planned["disk_bytes"] == pytest.approx(sum(path.stat().st_size for path in written), abs=50)
    assert planned["seconds"] > 0
    assert planned["memory_bytes"] > 50_000_000
    assert planned["examples"] == "4 of the split valid"


def test_how_much_an_untrained_model_will_write_is_not_known(tmp_path: Path) -> None:
    model, tokenizer = load_checkpoint(make_model("decoder", tmp_path), "cpu", "float32")
    for parameter in model.parameters():
        parameter.data.zero_()
    save_checkpoint(tmp_path / "outline", model, tokenizer)
    inputs = {"model": tmp_path / "outline", "data": make_data("problems", tmp_path)}
    planned = plan_benchmark(BenchmarkConfig(), inputs)
    assert "seconds" not in planned
    assert "not known before the model is trained" in planned["time"]


def test_an_evaluation_is_planned_by_its_tokens(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The stone is ground until the water is black. 三人行，必有我師焉。\n" * 400)
    inputs = {"model": make_model("decoder", tmp_path), "corpus": tmp_path / "text.txt"}
    planned = plan_evaluate(EvaluateConfig(), inputs)
    assert planned["seconds"] > 0
    with pytest.raises(InputError):
        plan_evaluate(EvaluateConfig(), {**inputs, "corpus": tmp_path / "nothing"})
