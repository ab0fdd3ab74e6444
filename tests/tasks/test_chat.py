"""Chatting: in Python, and from the shell's point of view."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inkstone.checkpoint import save_checkpoint
from inkstone.checkpoint.save import stop_ids
from inkstone.cli import main
from inkstone.core.errors import ConfigError, InputError
from inkstone.nn.generate import generate_naive
from inkstone.nn.models.base import Decoder
from inkstone.nn.sampling_params import SamplingParams
from inkstone.tasks.chat import Conversation, chat
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.chat import CHATML
from tests.tiny_models import tiny_model, tiny_tokenizer

PARAMS = SamplingParams(max_new_tokens=8, temperature=1.0, seed=3)


def chat_tokenizer() -> Tokenizer:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHATML
    return tokenizer


@pytest.fixture(scope="module")
def model() -> Decoder:
    return tiny_model(max_position_embeddings=192)


@pytest.fixture(scope="module")
def folder(model: Decoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_checkpoint(path, model, chat_tokenizer())
    return path


def expected(model: Decoder, text: str) -> str:
    """The answer to a rendered conversation, by the naive generate."""
    tokenizer = chat_tokenizer()
    ids = tokenizer.encode_rendered(text)
    (answer,) = generate_naive(model, ids, PARAMS, stop_ids=stop_ids(tokenizer, model))
    return tokenizer.decode(answer).rstrip("\ufffd")  # half a character at the end is not shown


def test_the_conversation_is_rendered_as_the_template_says(model: Decoder) -> None:
    first = "<|bos|><|im_start|>system\nBe 简.<|im_end|>\n<|im_start|>user\nThe ink?<|im_end|>\n<|im_start|>assistant\n"
    conversation = Conversation(model, chat_tokenizer(), PARAMS, system="Be 简.")
    answer = "".join(conversation.ask("The ink?"))
    assert answer == expected(model, first)
    second = f"{first}{answer}<|im_end|>\n<|im_start|>user\n墨?<|im_end|>\n<|im_start|>assistant\n"
    assert "".join(conversation.ask("墨?")) == expected(model, second)
    conversation.forget()
    assert "".join(conversation.ask("The ink?")) == answer


def test_chat_is_the_first_answer_of_a_conversation(model: Decoder) -> None:
    sampling = PARAMS.model_dump(exclude_defaults=True)
    messages = [{"role": "user", "content": "The ink?"}]
    answer = "".join(Conversation(model, chat_tokenizer(), PARAMS).ask("The ink?"))
    assert chat(model, chat_tokenizer(), messages, **sampling) == answer
    with pytest.raises(ConfigError, match="one answer"):
        chat(model, chat_tokenizer(), messages, num_return_sequences=2)


def test_an_answer_that_is_not_read_to_its_end_was_not_given(model: Decoder) -> None:
    conversation = Conversation(model, chat_tokenizer(), PARAMS)
    "".join(conversation.ask("The ink?"))
    before = list(conversation.turns)
    next(conversation.ask("墨?"))
    assert conversation.turns == before


def test_old_turns_are_forgotten_when_the_context_is_full(model: Decoder, capsys: pytest.CaptureFixture[str]) -> None:
    conversation = Conversation(model, chat_tokenizer(), PARAMS, system="S")
    questions = [f"{number} the stone is wet" for number in range(6)]
    for question in questions:
        assert "".join(conversation.ask(question))
    assert "messages are forgotten, the context is full" in capsys.readouterr().err
    kept = [turn["content"] for turn in conversation.turns if turn["role"] == "user"]
    assert kept
    assert kept == questions[-len(kept) :]
    assert len(kept) < len(questions)
    before = list(conversation.turns)
    with pytest.raises(InputError, match=r"the message has [\d,]+ tokens, the model's context is 192"):
        next(conversation.ask("墨" * 300))
    assert conversation.turns == before


def test_a_pipe_gets_the_answer_alone(
    folder: Path, model: Decoder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--seed", "3", "--max-new-tokens", "8", "--temperature", "1", "--top-p", "1"]
    prompt = "<|bos|><|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    for arguments, piped, message in (
        ([], "The ink?\n", "The ink?"),
        (["Summarize:"], "墨\n砚\n", "Summarize:\n\n墨\n砚"),
        (["The ink?"], "", "The ink?"),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(piped))
        assert main(["chat", str(folder), *arguments, *options]) == 0
        assert capsys.readouterr().out == expected(model, prompt.format(message)) + "\n"


def test_bad_input_is_one_clear_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["chat", str(folder)]) == 2
    assert "the message is empty" in capsys.readouterr().err
    save_checkpoint(tmp_path / "base", tiny_model(), tiny_tokenizer())
    assert main(["chat", str(tmp_path / "base"), "hello"]) == 2
    error = capsys.readouterr().err
    assert "no chat template" in error
    assert "remedy" in error


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_a_terminal_gets_a_conversation(folder: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "inkstone", "chat", str(folder), "--max-new-tokens", "4", "--seed", "1"]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(theirs)
    os.write(ours, "hello \\\nthere\n/new\n墨\n/bye\n".encode())
    out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert out.decode().count("› ") == 4
    assert "parameters, context 192" in err.decode()
