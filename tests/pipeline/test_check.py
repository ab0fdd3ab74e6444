"""`inkstone check`: every planted fault is found where it is, and nothing in sound data."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from inkstone.checkpoint import save_checkpoint
from inkstone.cli import main
from inkstone.tokenizer.chat import CHATML
from inkstone.tokenizer.train_subwords import train_word_pieces
from tests.data.check.planted import ALL_TEXTS, CHAT, DATA_SETS, chat, labeled
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


def test_the_command_prints_counts_faults_and_what_is_learned(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CHAT.write(tmp_path / "data", planted=True)
    assert main(["check", str(tmp_path / "data"), "--model", str(models / "decoder"), "--examples", "14"]) == 2
    out = capsys.readouterr().out
    assert "for finetune by chat, at most 256 tokens" in out
    assert "What is learned of train.jsonl:1, between ⟦ and ⟧" in out
    assert "  ⟦Again: 磨墨者先注水,然後慢慢研磨。<|im_end|>⟧\n" in out
    assert (
        "  ⟦Hi.<|im_end|>⟧\n  <|im_start|>user\n  你好<|im_end|>\n  <|im_start|>assistant\n  ⟦您好!<|im_end|>⟧" in out
    )
    assert "✗ malformed row" in out
    assert "and 4 more" in out
    assert "! mojibake" in out
    assert out.rstrip().endswith("9 errors and 11 warnings. Training would not begin.")


def test_sound_data_are_said_to_be_sound(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CHAT.write(tmp_path / "data", planted=False)
    assert main(["check", str(tmp_path / "data"), "--model", str(models / "decoder")]) == 0
    out = capsys.readouterr().out
    assert "Nothing is wrong with these examples." in out
    assert "15 of 15 answers" in out


def test_on_a_terminal_what_is_learned_is_green(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.jsonl").write_text(json.dumps(chat("question", "answer")), "utf-8")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    main(["check", str(tmp_path / "one.jsonl"), "--model", str(models / "decoder")])
    out = capsys.readouterr().out
    green = "".join(re.findall(r"\x1b\[30;(?:42|102)m([^\x1b]*)", out))
    assert green == "answer<|im_end|>"
    assert "question" in "".join(re.findall(r"\x1b\[2m([^\x1b]*)", out)).replace("\n", "")


def test_long_rows_are_refused_or_counted_as_cut(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [chat("How?", "Slowly. " * times) for times in (1, 2, 60, 70)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    places = {"train.jsonl:3", "train.jsonl:4"}
    code, report = check(tmp_path / "train.jsonl", models / "decoder", capsys)
    assert (code, {where for fault, where in found(report) if fault == "too long"}) == (2, places)
    code, report = check(tmp_path / "train.jsonl", models / "decoder", capsys, "--truncate")
    assert (code, {where for fault, where in found(report) if fault == "cut"}) == (0, places)
    assert sum(split["cut"] for split in report["splits"].values()) == 2
    code, report = check(tmp_path / "train.jsonl", models / "decoder", capsys, "--truncate", "--max-length", "40")
    assert report["max_length"] == 40


def test_a_template_without_a_stop_token_is_found(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CHAT.write(tmp_path / "data", planted=False)
    code, report = check(tmp_path / "data", models / "endless", capsys)
    assert code == 0
    assert {fault for fault, _ in found(report)} == {"stop token not trained"}
    assert report["splits"]["train"]["answers"] == 15
    assert report["splits"]["train"]["answers_with_stop_token"] == 0


def test_columns_are_named_on_the_command_line(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.tsv").write_text("Good ink.\tgut\n壞墨。\tbad\nWet ink.\tgut\nDry.\tbad\n", "utf-8")
    options = ["--method", "classify", "--columns.text", "0", "--columns.label", "1"]
    options += ["--set", "examples.header=false", "--set", "examples.valid_fraction=0"]
    _, report = check(tmp_path / "train.tsv", models / "encoder", capsys, *options)
    assert report["splits"]["train"]["labels"] == {"gut": 2, "bad": 2}


def test_what_cannot_be_taught_at_all_is_one_clear_error(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [labeled("one", "same"), labeled("two", "same")]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    assert main(["check", str(tmp_path / "train.jsonl"), "--model", str(models / "encoder")]) == 2
    err = capsys.readouterr().err
    assert "the only label is same" in err
    assert "Traceback" not in err
    (tmp_path / "train.jsonl").write_text(json.dumps(rows[0]) + "\n{", "utf-8")
    code, report = check(tmp_path / "train.jsonl", models / "encoder", capsys, "--method", "classify")
    assert code == 2
    assert {fault for fault, _ in found(report)} >= {"malformed row", "cannot be taught"}


def test_what_a_stage_needs_must_be_given(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CHAT.write(tmp_path / "data", planted=False)
    command = ["check", str(tmp_path / "data"), "--model", str(models / "decoder"), "--for", "distill"]
    assert main(command) == 2
    assert "the stage distill needs a teacher\n  remedy: give --teacher FOLDER" in capsys.readouterr().err
    assert main([*command, "--teacher", str(models / "decoder"), "--examples", "0"]) == 0
    assert main([*command, "--set", "tempretaure=2", "--teacher", "x"]) == 2
    assert "did you mean 'temperature'?" in capsys.readouterr().err
    assert main([*command[:-1], "finetune", "--teacher", "x"]) == 2
    assert "the stage finetune takes no teacher" in capsys.readouterr().err
