"""The Python of docs/guides/transformer.md runs and shows what the page says."""

import re
from pathlib import Path

import pytest
import torch

from inkstone.nn.beam import BeamParams
from tests.guides import run_python


def test_the_python_of_the_guide_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run_python(root / "docs/guides/transformer.md", 5)
    assert torch.allclose(names["ours"], names["by_hand"])
    assert names["looks"].argmax(-1).tolist() == [5, 4, 3, 2, 1, 0]
    assert names["found"][0][0].token_ids == [9, 5, 1, 4, 1, 3, names["END"]]
    assert "True" in capsys.readouterr().out


def test_the_guide_lists_every_parameter_of_beam_search(root: Path) -> None:
    text = (root / "docs/guides/transformer.md").read_text("utf-8")
    table = text.split("## Writing: beam search")[1].split("## Families")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(BeamParams.model_fields)
