"""The Python of docs/guides/generate.md runs."""

import re
from pathlib import Path

import pytest

from inkstone.checkpoint import save_checkpoint
from inkstone.nn.sampling_params import SamplingParams
from tests.guides import run_python
from tests.tiny_models import tiny_model, tiny_tokenizer


def test_the_python_of_the_guide_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "runs/quickstart/pretrain", tiny_model(max_position_embeddings=128), tiny_tokenizer())
    monkeypatch.chdir(tmp_path)
    names = run_python(root / "docs/guides/generate.md", num_blocks=4)
    assert len(names["several"]) == 3
    assert (tmp_path / "copy/model.safetensors").is_file()


def test_the_guide_lists_every_sampling_parameter(root: Path) -> None:
    text = (root / "docs/guides/generate.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)`", text, re.MULTILINE) == list(SamplingParams.model_fields)
