"""A working folder with a small recipe of fake stages."""

from pathlib import Path

import pytest

from tests.pipeline import fakes

RECIPE = """\
name: toy
seed: 7
stages:
  both: {uses: join, left: "${gather}", right: "${change}"}
  gather: {uses: gather, paths: [a.txt]}
  change: {uses: change, texts: "${gather}"}
"""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with ``a.txt`` and ``toy.yaml``; the fake stages are installed."""
    monkeypatch.syspath_prepend(str(fakes.install(tmp_path / "site")))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "a.txt").write_text("hello ")
    (folder / "toy.yaml").write_text(RECIPE)
    return folder
