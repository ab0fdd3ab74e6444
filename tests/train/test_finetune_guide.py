"""docs/guides/finetune.md does what it says."""

import json
import re
from pathlib import Path

import pytest

from inkstone.core.registry import names
from inkstone.pipeline.recipe import load_recipe
from inkstone.pipeline.runner import run_recipe
from inkstone.train.config_finetune import FinetuneConfig
from tests.train.objectives.lessons import chat_tokenizer

TINY = ("initialize.model={arch: marian, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2}",)
SHORT = ("finetune.steps=3", "finetune.batch_size=2", "finetune.device=cpu", "finetune.compile=false")


@pytest.fixture
def guide(root: Path) -> str:
    return (root / "docs/guides/finetune.md").read_text("utf-8")


def test_the_recipe_from_scratch_runs_and_its_model_translates(
    guide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = next(block for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if "initialize" in block)
    Path("translate.yaml").write_text(recipe, "utf-8")
    chat_tokenizer().save(Path("runs/base/tokenizer"))
    Path("data/pairs").mkdir(parents=True)
    rows = [{"source": f"The ink {number}", "target": f"墨{number}"} for number in range(6)]
    for split in ("train", "valid"):
        Path(f"data/pairs/{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    run_recipe(load_recipe(Path("translate.yaml"), (*TINY, *SHORT)), Path("runs/translate"))
    (python,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    capsys.readouterr()
    exec(python, {})
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_methods_and_settings_are_real(guide: str) -> None:
    table = guide.split("## What is learned")[1].split("## Conversations")[0]
    methods = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert methods == {"chat", "text", "pairs", "classify", "regress", "tokens", "span", "reward"}
    assert methods <= set(names("methods"))
    settings = guide.split("## Settings that matter")[1].split("## How fast")[0]
    for row in re.findall(r"^\| (`.*?) \|", settings, re.MULTILINE):
        assert set(re.findall(r"`(\w+)`", row)) <= set(FinetuneConfig.model_fields)
