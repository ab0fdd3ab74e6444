"""The Python of docs/guides/engine.md runs, and its table is whole."""

import re
from pathlib import Path

import pytest

from inkstone.checkpoint import save_checkpoint
from inkstone.engine.config import EngineConfig
from tests.guides import run_python
from tests.tiny_models import tiny_model, tiny_tokenizer


def test_the_python_of_the_guide_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "runs/quickstart/pretrain", tiny_model(max_position_embeddings=128), tiny_tokenizer())
    monkeypatch.chdir(tmp_path)
    names = run_python(root / "docs/guides/engine.md", num_blocks=2)
    assert names["answer"].text in ('{"ok": true}', '{"ok": false}')


def test_the_guide_lists_every_setting(root: Path) -> None:
    text = (root / "docs/guides/engine.md").read_text("utf-8")
    table = text[: text.index("## What computes")]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(EngineConfig.model_fields)
