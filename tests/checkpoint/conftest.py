"""A tiny model folder."""

import shutil
from pathlib import Path

import pytest

from inkstone.checkpoint import save_checkpoint
from tests.tiny_models import tiny_model, tiny_tokenizer


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To read; what a test changes is its own `folder`."""
    path = tmp_path_factory.mktemp("saved")
    save_checkpoint(path, tiny_model(), tiny_tokenizer())
    return path


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(saved, tmp_path / "model"))
