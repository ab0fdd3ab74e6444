"""The merge stage: one plain model folder, equal to the model with its adapter."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.checkpoint.adapters import ADAPTER_WEIGHTS, load_adapter, save_adapter
from inkstone.checkpoint.merge_stage import MergeConfig, merge
from inkstone.cli import main
from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.core.stage import execute
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.nn.adapters import add_adapter
from tests.tiny_models import tiny_model, tiny_tokenizer

IDS = torch.randint(5, 320, (2, 16), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """A bfloat16 base and a DoRA adapter."""
    inputs = {"model": tmp_path / "base", "adapter": tmp_path / "adapter"}
    save_checkpoint(inputs["model"], tiny_model(), tiny_tokenizer(), dtype=torch.bfloat16)
    model = load_model(inputs["model"], device="cpu")
    adapter = add_adapter(model, LoRAConfig(use_dora=True, modules_to_save=("model.norm",)))
    generator = torch.Generator().manual_seed(2)
    for parameter in adapter.parameters().values():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    save_adapter(inputs["adapter"], adapter, base=inputs["model"])
    return inputs


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_merged_equals_unmerged(folders: dict[str, Path], tmp_path: Path, dtype: str) -> None:
    model = load_model(folders["model"], device="cpu", dtype="float32")
    load_adapter(folders["adapter"], model)
    result = execute(merge, MergeConfig.model_validate({"dtype": dtype}), folders, tmp_path / "merged")
    weights = load_file(tmp_path / "merged/model.safetensors")
    base = load_file(folders["model"] / "model.safetensors")
    assert weights.keys() == base.keys()
    saved = torch.bfloat16 if dtype == "auto" else torch.float32
    assert {value.dtype for value in weights.values()} == {saved}
    oracle = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="float32")
    with torch.inference_mode():
        expected, found = model(IDS), oracle(IDS).logits
    assert (found - expected).norm() / expected.norm() < (1e-5 if dtype == "float32" else 5e-2)
    assert result.summary["adapted_layers"] == 14
    assert 0 <= result.summary["largest_difference"] < (1e-5 if dtype == "float32" else 3e-2)


def test_the_command(folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", str(folders["model"]), "--adapter", str(folders["adapter"])]
    assert main(["merge", *arguments, "--out", str(tmp_path / "merged"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["dtype"] == "bfloat16"
    manifest = json.loads((tmp_path / "merged/manifest.json").read_text("utf-8"))
    assert (manifest["stage"], set(manifest["inputs"])) == ("merge", {"model", "adapter"})
    card = (tmp_path / "merged/README.md").read_text("utf-8")
    assert "| base model | base |" in card
    assert main(["merge", *arguments[2:], "--model", str(folders["adapter"]), "--out", str(tmp_path / "x")]) == 2


def test_values_that_are_not_finite_are_not_called_done(folders: dict[str, Path], tmp_path: Path) -> None:
    path = folders["adapter"] / ADAPTER_WEIGHTS
    values = load_file(path)
    name = next(name for name in values if name.endswith("lora_B.weight"))
    values[name][0, 0] = torch.nan
    save_file(values, path)
    with pytest.raises(CheckpointError, match=r"(?s)differs .* by nan.*not finite"):
        execute(merge, MergeConfig(), folders, tmp_path / "merged")
    assert not (tmp_path / "merged/manifest.json").exists()


def test_several_adapters_are_combined_by_their_weights(tmp_path: Path) -> None:
    base = tmp_path / "base"
    save_checkpoint(base, tiny_model(), tiny_tokenizer())
    expected = {name: value.double() for name, value in load_file(base / "model.safetensors").items()}
    weights = {"first": 0.75, "second": 0.5, "other/first": -1.0}
    for seed, (folder, weight) in enumerate(weights.items()):
        names = ("q_proj", "up_proj") if folder == "first" else ("q_proj", "down_proj")
        adapter = add_adapter(load_model(base, "cpu"), LoRAConfig(r=4, lora_alpha=6, target_modules=names))
        generator = torch.Generator().manual_seed(seed)
        for parameter in adapter.parameters().values():
            parameter.data.normal_(std=0.3, generator=generator)
        save_adapter(tmp_path / folder, adapter, base=base)
        parts = {name: value.double() for name, value in adapter.parameters().items()}
        for target in adapter.targets:
            update = parts[f"{target}.lora_B.weight"] @ parts[f"{target}.lora_A.weight"] * 6 / 4
            expected[f"{target}.weight"] += weight * update.detach()
    others = {str(tmp_path / name): weights[name] for name in ("second", "other/first")}
    inputs = {"model": base, "adapter": tmp_path / "first"}
    execute(merge, MergeConfig(weight=0.75, others=others), inputs, tmp_path / "merged")
    found = load_file(tmp_path / "merged" / "model.safetensors")
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, rtol=0, atol=1e-5)
    card = (tmp_path / "merged" / "README.md").read_text("utf-8")
    assert "0.75 · first + 0.5 · second + -1 · first" in card


def test_what_is_more_than_an_update_cannot_be_weighed(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not only updates"):
        execute(merge, MergeConfig(weight=0.5), folders, tmp_path / "merged")
