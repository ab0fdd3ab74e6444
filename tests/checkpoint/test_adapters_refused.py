"""An adapter folder that is damaged, or does not fit, is refused with one clear error; the model is as before."""

import json
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inkstone.checkpoint import load_model
from inkstone.checkpoint.adapters import ADAPTER_WEIGHTS, PREFIX, load_adapter, save_adapter
from inkstone.core.errors import CheckpointError
from inkstone.nn.adapters import is_adapted
from inkstone.nn.models.gpt2 import GPT2Config, GPT2LMHeadModel
from tests.checkpoint import adapter_folders
from tests.checkpoint.adapter_folders import logits, ours

llama = adapter_folders.llama


@pytest.fixture
def saved(llama: Path, tmp_path: Path) -> Path:
    _, adapter = ours(llama, target_modules=["q_proj", "v_proj"], use_dora=True)
    save_adapter(tmp_path / "adapter", adapter, base=llama)
    return tmp_path / "adapter"


Damage = Callable[[Path], None]


def config_key(**keys: Any) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | keys), "utf-8")

    return damage


def tensors(change: Callable[[dict[str, Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        values = load_file(folder / ADAPTER_WEIGHTS)
        change(values)
        save_file({name: value.contiguous() for name, value in values.items()}, folder / ADAPTER_WEIGHTS)

    return damage


def to_pickle(folder: Path) -> None:
    (folder / ADAPTER_WEIGHTS).rename(folder / "adapter_model.bin")


def raw_weights(data: bytes) -> Damage:
    return lambda folder: (folder / ADAPTER_WEIGHTS).write_bytes(data) and None


def raw_config(text: str) -> Damage:
    return lambda folder: (folder / "adapter_config.json").write_text(text, "utf-8") and None


Q0 = f"{PREFIX}model.layers.0.self_attn.q_proj"
DAMAGES: Mapping[str, tuple[Damage, str]] = {
    "no config": (lambda folder: (folder / "adapter_config.json").unlink(), "not an adapter folder"),
    "no weights": (lambda folder: (folder / ADAPTER_WEIGHTS).unlink(), "is missing"),
    "pickle": (to_pickle, r"(?s)pickled \(adapter_model.bin\).*safe_serialization=True"),
    "broken config": (raw_config("{"), "malformed JSON"),
    "deep config": (raw_config("[" * 100_000), "malformed JSON"),
    "long config": (raw_config(" " * 1_000_001), "larger than 1,000,000 bytes"),
    "list": (raw_config("[]"), "expected a JSON object"),
    "cut weights": (raw_weights(struct.pack("<Q", 10_000) + b"{}"), "truncated"),
    "peft_type": (config_key(peft_type="IA3"), r"(?s)peft_type 'IA3' is not supported.*LORA"),
    "no peft_type": (config_key(peft_type=None), "peft_type None"),
    "other kind of LoRA": (config_key(lora_bias=True), "'lora_bias' is set"),
    "experts": (config_key(target_parameters=["experts.down_proj"]), "'target_parameters' is set"),
    "pissa": (config_key(init_lora_weights="pissa_niter_4"), "(?s)init_lora_weights 'pissa_niter_4'.*convert"),
    "huge rank": (config_key(r=10**12), r"but its rank is 1000000000000"),
    "other rank": (config_key(r=4), r"(?s)q_proj.lora_A.weight has shape \[8, 32\], but its rank is 4.*do not belong"),
    "text for a rank": (config_key(r="many"), "adapter_config.json: r: "),
    "slow pattern": (config_key(rank_pattern={"(a+)+b": 4}), "may take too long"),
    "list for a pattern": (config_key(rank_pattern=["a"]), "rank_pattern"),
    "no DoRA in the config": (config_key(use_dora=False), "lora_magnitude_vector.* unexpected"),
    "no biases in the file": (config_key(modules_to_save=["lm_head"]), "'lm_head.weight' missing"),
    "more targets": (config_key(target_modules=["q_proj", "v_proj", "o_proj"]), "o_proj.lora_A.* missing: target_mod"),
    "half a layer": (tensors(lambda t: t.pop(f"{Q0}.lora_B.weight")), "q_proj.lora_B.weight is missing"),
    "no magnitude": (tensors(lambda t: t.pop(f"{Q0}.lora_magnitude_vector")), "lora_magnitude_vector' missing"),
    "nothing": (tensors(dict.clear), "holds no adapter"),
    "additional tensor": (tensors(lambda t: t.update({PREFIX + "x.y": torch.ones(1)})), "'x.y' unexpected"),
    "foreign name": (tensors(lambda t: t.update({"x": torch.ones(1)})), "'x' is no name of PEFT's"),
    "integers": (tensors(lambda t: t.update({f"{Q0}.lora_A.weight": torch.ones(8, 32).int()})), "no floating-point"),
    "another width": (
        tensors(lambda t: t.update({f"{Q0}.lora_A.weight": torch.ones(8, 40)})),
        r"(?s)made for another model.*\[8, 40\] instead of \[8, 32\].*load the model that it was trained on, /",
    ),
    "another depth": (
        tensors(lambda t: t.update({f"{PREFIX}model.layers.7.self_attn.q_proj.lora_A.weight": torch.ones(8, 32)})),
        "made for another model: it adapts 'model.layers.7.self_attn.q_proj', which this one lacks",
    ),
    "another magnitude": (
        tensors(lambda t: t.update({f"{Q0}.lora_magnitude_vector": torch.ones(31)})),
        r"another model: .*lora_magnitude_vector has shape \[31\]",
    ),
    "embedding": (
        tensors(lambda t: t.update({f"{PREFIX}model.embed_tokens.lora_embedding_A": torch.ones(8, 320)})),
        "adapters on embeddings are not supported",
    ),
    "another base": (
        tensors(lambda t: t.update({f"{PREFIX}model.norm.weight": torch.ones(32)})),
        "made for another model: it brings another model.norm.weight",
    ),
    "resized vocabulary": (
        tensors(lambda t: t.update({f"{PREFIX}lm_head.weight": torch.ones(321, 32)})),
        r"it brings another lm_head.weight, \[321, 32\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_what_does_not_fit_is_refused(saved: Path, llama: Path, damage: Damage, message: str) -> None:
    damage(saved)
    model = load_model(llama, device="cpu")
    expected = logits(model)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_adapter(saved, model)
    assert caught.value.where is not None
    assert str(saved) in caught.value.where
    assert caught.value.remedy
    assert not is_adapted(model)
    assert torch.equal(logits(model), expected)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_folder_is_no_adapter(llama: Path) -> None:
    with pytest.raises(CheckpointError, match="a model folder, not an adapter"):
        load_adapter(llama, load_model(llama, device="cpu"))


def test_another_family(saved: Path) -> None:
    config = GPT2Config(vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=64, max_position_embeddings=32)  # fmt: skip
    model = GPT2LMHeadModel(config)
    with pytest.raises(CheckpointError, match="made for another model: it adapts"):
        load_adapter(saved, model)
    assert not is_adapted(model)


def test_a_link_out_of_the_folder(saved: Path, llama: Path, tmp_path: Path) -> None:
    shutil.move(saved / ADAPTER_WEIGHTS, tmp_path / "elsewhere")
    (saved / ADAPTER_WEIGHTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="outside of the folder"):
        load_adapter(saved, load_model(llama, device="cpu"))


def test_random_damage_gives_only_our_errors(saved: Path, llama: Path) -> None:
    numbers = torch.Generator().manual_seed(0)
    model = load_model(llama, device="cpu")
    expected = logits(model)
    for name in ("adapter_config.json", ADAPTER_WEIGHTS):
        original = (saved / name).read_bytes()
        head = min(len(original), 2500)
        refused = 0
        for _ in range(150):
            data = bytearray(original)
            for _ in range(int(torch.randint(1, 4, (), generator=numbers))):
                data[int(torch.randint(head, (), generator=numbers))] = int(torch.randint(256, (), generator=numbers))
            (saved / name).write_bytes(data)
            try:
                load_adapter(saved, model).remove()
            except CheckpointError:
                refused += 1
            assert not is_adapted(model)
        assert refused > 75
        assert torch.equal(logits(model), expected)
        (saved / name).write_bytes(original)
