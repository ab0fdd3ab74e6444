"""The Python of docs/guides/tokenizer.md runs, and the guide knows every setting."""

import re
from pathlib import Path

import pytest

from inkstone.data.tokenizer_stage import TokenizerConfig


def test_the_python_of_the_guide_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs/guides/tokenizer.md").read_text("utf-8"), re.DOTALL)
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 4
    assert (tmp_path / "tokenizers/small/chat_template.jinja").is_file()


def test_the_guide_lists_every_setting(root: Path) -> None:
    text = (root / "docs/guides/tokenizer.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)`", text, re.MULTILINE) == list(TokenizerConfig.model_fields)
