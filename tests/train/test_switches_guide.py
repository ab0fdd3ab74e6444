"""docs/guides/switches.md names settings that are real."""

import re
from pathlib import Path

import pytest
import yaml

from inkstone.checkpoint.merge_stage import MergeConfig
from inkstone.cli import main
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.stages import finetune


@pytest.fixture
def guide(root: Path) -> str:
    return (root / "docs/guides/switches.md").read_text("utf-8")


def test_the_recipe_is_valid(guide: str) -> None:
    (recipe,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    settings = yaml.safe_load(recipe)["finetune"]
    given = {name: settings.pop(name) for name in ("uses", *finetune.inputs, *finetune.optional_inputs)}
    assert given["uses"] == "finetune"
    assert FinetuneConfig.model_validate(settings).freeze.blocks == 2


def test_settings_are_real(guide: str) -> None:
    names = set(re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE))
    assert len(names) >= 9
    assert names <= set(FinetuneConfig.model_fields)


def test_the_commands_have_these_flags(guide: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"```console\n\$ inkstone (\w+)(.*?)```", guide, re.DOTALL)
    assert {name for name, _ in commands} == {"finetune", "merge"}
    for name, arguments in commands:
        assert main([name, "--help"]) == 0
        known = capsys.readouterr().out
        assert all(flag in known for flag in re.findall(r"--[\w.-]+", arguments))
    assert MergeConfig.model_validate({"weight": 0.7, "others": {"runs/code": 0.3}}).others
