"""The Python of docs/guides/benchmark.md runs, and the guide knows every setting, task, and what is compared with."""

import re
from pathlib import Path

import pytest

from inkstone.core import registry
from inkstone.evaluate.benchmark_config import BenchmarkConfig
from inkstone.evaluate.benchmark_tasks.choose import TASKS
from tests.evaluate.test_seeds import folder
from tests.guides import run_python


def test_the_python_of_the_guide_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        (tmp_path / f"runs/sentiment-{seed}").mkdir(parents=True)
        folder(tmp_path / f"runs/sentiment-{seed}/benchmark", 0.9 + seed / 100)
    names = run_python(root / "docs/guides/benchmark.md", 3)
    assert "0.9100 ± 0.0100" in str(names["page"])
    assert registry.lookup("metrics", "same_length")().score("墨", "a") == 1


def test_the_guide_lists_every_setting_and_task(root: Path) -> None:
    text = (root / "docs/guides/benchmark.md").read_text("utf-8")
    settings, tasks = text.split("## Tasks")
    rows = re.findall(r"^\| ([^|]+)\|", settings, re.MULTILINE)
    named = [re.sub(r"\(.*?\)", "", row) for row in rows]
    assert [name for row in named for name in re.findall(r"`(\w+)`", row)] == list(BenchmarkConfig.model_fields)
    assert re.findall(r"^\| `(\w+)` \|", tasks, re.MULTILINE) == [task.name for task in TASKS]
