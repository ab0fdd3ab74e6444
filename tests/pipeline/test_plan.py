"""Plans of recipes whose stages teach: what does not exist yet is planned from outlines of what comes before."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from inkstone.cli import main
from inkstone.pipeline.plan import Plan, plan_recipe
from inkstone.pipeline.recipe import load_recipe
from inkstone.pipeline.runner import run_recipe
from tests.train.taught import TINY_TEACHING

ADAPTED = {**TINY_TEACHING, "method": "chat", "examples": {"format": "completion", "columns": {"completion": "answer"}}}
RECIPE: dict[str, Any] = {
    "name": "sums",
    "seed": 1,
    "stages": {
        "problems": {"uses": "arithmetic", "train": 60, "valid": 8, "test": 8},
        "tokenizer": {"uses": "tokenizer", "corpus": "${problems}", "kind": "characters"},
        "initialize": {
            "uses": "initialize",
            "tokenizer": "${tokenizer}",
            "depth": 2,
            "model": {"hidden_size": 32, "num_attention_heads": 2},
            "context_length": 64,
        },
        "finetune": {"uses": "finetune", "model": "${initialize}", "data": "${problems}", **ADAPTED},
        "adapted": {"uses": "finetune", "model": "${finetune}", "data": "${problems}", **ADAPTED, "lora": {"r": 2}},
    },
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`RECIPE` as a file in the current folder; plans measure in no process of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("inkstone.train.cost.estimate.free_memory_bytes", lambda: 0)
    path = tmp_path / "sums.yaml"
    path.write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    return path


def plan(recipe: Path, **options: Any) -> Plan:
    return plan_recipe(load_recipe(recipe), recipe.parent / "runs" / "sums", **options)


def test_a_recipe_is_planned_before_anything_is_there_as_it_then_is(recipe: Path) -> None:
    before = plan(recipe).steps
    assert {step.state for step in before} == {"to run"}
    run_recipe(load_recipe(recipe), recipe.parent / "runs" / "sums")
    after = plan(recipe).steps
    assert {step.state for step in after} == {"unchanged"}
    for planned, found in zip(before[2:], after[2:], strict=True):
        assert planned.parameters == found.parameters
    assert before[2].disk_bytes == pytest.approx(after[2].disk_bytes, rel=0.15)
    adapted = 2 * 2 * (4 * (32 + 32) + 3 * (32 + 96))
    assert before[-1].trained_parameters == after[-1].trained_parameters == adapted


def test_a_vocabulary_that_is_not_known_yet_is_assumed_and_said(recipe: Path) -> None:
    documents = {"uses": "collect", "paths": ["books.txt"]}
    stages = {"books": documents, "corpus": {"uses": "prepare", "documents": "${books}"}, **RECIPE["stages"]}
    stages["tokenizer"] = {"uses": "tokenizer", "corpus": "${corpus}"}
    (recipe.parent / "books.txt").write_text("The stone is ground until the water is black.\n" * 100)
    recipe.write_text(yaml.safe_dump({**RECIPE, "stages": stages}, sort_keys=False))
    notes = {step.stage: step.notes for step in plan(recipe).steps}
    assert "assumed" in notes["initialize"]["vocabulary"]
    assert "assumed" in notes["adapted"]["vocabulary"]


def test_where_it_does_not_fit_it_says_what_does(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_recipe(load_recipe(recipe), recipe.parent / "runs" / "sums", only=["problems", "tokenizer", "initialize"])
    roomy = plan(recipe, only=["finetune"]).steps[0]
    assert roomy.memory_bytes is not None
    assert not roomy.alternatives
    assert sum(roomy.memory.values()) == pytest.approx(roomy.memory_bytes, rel=0.01)
    capsys.readouterr()
    narrow = roomy.memory_bytes - 1000
    assert main(["plan", str(recipe), "--only", "finetune", "--memory", str(narrow)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"! needs .* of memory, but there are", printed)
    assert re.search(r"finetune would fit with one of these, the nearest first:\n +--set finetune\.", printed)
    assert main(["plan", str(recipe), "--only", "finetune", "--memory", str(narrow), "--json"]) == 0
    offered = json.loads(capsys.readouterr().out)["steps"][0]["alternatives"]
    assert all(each["memory_bytes"] <= narrow for each in offered)
    chosen = [f"finetune.{key}={json.dumps(value)}" for key, value in offered[0]["settings"].items()]
    fitting = plan_recipe(load_recipe(recipe, chosen), recipe.parent / "runs" / "sums", only=["finetune"]).steps[0]
    assert fitting.memory_bytes == offered[0]["memory_bytes"]


@pytest.mark.parametrize("memory", ["8", "much", "-1GB"])
def test_a_size_that_is_none(memory: str, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["plan", str(recipe), f"--memory={memory}"])
    printed = capsys.readouterr()
    if memory == "8":
        assert "! needs" in printed.out
    else:
        assert status == 2
        assert "--memory" in printed.err
