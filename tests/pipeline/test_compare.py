"""Runs side by side, against numbers computed by hand."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from inkstone.cli import main
from inkstone.core.errors import ConfigError, InputError
from inkstone.core.files import write_json
from inkstone.core.manifest import MANIFEST, STATE, InputRecord, read_manifest, write_manifest
from inkstone.pipeline.compare import command, differences, join, measures_of
from inkstone.pipeline.compare_curves import curve_of
from inkstone.pipeline.trained import Trained, find_trained, positions
from inkstone.train.row_log import METRICS

CONFIG = {"seed": 0, "steps": 20, "lora": {"r": 8, "alpha": 16}, "trackers": [], "sample_tokens": 32}


def rows(loss: float, tokens_per_s: float = 100.0) -> list[dict[str, Any]]:
    """20 steps of 50 tokens, evaluated twice."""
    measured = {"time": 0.0, "tokens_per_s": tokens_per_s}
    return [
        {"step": 1, "loss": 4.0, "tokens": 50, **measured},
        {"step": 10, "loss": 3.0, "tokens": 500, **measured},
        {"step": 10, "time": 0.0, "valid_loss": loss, "valid_accuracy": 0.5},
        {"step": 20, "loss": 2.0, "tokens": 1000, **measured},
        {"step": 20, "time": 0.0, "valid_loss": loss + 0.25, "valid_accuracy": 0.75},
    ]


def make(folder: Path, stage: str, config: Mapping[str, Any], summary: Mapping[str, Any] = {}, **inputs: Path) -> Path:
    """A finished stage's folder, with the files that are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    records = {
        name: InputRecord(path=str(path.resolve()), digest=read_manifest(path).digest) for name, path in inputs.items()
    }
    write_manifest(
        folder, stage=stage, version=1, fingerprint="", config=config, inputs=records, sources={}, summary=summary,
        started="", duration_s=1.0,
    )  # fmt: skip
    return folder


def trained(folder: Path, loss: float = 3.0, tokens_per_s: float = 100.0, **changes: Any) -> Path:
    """A training; `model` and `data` among the changes are its inputs."""
    inputs = {name: changes.pop(name) for name in ("model", "data") if name in changes}
    folder.mkdir(parents=True)
    (folder / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows(loss, tokens_per_s)))
    return make(folder, "finetune", CONFIG | changes, {"parameters": 1_234_567}, **inputs)


def benchmarked(folder: Path, model: Path, accuracy: float) -> Path:
    interval = {"value": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
    facts = {"task": "classify", "data": "d", "format": "labels", "split": "test", "examples": 10}
    report = {"facts": facts, "main_metric": "accuracy", "metrics": {"accuracy": interval}, "baselines": {}}
    folder.mkdir()
    write_json(folder / "benchmark.json", report)
    summary = {"accuracy": accuracy, "accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1}
    return make(folder, "benchmark", {"seed": 0}, summary, model=model)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("runs")


def found(*paths: Path) -> list[Trained]:
    return [find_trained(path) for path in paths]


def test_numbers_of_one_training(runs: Path) -> None:
    measured = measures_of(find_trained(trained(runs / "a", loss=1.0, tokens_per_s=50)))
    assert measured == {
        "parameters": 1_234_567,
        "steps": 20,
        "tokens": 1000,
        "seconds": pytest.approx(20.0),
        "tokens_per_s": pytest.approx(50.0),
        "loss": 2.0,
        "valid_loss": 1.25,
        "best_valid_loss": 1.0,
        "valid_accuracy": 0.75,
    }


def test_what_differs_is_named_and_what_changes_no_model_is_not(runs: Path) -> None:
    one = trained(runs / "a")
    other = trained(runs / "b", lora={"r": 16, "alpha": 16}, truncate=True, trackers=["wandb"], sample_tokens=0)
    assert differences(join(found(one, other))) == {"lora.r": [8, 16], "truncate": [None, True]}


def test_inputs_that_differ_are_named(runs: Path) -> None:
    bases = [make(runs / name / "base", "convert", {"dtype": name}) for name in ("a", "b")]
    groups = join(found(*(trained(base.parent / "tuned", model=base) for base in bases)))
    assert differences(groups) == {"input model": ["a/base", "b/base"]}


def test_seeds_are_joined_also_those_of_what_came_before(runs: Path) -> None:
    losses = {0: 1.0, 1: 2.0, 2: 3.0}
    folders = []
    for seed, loss in losses.items():
        base = make(runs / f"s{seed}" / "base", "pretrain", {"seed": seed, "depth": 2})
        (base / "weights").write_text(str(seed))
        base = make(base, "pretrain", {"seed": seed, "depth": 2})
        folders.append(trained(base.parent / "tuned", loss=loss, seed=seed, model=base))
        benchmarked(base.parent / "exam", folders[-1], 0.5 + loss / 10)
    other = trained(runs / "other", seed=0, batch_size=4, model=runs / "s0" / "base")
    groups = join(found(folders[0], other, *folders[1:]))
    assert [[run.seed for run in group.runs] for group in groups] == [[0, 1, 2], [0]]
    assert groups[0].measures()["best_valid_loss"] == {"mean": 2.0, "sd": 1.0, "values": [1.0, 2.0, 3.0]}
    assert groups[0].results() == {
        "exam: accuracy": {"mean": pytest.approx(0.7), "sd": pytest.approx(0.1), "values": [0.6, 0.7, 0.8]}
    }
    assert groups[1].results() == {}
    moved = shutil.move(runs / "s1", runs / "elsewhere")
    assert len(join(found(folders[0], moved / "tuned"))) == 1


def test_a_benchmark_belongs_to_the_training_it_measured(runs: Path) -> None:
    first = trained(runs / "a" / "first")
    second = trained(runs / "a" / "second", model=first)
    merged = make(runs / "a" / "merged", "merge", {}, model=first, adapter=second)
    exam = benchmarked(runs / "a" / "exam", merged, 0.75)
    benchmarked(runs / "a" / "early", first, 0.25)
    make(runs / "a" / "text", "evaluate", {}, {"bits_per_byte": 1.5, "bits_per_byte_low": 1.4}, model=second)
    write_json(runs / "a" / "run.json", {"steps": ["first", "second", "merged", "exam", "text", "not-begun"]})
    (group,) = join(found(runs / "a"))
    assert group.first.folder == second.resolve()
    assert group.label == "runs/a: second"
    assert group.results() == {
        "exam: accuracy": {"mean": 0.75, "sd": None, "values": [0.75], "low": 0.65, "high": 0.85},
        "text: bits_per_byte": {"mean": 1.5, "sd": None, "values": [1.5], "low": 1.4, "high": None},
    }
    assert find_trained(exam).folder == second.resolve()
    assert list(join(found(first))[0].results()) == ["early: accuracy"]


def test_a_run_that_still_goes_on(runs: Path) -> None:
    folder = trained(runs / "a")
    state = {name: json.loads((folder / MANIFEST).read_text())[name] for name in ("stage", "version", "config")}
    write_json(folder / STATE, state | {"inputs": {}, "sources": {}, "fingerprint": ""})
    (folder / MANIFEST).unlink()
    measured = measures_of(find_trained(folder))
    assert measured["steps"] == 20
    assert "parameters" not in measured
    (folder / METRICS).write_text("")
    assert measures_of(find_trained(folder)) == {}


def test_places_on_the_axis(runs: Path) -> None:
    read = rows(3.0, tokens_per_s=10)
    assert positions(read, "step") == {1: 1, 10: 10, 20: 20}
    assert positions(read, "tokens") == {1: 50, 10: 500, 20: 1000}
    assert positions(read, "time") == pytest.approx({1: 50 / 600, 10: 500 / 600, 20: 1000 / 600})
    read.insert(2, {"step": 5, "time": 0.0, "valid_loss": 1.0})
    assert positions(read, "tokens")[5] == pytest.approx(50 + 450 * 4 / 9)


def test_the_curve_of_seeds_is_a_mean_with_a_deviation(runs: Path) -> None:
    folders = [
        trained(runs / str(seed), loss=1.0 + 2 * seed, seed=seed, tokens_per_s=10 + 10 * seed) for seed in (0, 1)
    ]
    (group,) = join(found(*folders))
    curve = curve_of(group, "valid_loss", "time")
    assert curve.x == pytest.approx([(500 / 10 + 500 / 20) / 120, (1000 / 10 + 1000 / 20) / 120])
    assert curve.mean == [2.0, 2.25]
    assert curve.sd == pytest.approx([2**0.5, 2**0.5])
    assert curve_of(group, "reward", "step").x == []


def test_the_table_and_the_picture(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [trained(runs / name, loss=loss, seed=seed) for name, loss, seed in (("a", 1.0, 0), ("b", 3.0, 1))]
    other = trained(runs / "c", loss=1.5, steps=40)
    benchmarked(runs / "exam", other, 0.75)
    assert main(["compare", *map(str, (*folders, other)), "--out", "new/curves.png", "--by", "tokens"]) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    table = {
        cells[0]: cells[1:] for cells in ([cell.strip() for cell in line if cell.strip()] for line in lines) if cells
    }
    assert table["(1) runs/a and 1 more"] == ["(2) runs/c"]
    assert table["steps"] == ["20", "40"]
    assert table["seed"] == ["0, 1", "0"]
    assert table["parameters"] == ["1.2 M", "1.2 M"]
    assert table["time in training"] == ["10 s", "10 s"]
    assert table["validation loss"] == ["2.2500 ± 1.4142", "1.7500"]
    assert table["exam: accuracy"] == ["–", "0.7500 (0.6500 to 0.8500)"]
    assert Path("new/curves.png").read_bytes().startswith(b"\x89PNG")


def test_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [trained(runs / "a"), trained(runs / "b", steps=40)]
    assert main(["compare", *map(str, folders), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["settings"], second["settings"]) == ({"steps": 20}, {"steps": 40})
    assert first["runs"] == [str(folders[0].resolve())]
    assert first["measures"]["loss"] == {"mean": 2.0, "sd": None, "values": [2.0]}


def test_bad_paths_are_one_clear_error(runs: Path) -> None:
    with pytest.raises(ConfigError, match="no run is given"):
        command()
    with pytest.raises(InputError, match=r"runs/none: no such folder\n.*inkstone runs"):
        command(runs / "none")
    plain = make(runs / "a" / "corpus", "prepare", {})
    for path in (plain, runs / "a", plain / MANIFEST):
        with pytest.raises(InputError, match="nothing was trained here"):
            command(path)
    write_json(runs / "a" / "run.json", [])
    with pytest.raises(InputError, match="not a run's record"):
        command(runs / "a")
    one = trained(runs / "b")
    with pytest.raises(InputError, match=r"it is the same training as that of runs/b\n"):
        command(one, one.resolve())
    (one / MANIFEST).write_text("{}")
    with pytest.raises(InputError, match="not a stage's record"):
        command(one)
