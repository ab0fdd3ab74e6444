"""A finished run goes on with more steps."""

from pathlib import Path
from typing import Any

import pytest

from inkstone.checkpoint import read_safetensors
from inkstone.core.manifest import has_manifest, read_manifest
from inkstone.core.stage import StageResult, execute, has_unfinished_work, is_complete
from inkstone.train.config import PretrainConfig
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.extend import goes_on
from inkstone.train.metrics import MACHINE_METRICS, read_metrics
from inkstone.train.stages import pretrain
from tests.train.helpers import TINY

FIXED: dict[str, Any] = {
    "schedule": {"name": "constant", "warmup": 0.0},
    "eval_every": 5,
    "eval_tokens": 256,
    "keep": "last",
    "keep_every": 5,
}


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkstone.train.metrics.plot_losses", lambda *_: None)


@pytest.fixture
def inputs(corpus_folder: Path, tokenizer_folder: Path) -> dict[str, Path]:
    return {"corpus": corpus_folder, "tokenizer": tokenizer_folder}


def train(inputs: dict[str, Path], out: Path, **changes: Any) -> StageResult:
    return execute(pretrain, PretrainConfig(**TINY | FIXED | changes), inputs, out)


def rows(out: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in MACHINE_METRICS} for row in read_metrics(out)]


def test_ten_steps_and_ten_more_are_twenty(
    inputs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    train(inputs, out, steps=10)
    before = read_metrics(out)
    longer = PretrainConfig(**TINY | FIXED | {"steps": 20})
    assert has_unfinished_work(pretrain, longer, inputs, out)
    assert not is_complete(pretrain, longer, inputs, out)
    result = train(inputs, out, steps=20)
    said = capsys.readouterr().err
    assert "going on with the finished work" in said
    assert "step 10 of 10 was reached, and the run goes on to 20: from here on the learning rate is that" in said
    assert not result.skipped
    assert result.summary["steps"] == 20
    assert result.summary["continued_from_step"] == [10]
    assert read_manifest(out).config["steps"] == 20
    assert read_metrics(out)[: len(before)] == before
    assert not (tmp_path / "run.1").exists()

    train(inputs, tmp_path / "whole", steps=20)
    assert rows(out) == rows(tmp_path / "whole")
    for name in ("model.safetensors", "checkpoints/last/optimizer.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert train(inputs, out, steps=20).skipped


def test_the_learning_rate_is_that_of_the_longer_run_from_there_on(inputs: dict[str, Path], tmp_path: Path) -> None:
    schedule = {"name": "cosine", "warmup": 0.0}
    train(inputs, tmp_path / "run", steps=4, schedule=schedule)
    train(inputs, tmp_path / "run", steps=8, schedule=schedule)
    train(inputs, tmp_path / "whole", steps=8, schedule=schedule)
    rates, expected = (
        [row["learning_rate"] for row in read_metrics(tmp_path / name) if "learning_rate" in row]
        for name in ("run", "whole")
    )
    assert rates[4:] == expected[4:]
    assert rates[:4] != expected[:4]


def test_an_interrupted_run_goes_on_with_more_steps_too(inputs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inkstone.train.stages.save_checkpoint", lambda *_, **__: (_ for _ in ()).throw(RuntimeError))
        with pytest.raises(RuntimeError):
            train(inputs, out, steps=3)
    assert not has_manifest(out)
    result = train(inputs, out, steps=6)
    assert result.summary["continued_from_step"] == [3]


def test_other_settings_or_fewer_steps_begin_anew(inputs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(inputs, out, steps=4)
    weights = read_safetensors(out / "model.safetensors")
    train(inputs, out, steps=2)
    assert (tmp_path / "run.1" / "manifest.json").is_file()
    train(inputs, out, steps=4, seed=1)
    assert (tmp_path / "run.2" / "manifest.json").is_file()
    kept = read_safetensors(tmp_path / "run.1" / "model.safetensors")
    assert all((kept[name] == value).all() for name, value in weights.items())
    assert "continued_from_step" not in read_manifest(out).summary


@pytest.mark.parametrize(
    ("done", "wanted", "expected"),
    [
        ({"steps": 10}, {"steps": 20}, True),
        ({"steps": 20}, {"steps": 10}, False),
        ({"epochs": 1}, {"epochs": 2}, True),
        ({"epochs": 2}, {"epochs": 1.5}, False),
        ({"epochs": 1}, {"steps": 1000}, False),
        ({"steps": 10}, {"steps": 10, "patience": 5}, True),
        ({"steps": 10, "patience": 2}, {"steps": 20, "patience": 4}, True),
        ({"steps": 10}, {"steps": 20, "batch_size": 16}, False),
        ({"steps": 10}, {"steps": 10, "trackers": ["wandb"], "sample_tokens": 8}, True),
    ],
)
def test_what_counts_as_going_on(done: dict[str, Any], wanted: dict[str, Any], expected: bool) -> None:
    assert goes_on(FinetuneConfig(**done), FinetuneConfig(**wanted)) is expected
