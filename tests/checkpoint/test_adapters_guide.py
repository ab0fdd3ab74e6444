"""The Python of docs/guides/adapters.md runs, and the guide knows every setting."""

import re
from pathlib import Path

import pytest

from inkstone.checkpoint import save_checkpoint
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.nn.adapters import is_adapted
from tests.guides import run_python
from tests.tiny_models import tiny_model, tiny_tokenizer


def test_the_python_of_the_guide_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "runs/quickstart/pretrain", tiny_model(), tiny_tokenizer())
    monkeypatch.chdir(tmp_path)
    names = run_python(root / "docs/guides/adapters.md", 3)
    assert (tmp_path / "adapter/adapter_model.safetensors").is_file()
    assert not is_adapted(names["model"])


def test_the_guide_lists_every_setting(root: Path) -> None:
    text = (root / "docs/guides/adapters.md").read_text("utf-8").partition("## Settings")[2].partition("## Adapter")[0]
    assert re.findall(r"^\| `(\w+)`", text, re.MULTILINE) == list(LoRAConfig.model_fields)
