"""The generate command: from the shell's point of view."""

import io
import json
from pathlib import Path

import pytest

from inkstone.checkpoint import save_checkpoint
from inkstone.checkpoint.save import stop_ids
from inkstone.cli import main
from inkstone.tasks.generate import complete, complete_all, stream_complete
from tests.tiny_models import tiny_model, tiny_tokenizer

OPTIONS = ["--seed", "5", "--max-new-tokens", "30", "--temperature", "1.2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_checkpoint(path, tiny_model(), tiny_tokenizer())
    return path


@pytest.fixture(scope="module")
def text() -> str:
    sampling = {"seed": 5, "max_new_tokens": 30, "temperature": 1.2}
    return complete(tiny_model(), tiny_tokenizer(), "The ink", **sampling)


def test_prints_the_completion_streamed_or_whole(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--no-stream"]):
        assert main(["generate", str(folder), "The ink", *OPTIONS, *options]) == 0
        assert capsys.readouterr().out == text + "\n"


@pytest.mark.parametrize("arguments", [["-"], []], ids=["dash", "piped"])
def test_reads_the_prompt_from_standard_input(
    folder: Path, text: str, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("The ink\n"))
    assert main(["generate", str(folder), *arguments, *OPTIONS]) == 0
    assert capsys.readouterr().out == text + "\n"


def test_json_tells_everything(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(folder), "The ink", *OPTIONS, "--num-return-sequences", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["prompt"] == "The ink"
    assert report["completions"][0]["text"] == text
    assert [row["finish_reason"] for row in report["completions"]] == ["length", "length"]
    assert report["completions"][1]["num_tokens"] == 30
    assert report["sampling"]["seed"] == 5


def test_several_stop_strings(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    stop = next(letter for letter in text[5:] if letter.isalpha())
    assert main(["generate", str(folder), "The ink", *OPTIONS, "--stop", "not there", "--stop", stop]) == 0
    assert capsys.readouterr().out == text[: text.index(stop)] + "\n"


def test_says_when_the_context_ended_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(folder), "The ink", "--temperature", "0", "--max-new-tokens", "500"]) == 0
    assert "context of 64 tokens was full" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FOLDER", "word " * 99], "shorten the prompt"),
        (["FOLDER", "x", "--top-p", "2"], "top_p"),
        (["nowhere", "x"], "no such model folder"),
        (["FOLDER", "x", "--device", "abacus"], "unknown device"),
    ],
)
def test_bad_input_is_one_clear_error(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", *(str(folder) if each == "FOLDER" else each for each in arguments)]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert "Traceback" not in output.err
    assert output.out == ""


def test_stops_at_the_end_of_a_document_and_of_a_message() -> None:
    tokenizer = tiny_tokenizer()
    assert stop_ids(tokenizer) == [1, 4]
    model = tiny_model(seed=3)
    for completion in complete_all(model, tokenizer, "a", seed=1, temperature=3.0, num_return_sequences=40):
        assert not {1, 4} & set(completion.token_ids)
        assert completion.finish_reason in ("eos", "context")


def test_a_stream_never_says_a_stop_string_nor_loses_the_text_before_it() -> None:
    model, tokenizer = tiny_model(seed=1), tiny_tokenizer()
    sampling = {"temperature": 1.5, "max_new_tokens": 50}
    for seed in range(3):
        whole = complete(model, tokenizer, "x", seed=seed, **sampling)
        for start in range(0, len(whole) - 3, 7):
            stop = whole[start : start + 3]
            said = "".join(stream_complete(model, tokenizer, "x", seed=seed, stop=stop, **sampling))
            assert said == whole[: whole.index(stop)]


def test_completions_of_a_form(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("llguidance")
    (tmp_path / "schema.json").write_text('{"enum": ["ink", "stone"]}')
    (tmp_path / "two.lark").write_text('start: "墨" "硯"')
    for options, allowed in (
        (["--choice", "yes", "--choice", "no"], {"yes", "no"}),
        (["--json-schema", str(tmp_path / "schema.json")], {'"ink"', '"stone"'}),
        (["--json-schema", '{"type": "boolean"}'], {"true", "false"}),
        (["--regex", "[ab]c"], {"ac", "bc"}),
        (["--grammar", str(tmp_path / "two.lark")], {"墨硯"}),
    ):
        assert main(["generate", str(folder), "The ink", *OPTIONS, *options]) == 0
        assert capsys.readouterr().out.rstrip("\n") in allowed
    model, tokenizer = tiny_model(), tiny_tokenizer()
    for seed in range(5):
        assert complete(model, tokenizer, "The ink", form={"choice": ["on", "off"]}, seed=seed) in ("on", "off")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--regex", "a", "--choice", "b"], "give one of json_schema, regex, choice and grammar"),
        (["--json-schema", "missing.json"], "missing.json: cannot be read"),
        (["--json-schema", "{not json}"], "this is no JSON"),
        (["--regex", "(unclosed"], "cannot be compiled"),
    ],
    ids=str,
)
def test_a_wrong_form_is_refused(
    folder: Path, options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("llguidance")
    assert main(["generate", str(folder), "The ink", *options]) == 2
    told = capsys.readouterr().err
    assert named in " ".join(told.split())
    assert "Traceback" not in told


def test_bad_words_are_not_written() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    sampling = {"seed": 5, "max_new_tokens": 30, "temperature": 1.2}
    (free,) = complete_all(model, tokenizer, "The ink", **sampling)
    written = next(token for token in free.token_ids if tokenizer.decode([token]).strip().isalpha())
    word = tokenizer.decode([written]).strip()
    (held,) = complete_all(model, tokenizer, "The ink", bad_words=[word], **sampling)
    forms = {tuple(tokenizer.encode_plain(form)) for form in (word, " " + word)}
    assert (written,) in forms
    assert not any((token,) in forms for token in held.token_ids)
    assert len(held.token_ids) > free.token_ids.index(written)
