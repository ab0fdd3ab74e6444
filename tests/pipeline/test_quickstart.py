"""What the quickstart prints, on stages that only report numbers; the real one is run by ``make quickstart``."""

import json
import re
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.registry import lookup
from inkstone.pipeline import quickstart
from inkstone.pipeline.recipe import load_recipe, shipped_recipes

RECIPE = """\
name: mini
stages:
  prepare: {uses: fake-data}
  pretrain: {uses: fake-training, corpus: "${prepare}"}
  evaluate: {uses: fake-scores, model: "${pretrain}", corpus: "${prepare}"}
"""


@pytest.fixture
def written(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that the model, a fake one, was given."""
    prompts: list[str] = []

    def complete(model: Any, tokenizer: Any, prompt: str, **sampling: Any) -> str:
        prompts.append(prompt)
        return f"completion {len(prompts)}"

    (workplace / "mini.yaml").write_text(RECIPE)
    monkeypatch.setattr("inkstone.checkpoint.load_decoder", lambda path: (None, None))
    monkeypatch.setattr("inkstone.tasks.generate.complete", complete)
    return prompts


def test_it_ends_with_numbers_samples_and_what_to_try(written: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    quickstart.command(recipe="mini.yaml")
    out = capsys.readouterr().out
    for pattern in (
        r"data kept +1,170 of 1,173 documents, 13\.7 MB",
        r"tokens +5\.1 M",
        r"parameters +3\.4 M",
        r"time +\d+\.\d minutes",
        r"speed +34,000 tokens/s",
        r"bits per byte +1\.430 .*1\.410 to 1\.450",
        r"xz +2\.050",
        r"n-gram +1\.910",
        r"Loss curve: runs/mini/pretrain/loss\.png",
    ):
        assert re.search(pattern, out), pattern
    assert all(f"completion {number}" in out for number in range(1, 6))
    commands = [line for line in out.splitlines() if line.startswith("  inkstone ")]
    assert len(commands) == 3


def test_prompts_are_code_and_english(written: list[str]) -> None:
    quickstart.command(recipe="mini.yaml")
    assert len(written) == 5
    assert {kind for kind, _ in quickstart.PROMPTS} == {"code", "docs"}


def test_again_everything_is_up_to_date(written: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    quickstart.command(recipe="mini.yaml", json=True)
    first = json.loads(capsys.readouterr().out)
    quickstart.command(recipe="mini.yaml")
    assert "Everything is up to date." in capsys.readouterr().out
    assert len(written) == 5
    assert [sample["completion"] for sample in first["samples"]] == [f"completion {n}" for n in range(1, 6)]


def test_embedded_data_is_the_standard_library() -> None:
    recipe = load_recipe(shipped_recipes()["quickstart"])
    collect = recipe.steps[0]
    assert recipe.step_names() == ["collect", "prepare", "tokenizer", "pretrain", "evaluate"]
    sources = [Path(path) for path in lookup("stages", "collect").sources(collect.config)]
    assert sources
    assert all(path.is_relative_to(sysconfig.get_path("stdlib")) for path in sources)
