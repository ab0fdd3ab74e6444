"""`inkstone show`: what a folder is, without reading its weights."""

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from inkstone.checkpoint import save_checkpoint, write_safetensors
from inkstone.checkpoint.describe import describe
from inkstone.cli import main
from inkstone.core.errors import CheckpointError
from tests.tiny_models import tiny_model, tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "model", tiny_model(num_key_value_heads=2), tiny_tokenizer(), max_shard_size="40KB")
    return tmp_path / "model"


def test_facts_of_a_model(folder: Path) -> None:
    model = tiny_model(num_key_value_heads=2)
    facts = describe(folder)
    assert facts["kind"] == "model"
    assert (facts["family"], facts["architecture"]) == ("llama", "LlamaForCausalLM")
    assert facts["parameters"] == model.num_parameters()
    assert facts["dtype"] == "float32"
    assert facts["weights_bytes"] == 4 * model.num_parameters()
    assert facts["files"] == len(list(folder.glob("model-*.safetensors")))
    assert facts["tokenizer"]["vocabulary"] == 320
    assert facts["tokenizer"]["chat_template"] is False
    assert facts["labels"] is None
    assert facts["made_by"] is None
    cache = 2 * 2 * 2 * 8 * 64  # keys and values of 2 layers, 2 heads of 8, 64 positions
    assert facts["memory_to_run_bytes"] == 4 * (model.num_parameters() + cache)
    assert facts["memory_to_train_bytes"] == 16 * model.num_parameters()


def test_weights_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkstone.checkpoint.safetensors_file.SafetensorsFile.mapped", lambda *_: pytest.fail("read"))
    describe(folder)


def test_labels_of_a_head(tmp_path: Path) -> None:
    labels = {0: "bad", 1: "good"}
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 40}
    BertForSequenceClassification(BertConfig(vocab_size=320, id2label=labels, **shape)).save_pretrained(tmp_path)
    facts = describe(tmp_path)
    assert facts["labels"] == ["bad", "good"]
    assert facts["architecture"] == "BertForSequenceClassification"
    assert facts["tokenizer"] is None


def test_an_adapter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"peft_type": "LORA", "base_model_name_or_path": "team/base", "r": 4, "lora_alpha": 8}
    keys |= {"target_modules": ["q_proj", "v_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(keys))
    write_safetensors(tmp_path / "adapter_model.safetensors", {"a": torch.zeros(4, 8), "b": torch.zeros(8, 4)})
    facts = describe(tmp_path)
    assert (facts["kind"], facts["rank"], facts["parameters"]) == ("adapter", 4, 64)
    assert main(["show", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "LORA, rank 4, alpha 8" in shown
    assert "team/base" in shown
    assert "q_proj, v_proj" in shown


def test_the_command_shows_lineage_and_settings(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(folder), "--out", str(tmp_path / "copy"), "--dtype", "float16"]) == 0
    capsys.readouterr()
    assert main(["show", str(tmp_path / "copy")]) == 0
    shown = capsys.readouterr().out
    for text in (
        "llama (LlamaForCausalLM)",
        "float16",
        "in 1 file",
        "320 tokens",
        "none",
        "convert at 20",
        str(folder),
    ):
        assert text in shown
    assert main(["show", str(tmp_path / "copy"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["made_by"] == "convert"
    assert facts["made_from"] == {"model": str(folder)}
    assert facts["dtype"] == "float16"


def test_what_is_no_model_is_one_clear_error(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path / "nothing")]) == 2
    assert "no such model folder" in capsys.readouterr().err
    (folder / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="expected a JSON object"):
        describe(folder)
