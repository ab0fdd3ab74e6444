"""The Python of docs/guides/evaluate.md runs, and the guide knows every setting."""

import re
from pathlib import Path

import pytest

from inkstone.checkpoint import save_checkpoint
from inkstone.evaluate.stages import EvaluateConfig
from tests.guides import run_python
from tests.tiny_models import tiny_model, tiny_tokenizer


def test_the_python_of_the_guide_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "runs/quickstart/pretrain", tiny_model(), tiny_tokenizer())
    monkeypatch.chdir(tmp_path)
    names = run_python(root / "docs/guides/evaluate.md", 3)
    assert len(names["nats"]) == 2


def test_the_guide_lists_every_setting(root: Path) -> None:
    text = (root / "docs/guides/evaluate.md").read_text("utf-8")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*)", text, re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"\w+", row)] == list(EvaluateConfig.model_fields)
