"""Models of the Hugging Face hub, from a stand-in server on this machine."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import inkstone
from inkstone.checkpoint import load_checkpoint, save_checkpoint
from inkstone.checkpoint.hub import commit_of, locate
from inkstone.cli import main
from inkstone.core.errors import CheckpointError
from tests.hub import COMMIT, Hub, serving, use_endpoint
from tests.tiny_models import tiny_model, tiny_tokenizer

IDS = torch.arange(30).unsqueeze(0)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    save_checkpoint(tmp_path / "source", tiny_model(), tiny_tokenizer())
    for name in ("pytorch_model.bin", "modeling_tiny.py"):
        (tmp_path / "source" / name).write_text("never to be fetched")
    with serving(tmp_path / "source", tmp_path / "cache", monkeypatch) as server:
        yield server


@pytest.mark.parametrize("name", ["team/tiny", f"team/tiny@{COMMIT}"])
def test_a_hub_model_loads_like_a_folder(hub: Hub, name: str) -> None:
    model, tokenizer = load_checkpoint(name, device="cpu")
    assert tokenizer.encode("ink") == tiny_tokenizer().encode("ink")
    input_ids = torch.arange(30).unsqueeze(0)
    with torch.inference_mode():
        assert torch.equal(model(input_ids), tiny_model()(input_ids))
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= hub.fetched
    assert not {"pytorch_model.bin", "modeling_tiny.py", "README.md"} & hub.fetched


def test_a_model_once_fetched_loads_without_the_hub(hub: Hub) -> None:
    first = inkstone.load("team/tiny").generate("ink", temperature=0, max_new_tokens=9)
    hub.files.clear()
    hub.shutdown()
    hub.server_close()
    assert inkstone.load("team/tiny").generate("ink", temperature=0, max_new_tokens=9) == first


def test_an_unknown_model_is_one_clear_error(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match="no such model on the hub") as caught:
        load_checkpoint("team/huge")
    assert "remedy" in str(caught.value)


def test_no_network_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        use_endpoint(monkeypatch, f"http://127.0.0.1:{unused.getsockname()[1]}", tmp_path / "cache")
    with pytest.raises(CheckpointError, match="the hub cannot be reached"):
        load_checkpoint("team/tiny")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="the hub cannot be reached"):
        load_checkpoint("team/tiny")


@pytest.mark.parametrize("name", ["tests/nothing", "./team/tiny", "../team/tiny", "a/b/c", "nothing", "/no/where"])
def test_a_mistyped_folder_is_not_looked_for_on_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("inkstone.checkpoint.hub.download", lambda name: pytest.fail("asked the hub"))
    with pytest.raises(CheckpointError, match="no such model folder"):
        load_checkpoint(name)


def test_a_revision_pins_the_commit(hub: Hub, tmp_path: Path) -> None:
    model, _ = load_checkpoint("team/tiny", device="cpu", revision=COMMIT)
    assert torch.equal(model(IDS), tiny_model()(IDS))
    assert locate("team/tiny", COMMIT).name == COMMIT == commit_of(locate("team/tiny"))
    assert commit_of(tmp_path) is None
    with pytest.raises(CheckpointError, match="two revisions"):
        load_checkpoint("team/tiny@main", revision=COMMIT)
    with pytest.raises(CheckpointError, match="a folder has no revisions"):
        load_checkpoint(tmp_path / "source", revision=COMMIT)


def test_show_says_which_commit_of_the_hub_it_read(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "team/tiny", "--revision", "main"]) == 0
    assert COMMIT in capsys.readouterr().out


def test_an_offline_cache_is_enough(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    load_checkpoint("team/tiny", device="cpu")
    hub.fetched.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("httpx.HTTPTransport.handle_request", lambda *_, **__: pytest.fail("used the network"))
    assert torch.equal(load_checkpoint("team/tiny", device="cpu")[0](IDS), tiny_model()(IDS))
    assert not hub.fetched
