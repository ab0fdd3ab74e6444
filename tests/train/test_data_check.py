"""No training begins on faulty examples, and none cuts or drops anything uncounted."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from inkstone.checkpoint import save_checkpoint
from inkstone.cli import main
from inkstone.core.config import parse_config
from inkstone.core.errors import InputError
from inkstone.core.manifest import LOG, STATE
from inkstone.core.stage import execute
from inkstone.tokenizer.chat import CHATML
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.data_check import DATA_CHECK
from inkstone.train.stages import finetune
from tests.data.check.planted import CHAT, chat
from tests.tiny_models import tiny_model, tiny_tokenizer

SETTINGS = {"method": "chat", "steps": 2, "batch_size": 4, "device": "cpu", "dtype": "float32", "compile": False}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHATML
    save_checkpoint(folder, tiny_model(max_position_embeddings=256), tokenizer)
    return folder


def train(model: Path, data: Path, out: Path, **changes: Any) -> dict[str, Any]:
    config = parse_config(FinetuneConfig, SETTINGS | changes, where="test")
    return execute(finetune, config, {"model": model, "data": data}, out).summary


@pytest.mark.parametrize("folder", ["data", "with space"])
def test_training_stops_before_it_begins_and_says_how_to_see_all(
    folder: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CHAT.write(tmp_path / folder, planted=True)
    with pytest.raises(InputError) as caught:
        train(
            model, tmp_path / folder, tmp_path / "out", max_length=200, examples={"encoding": "utf-8", "header": False}
        )
    error = caught.value
    assert error.where == str(tmp_path / folder)
    assert error.cause.startswith("9 errors: train.jsonl:15: malformed JSON")
    assert error.cause.endswith("and 6 more")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {LOG, STATE}
    capsys.readouterr()
    assert error.remedy is not None
    program, *arguments = shlex.split(error.remedy.partition("see all: ")[2])
    assert program == "inkstone"
    assert main([*arguments, "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert (report["errors"], report["max_length"]) == (9, 200)


def test_what_is_cut_is_counted_and_what_was_found_is_kept(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [chat("How?", "Slowly. " * times) for times in (1, 2, 2, 60, 70)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    (tmp_path / "data/valid.jsonl").write_text(json.dumps(chat("When?", "Later. " * 80)), "utf-8")
    summary = train(model, tmp_path / "data", tmp_path / "out", truncate=True)
    assert {key: summary[key] for key in ("examples", "cut", "dropped")} == {"examples": 5, "cut": 3, "dropped": 0}
    said = capsys.readouterr().err
    assert "data check: cut: train.jsonl:4: " in said
    assert "and 2 more (raise max_length to keep all of it)" in said
    report = json.loads((tmp_path / "out" / DATA_CHECK).read_text("utf-8"))
    assert {finding["fault"] for finding in report["findings"]} == {"cut", "duplicate row", "conflicting rows"}
    assert (report["errors"], report["splits"]["train"]["cut"], report["splits"]["valid"]["cut"]) == (0, 2, 1)
    assert report["example"].endswith("<|im_start|>assistant\n⟦Slowly. <|im_end|>⟧\n")


def test_data_without_training_rows_are_an_error_that_names_the_faults(model: Path, tmp_path: Path) -> None:
    CHAT.write(tmp_path / "data", planted=False)
    (tmp_path / "data/train.jsonl").write_text('{"messages": []}\n', "utf-8")
    with pytest.raises(InputError, match=r"2 errors: train.jsonl:1: .*; there are no training examples"):
        train(model, tmp_path / "data", tmp_path / "out")
