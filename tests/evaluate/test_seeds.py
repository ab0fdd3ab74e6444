"""Benchmarks of several seeds in one table."""

import json
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.errors import InputError
from inkstone.evaluate.seeds import join_seeds, seeds_markdown


def folder(path: Path, accuracy: float | None, tfidf: float = 0.5, **facts: Any) -> Path:
    path.mkdir()
    known = {"task": "classify", "data": "examples", "format": "labels", "split": "test", "examples": 10}
    estimate = {"value": accuracy, "low": 0.0, "high": 1.0, "higher_is_better": True}
    report = {
        "facts": known | facts,
        "main_metric": "accuracy",
        "metrics": {"accuracy": estimate},
        "baselines": {"tfidf": {"title": "TF-IDF", "metrics": {"accuracy": {"value": tfidf}}}},
    }
    (path / "benchmark.json").write_text(json.dumps(report))
    return path


def test_means_and_standard_deviations_by_hand(tmp_path: Path) -> None:
    joined = join_seeds([folder(tmp_path / str(value), value) for value in (0.8, 0.9, 0.85)])
    assert joined["metrics"]["accuracy"] == {
        "mean": pytest.approx(0.85),
        "sd": pytest.approx(0.05),
        "values": [0.8, 0.9, 0.85],
    }
    assert joined["seeds"] == 3
    page = seeds_markdown(joined, "encoder")
    assert "| **encoder** | 0.8500 ± 0.0500 |" in page
    assert "| TF-IDF | 0.5000 |" in page


def test_what_all_were_compared_with_is_joined_too(tmp_path: Path) -> None:
    folders = [folder(tmp_path / str(value), value) for value in (0.8, 0.9)]
    for path, before in zip(folders, (0.6, 0.5), strict=True):
        report = json.loads((path / "benchmark.json").read_text())
        difference = report["metrics"]["accuracy"]["value"] - before
        compare = {"metrics": {"accuracy": {"value": before}}, "differences": {"accuracy": {"value": difference}}}
        (path / "benchmark.json").write_text(json.dumps(report | {"compare": {"model": "before", **compare}}))
    joined = join_seeds(folders)
    assert joined["compare"]["metrics"]["accuracy"]["mean"] == pytest.approx(0.55)
    assert joined["compare"]["differences"]["accuracy"]["values"] == pytest.approx([0.2, 0.4])
    page = seeds_markdown(joined)
    assert "| before | 0.5500 ± 0.0707 |" in page
    assert "| difference | 0.3000 ± 0.1414 |" in page
    assert join_seeds([*folders, folder(tmp_path / "alone", 0.7)])["compare"] is None


def test_one_seed_and_what_does_not_exist(tmp_path: Path) -> None:
    joined = join_seeds([folder(tmp_path / "one", 0.8)])
    assert joined["metrics"]["accuracy"]["sd"] is None
    assert "0.8000 |" in seeds_markdown(joined)
    joined = join_seeds([tmp_path / "one", folder(tmp_path / "none", None)])
    assert "| **model** | – |" in seeds_markdown(joined)


def test_only_the_same_is_joined(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one", 0.8), folder(tmp_path / "other", 0.8, split="valid")
    with pytest.raises(InputError, match="its split is valid"):
        join_seeds([one, other])
    with pytest.raises(InputError, match="no benchmarks to join"):
        join_seeds([])
    with pytest.raises(InputError, match=r"benchmark\.json: no such file"):
        join_seeds([tmp_path])
    (other / "benchmark.json").write_text("[]")
    with pytest.raises(InputError, match="not a report of the stage benchmark"):
        join_seeds([other])
