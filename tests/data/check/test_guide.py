"""The Python of docs/guides/check.md runs, and its tables name every kind of fault."""

import re
from pathlib import Path

import pytest

from inkstone.data.check import faults
from tests.data.check.planted import CHAT
from tests.tiny_models import tiny_tokenizer


def test_the_python_of_the_guide_runs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    CHAT.write(tmp_path / "data/chat", planted=True)
    (tmp_path / "runs/chat-small/pretrain").mkdir(parents=True)
    tiny_tokenizer().save(tmp_path / "runs/chat-small/pretrain")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (root / "docs/guides/check.md").read_text("utf-8"), re.DOTALL)
    exec(block, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("malformed row: train.jsonl:15: ")
    assert any(line.startswith("special token in a text: ") for line in lines)


def test_the_guide_names_every_fault(root: Path) -> None:
    text = (
        (root / "docs/guides/check.md").read_text("utf-8").replace("almost in train", "evaluation row almost in train")
    )
    names = {value.name for value in vars(faults).values() if isinstance(value, faults.Fault)}
    assert [name for name in sorted(names) if name not in text] == []
