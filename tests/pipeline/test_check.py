"""`inkstone check`: every planted fault is found where it is, and nothing in sound data."""

import json
from pathlib import Path
from typing import Any

import pytest

from inkstone.checkpoint import save_checkpoint
from inkstone.cli import main
from inkstone.tokenizer.chat import CHATML
from inkstone.tokenizer.train_subwords import train_word_pieces
from tests.data.check.planted import ALL_TEXTS, CHAT, DATA_SETS, chat
from tests.tiny_models import tiny_model, tiny_tokenizer
from tests.train.objectives.heads import tiny_encoder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`decoder` with ChatML, `endless` whose template ends no turn, and `encoder`."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHATML
    save_checkpoint(folder / "decoder", tiny_model(max_position_embeddings=256), tokenizer)
    tokenizer.chat_template = CHATML.replace("<|im_end|>", "")
    save_checkpoint(folder / "endless", tiny_model(max_position_embeddings=256), tokenizer)
    pieces = train_word_pieces(list(ALL_TEXTS), 600)
    save_checkpoint(folder / "encoder", tiny_encoder(pieces), pieces)
    return folder


def check(
    data: Path, model: Path, capsys: pytest.CaptureFixture[str], *options: str, stage: str = "finetune"
) -> tuple[int, dict[str, Any]]:
    code = main(["check", str(data), "--model", str(model), "--for", stage, "--json", *options])
    return code, json.loads(capsys.readouterr().out)


def found(report: dict[str, Any]) -> set[tuple[str, str]]:
    assert all(len(finding["places"]) == finding["count"] for finding in report["findings"])
    return {(finding["fault"], place["where"]) for finding in report["findings"] for place in finding["places"]}


def test_there_are_enough_planted_faults() -> None:
    assert sum(len(each.faults) for each in DATA_SETS.values()) >= 25


@pytest.mark.parametrize("name", DATA_SETS)
def test_nothing_is_found_in_sound_data(
    name: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    each = DATA_SETS[name]
    each.write(tmp_path / "data", planted=False)
    code, report = check(tmp_path / "data", models / each.model, capsys, "--method", each.method, stage=each.stage)
    assert found(report) == set()
    assert code == 0
    assert report["splits"]["train"]["examples"] == len(each.train)
    assert report["splits"]["valid"]["examples"] == len(each.valid)


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_planted_fault_is_found_and_nothing_else(
    name: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    each = DATA_SETS[name]
    expected = each.write(tmp_path / "data", planted=True)
    code, report = check(tmp_path / "data", models / each.model, capsys, "--method", each.method, stage=each.stage)
    assert found(report) == expected
    assert code == 2
