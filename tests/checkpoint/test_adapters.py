"""Adapter folders cross to PEFT and back with equal logits, and are written whole."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedModel

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.checkpoint.adapters import ADAPTER_WEIGHTS, PREFIX, load_adapter, save_adapter
from inkstone.core.errors import CheckpointError
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.nn.adapters import add_adapter
from tests.checkpoint import adapter_folders
from tests.checkpoint.adapter_folders import logits, ours, perturb
from tests.tiny_models import tiny_tokenizer

# PEFT asks transformers for a property that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

llama = adapter_folders.llama
SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
SPECIAL = {"pad_token_id": 2, "eos_token_id": 1, "decoder_start_token_id": 2}
BASES: Mapping[str, tuple[type[PreTrainedModel], Any]] = {
    "llama": (
        transformers.LlamaForCausalLM,
        transformers.LlamaConfig(**SMALL, attention_bias=True, tie_word_embeddings=False),
    ),
    "qwen2": (transformers.Qwen2ForCausalLM, transformers.Qwen2Config(**SMALL, num_key_value_heads=2)),
    "qwen3": (transformers.Qwen3ForCausalLM, transformers.Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=8)),
    "gpt2": (
        transformers.GPT2LMHeadModel,
        transformers.GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    ),
    "bert": (transformers.BertForMaskedLM, transformers.BertConfig(**SMALL)),
    "t5": (
        transformers.T5ForConditionalGeneration,
        transformers.T5Config(vocab_size=320, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, **SPECIAL),
    ),
    "marian": (
        transformers.MarianMTModel,
        transformers.MarianConfig(
            vocab_size=320, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64,
            scale_embedding=True, share_encoder_decoder_embeddings=True, forced_eos_token_id=1, **SPECIAL,
        ),
    ),
    "mixtral": (
        transformers.MixtralForCausalLM,
        transformers.MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=3, num_experts_per_tok=2),
    ),
}  # fmt: skip
TARGETS = {
    "gpt2": ["c_attn", "mlp.c_proj"],
    "bert": ["query", "value", "output.dense"],
    "t5": ["q", "v", "wo"],
    "marian": ["q_proj", "v_proj", "fc1"],
    "mixtral": ["q_proj", "o_proj"],
}
AUTO = {"bert": AutoModelForMaskedLM, "t5": AutoModelForSeq2SeqLM, "marian": AutoModelForSeq2SeqLM}
SETTINGS: Mapping[str, dict[str, Any]] = {
    "lora": {"r": 4, "lora_alpha": 16},
    "dora": {"r": 3, "use_dora": True, "bias": "all"},
    "rank-stabilized": {"r": 4, "use_rslora": True, "bias": "lora_only", "layers_to_transform": [1]},
}


@pytest.fixture(scope="module", params=BASES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model as `transformers` saves it, with a tokenizer."""
    folder = tmp_path_factory.mktemp("bases") / str(request.param)
    build, config = BASES[request.param]
    torch.manual_seed(0)
    model = build(config)
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, 1.0 if "norm" in name.lower() or "ln_" in name else 0.0, 0.2)
    model.save_pretrained(folder)
    tiny_tokenizer().save(folder)
    return folder


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS)
def settings(request: pytest.FixtureRequest, base: Path) -> dict[str, Any]:
    return {"target_modules": TARGETS.get(base.name, ["q_proj", "v_proj", "down_proj"]), **request.param}


def theirs(base: Path) -> PreTrainedModel:
    return AUTO.get(base.name, AutoModelForCausalLM).from_pretrained(base).eval()


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=2e-5 * max(1.0, expected.abs().max().item()), rtol=0)


# ---- both ways


def test_peft_loads_ours(base: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    model, adapter = ours(base, **settings)
    save_adapter(tmp_path, adapter, base=base)
    with warnings.catch_warnings():
        # What is missing or unexpected is only a warning there.
        warnings.filterwarnings("error", "Found missing adapter keys")
        oracle = peft.PeftModel.from_pretrained(theirs(base), tmp_path)
    assert_close(logits(model), logits(oracle.eval()))
    assert not torch.allclose(logits(model), logits(theirs(base)), atol=0.05)
    merged, layers = oracle.merge_and_unload(), adapter.targets
    adapter.merge_and_unload()
    assert_close(logits(model), logits(merged))
    for name in layers:
        found, expected = (each.get_submodule(name).state_dict() for each in (model, merged))
        assert found.keys() == expected.keys()
        assert all(torch.allclose(found[key], expected[key], atol=1e-6, rtol=1e-5) for key in found)


def test_we_load_pefts(base: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out")
        oracle = peft.get_peft_model(theirs(base), peft.LoraConfig(**settings)).eval()
    perturb({name: parameter for name, parameter in oracle.named_parameters() if parameter.requires_grad})
    oracle.save_pretrained(tmp_path)
    model = load_model(base, device="cpu")
    adapter = load_adapter(tmp_path, model)
    assert_close(logits(model), logits(oracle))
    stored = {name.removeprefix(PREFIX) for name in load_file(tmp_path / ADAPTER_WEIGHTS)}
    assert set(adapter.parameters()) == stored - set(model.tied_weights)
    merged = logits(oracle.merge_and_unload())
    adapter.merge()
    assert adapter.merged
    assert_close(logits(model), merged)
    adapter.remove()
    plain = logits(load_model(base, device="cpu"))
    assert torch.equal(logits(model), plain)
    assert not torch.allclose(merged, plain, atol=0.05)


def test_patterns_a_whole_module_and_the_output_layer(llama: Path, tmp_path: Path) -> None:
    model, adapter = ours(
        llama,
        r=4,
        target_modules=["q_proj", "up_proj", "lm_head"],
        rank_pattern={"layers.1.self_attn.q_proj": 2},
        alpha_pattern={r".*\.up_proj": 20},
        modules_to_save=["model.norm"],
    )
    save_adapter(tmp_path, adapter)
    oracle = peft.PeftModel.from_pretrained(theirs(llama), tmp_path).eval()
    assert_close(logits(model), logits(oracle))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting `save_embedding_layers`")
        oracle.save_pretrained(tmp_path / "again")
    assert f"{PREFIX}lm_head.base_layer.weight" in load_file(tmp_path / "again" / ADAPTER_WEIGHTS)
    again = load_model(llama, device="cpu")
    load_adapter(tmp_path / "again", again)
    assert torch.equal(logits(again), logits(model))


def test_all_linear_chooses_as_peft_does(llama: Path, tmp_path: Path) -> None:
    oracle = peft.get_peft_model(theirs(llama), peft.LoraConfig(target_modules="all-linear"))
    oracle.save_pretrained(tmp_path)
    _, adapter = ours(llama)
    names = {name.removeprefix(PREFIX) for name in load_file(tmp_path / ADAPTER_WEIGHTS)}
    assert names == set(adapter.parameters())


def test_pefts_auto_class_finds_the_base(llama: Path, tmp_path: Path) -> None:
    model, adapter = ours(llama, target_modules=["q_proj"])
    save_adapter(tmp_path, adapter, base=llama)
    oracle = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path)
    assert_close(logits(model), logits(oracle))


def test_bfloat16_base(llama: Path, tmp_path: Path) -> None:
    model = load_model(llama, device="cpu", dtype="bfloat16")
    adapter = add_adapter(model, LoRAConfig(target_modules=["q_proj", "v_proj"]))
    perturb(adapter.parameters())
    save_adapter(tmp_path, adapter)
    oracle = peft.PeftModel.from_pretrained(theirs(llama).to(torch.bfloat16), tmp_path).eval()
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    assert len(adapter.targets) == 4
    for name, layer in zip(adapter.targets, adapter.layers, strict=True):
        assert torch.equal(layer(x), oracle.get_submodule(PREFIX + name)(x))
    assert {value.dtype for value in load_file(tmp_path / ADAPTER_WEIGHTS).values()} == {torch.float32}


def test_a_classifier_and_its_new_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL, num_labels=3)).save_pretrained(
        tmp_path / "base"
    )
    tiny_tokenizer().save(tmp_path / "base")
    base = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    oracle = peft.get_peft_model(base, peft.LoraConfig(target_modules=["query"], task_type="SEQ_CLS")).eval()
    perturb({name: parameter for name, parameter in oracle.named_parameters() if parameter.requires_grad})
    oracle.save_pretrained(tmp_path / "theirs")
    model = load_model(tmp_path / "base", device="cpu")
    adapter = load_adapter(tmp_path / "theirs", model)
    assert_close(logits(model), logits(oracle))
    perturb(adapter.parameters())
    save_adapter(tmp_path / "ours", adapter)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    assert_close(logits(model), logits(peft.PeftModel.from_pretrained(base, tmp_path / "ours").eval()))


# ---- the folder


def test_what_is_saved_is_what_is_loaded(llama: Path, tmp_path: Path) -> None:
    model, adapter = ours(llama, target_modules=["q_proj"], lora_dropout=0.1, bias="all", use_dora=True)
    save_adapter(tmp_path, adapter, base="owner/name")
    again = load_model(llama, device="cpu")
    loaded = load_adapter(tmp_path, again)
    assert torch.equal(logits(again), logits(model))
    expected = adapter.config.model_copy(update={"base_model_name_or_path": "owner/name", "task_type": "CAUSAL_LM"})
    assert loaded.config == expected
    assert not again.training
    assert all(not module.training for module in again.modules())
    save_adapter(tmp_path / "copy", loaded)
    assert (tmp_path / "copy" / ADAPTER_WEIGHTS).read_bytes() == (tmp_path / ADAPTER_WEIGHTS).read_bytes()
    config = json.loads((tmp_path / "copy/adapter_config.json").read_text("utf-8"))
    assert config == json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "owner/name"


def test_the_card_names_the_base(llama: Path, tmp_path: Path) -> None:
    _, adapter = ours(llama, target_modules=["q_proj"])
    save_adapter(tmp_path, adapter, base='a "base"\nmodel')
    card = (tmp_path / "README.md").read_text("utf-8")
    assert card.startswith('---\nbase_model: "a \\"base\\" model"\nlibrary_name: peft\n')
    assert "| Rank | 8 |" in card


def test_a_merged_adapter_is_saved_all_the_same(llama: Path, tmp_path: Path) -> None:
    _, adapter = ours(llama, target_modules=["q_proj"])
    save_adapter(tmp_path / "before", adapter)
    adapter.merge()
    assert adapter.merged
    save_adapter(tmp_path / "after", adapter)
    assert (tmp_path / "before" / ADAPTER_WEIGHTS).read_bytes() == (tmp_path / "after" / ADAPTER_WEIGHTS).read_bytes()


def test_an_adapted_model_is_not_saved_as_a_model(llama: Path, tmp_path: Path) -> None:
    model, adapter = ours(llama, target_modules=["q_proj"])
    with pytest.raises(CheckpointError, match=r"(?s)an adapter is on the model.*save_adapter.*merge_and_unload"):
        save_checkpoint(tmp_path, model, tiny_tokenizer())
    assert not any(tmp_path.iterdir())
    adapter.merge_and_unload()
    save_checkpoint(tmp_path, model, tiny_tokenizer())
    assert torch.equal(logits(load_model(tmp_path, device="cpu")), logits(model))
