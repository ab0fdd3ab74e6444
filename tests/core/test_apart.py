"""Work in a process of its own."""

from pathlib import Path

import pytest

from inkstone.core.apart import ApartError, run_apart

MODULE = """
import json, sys
job = json.load(sys.stdin)
print("something else")
if job["fails"]:
    raise ValueError(f"no {job['name']}")
print(json.dumps({"name": job["name"], "same": sys.argv}))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_program.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "a_program"


def test_the_last_line_is_the_answer(module: str) -> None:
    assert run_apart(module, {"fails": False, "name": "墨"})["name"] == "墨"


def test_an_error_says_its_cause(module: str) -> None:
    with pytest.raises(ApartError, match="ValueError: no 墨"):
        run_apart(module, {"fails": True, "name": "墨"})
