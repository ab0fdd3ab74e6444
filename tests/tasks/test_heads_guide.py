"""The Python of docs/guides/classify.md runs, and its tables are complete."""

import re
from pathlib import Path

import pytest

from inkstone.core.registry import lookup, names
from inkstone.nn.heads import HeadConfig
from inkstone.train.objectives.head_config import HeadTeaching
from tests.tasks.heads import headed

HEADS = {
    "runs/reviews": HeadConfig(kind="sequence", labels=("bad", "good")),
    "runs/names": HeadConfig(kind="token", labels=("O", "B-name", "I-name")),
    "runs/reader": HeadConfig(kind="span"),
    "runs/judge": HeadConfig(kind="sequence", labels=("reward",)),
}


@pytest.fixture
def guide(root: Path) -> str:
    return (root / "docs/guides/classify.md").read_text("utf-8")


def test_the_python_of_the_guide_runs(guide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, head in HEADS.items():
        headed(tmp_path / folder, "encoder", head)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) == 3
    found: dict[str, object] = {}
    for block in blocks:
        exec(block, found)


def test_the_guide_lists_every_method_and_setting(guide: str) -> None:
    listed = re.findall(r"^\| `(\w+)`", guide, re.MULTILINE)
    of_heads = {f"inkstone.train.objectives.{name}" for name in ("classify", "tag", "span", "reward")}
    methods = [name for name in names("methods") if lookup("methods", name).objective.__module__ in of_heads]
    assert sorted(listed) == sorted([*methods, *HeadTeaching.model_fields])
