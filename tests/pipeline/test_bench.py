import json
from pathlib import Path

import pytest

from inkstone.checkpoint import save_checkpoint
from inkstone.cli import main
from tests.tiny_models import tiny_model, tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> str:
    save_checkpoint(tmp_path / "model", tiny_model(), tiny_tokenizer())
    return str(tmp_path / "model")


def test_work_fits_into_the_context_and_every_number_is_there(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", folder, "--json", "--rounds", "2", "--streams", "3"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["work"] == {
        "read": {"num_streams": 1, "prompt_tokens": 48, "new_tokens": 1},
        "alone": {"num_streams": 1, "prompt_tokens": 16, "new_tokens": 16},
        "together": {"num_streams": 3, "prompt_tokens": 16, "new_tokens": 16},
    }
    for name in ("read_tokens_per_s", "alone_tokens_per_s", "together_tokens_per_s"):
        assert 0 < report[name]["least"] <= report[name]["median"] <= report[name]["most"]
    # 2 blocks of 4 × 32 × 32 and 3 × 32 × 80, and 320 × 32 of the output layer, 4 bytes each.
    assert report["weight_bytes"] == 4 * (2 * (4 * 32 * 32 + 3 * 32 * 80) + 320 * 32)


def test_it_prints_a_table(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", folder, "--rounds", "1", "--streams", "2"]) == 0
    printed = capsys.readouterr().out
    assert "write 2 texts, 16 + 16 tokens each" in printed
    assert "Computed by" in printed


@pytest.mark.parametrize("flag", ["--rounds", "--streams", "--prompt-tokens", "--new-tokens"])
def test_senseless_numbers_are_refused(folder: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", folder, flag, "0"]) == 2
    assert flag.removeprefix("--").replace("-", "_") in capsys.readouterr().err
