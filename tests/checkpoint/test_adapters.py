"""Adapter folders cross to PEFT and back with equal logits; what does not fit is refused with one clear error."""

import json
import shutil
import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedModel

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.checkpoint.adapters import ADAPTER_WEIGHTS, PREFIX, load_adapter, save_adapter
from inkstone.core.errors import CheckpointError
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.nn.adapters import Adapter, add_adapter, is_adapted
from inkstone.nn.models.base import EncoderDecoder, Model
from inkstone.nn.models.gpt2 import GPT2Config, GPT2LMHeadModel
from tests.tiny_models import tiny_model, tiny_tokenizer

# PEFT asks transformers for a property that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

IDS = torch.randint(5, 320, (2, 16), generator=torch.Generator().manual_seed(1))
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


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases") / "tiny-llama"
    save_checkpoint(folder, tiny_model(tie_word_embeddings=False, num_key_value_heads=2), tiny_tokenizer())
    return folder


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS)
def settings(request: pytest.FixtureRequest, base: Path) -> dict[str, Any]:
    return {"target_modules": TARGETS.get(base.name, ["q_proj", "v_proj", "down_proj"]), **request.param}


def theirs(base: Path) -> PreTrainedModel:
    return AUTO.get(base.name, AutoModelForCausalLM).from_pretrained(base).eval()


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        two_sided = isinstance(model, EncoderDecoder) or getattr(model.config, "is_encoder_decoder", False)
        output = model(input_ids=IDS, **({"decoder_input_ids": IDS[:, :9]} if two_sided else {}))
        return output if isinstance(output, Tensor) else output.logits


def perturb(parameters: Mapping[str, nn.Parameter]) -> None:
    generator = torch.Generator().manual_seed(7)
    for parameter in parameters.values():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def ours(base: Path, **settings: Any) -> tuple[Model, Adapter]:
    model = load_model(base, device="cpu")
    adapter = add_adapter(model, LoRAConfig(**settings), torch.Generator().manual_seed(3))
    perturb(adapter.parameters())
    return model, adapter


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
    assert_close(logits(model), merged)
    adapter.remove()
    assert torch.equal(logits(model), logits(load_model(base, device="cpu")))


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
    save_adapter(tmp_path / "after", adapter)
    assert (tmp_path / "before" / ADAPTER_WEIGHTS).read_bytes() == (tmp_path / "after" / ADAPTER_WEIGHTS).read_bytes()


def test_an_adapted_model_is_not_saved_as_a_model(llama: Path, tmp_path: Path) -> None:
    model, adapter = ours(llama, target_modules=["q_proj"])
    with pytest.raises(CheckpointError, match=r"(?s)an adapter is on the model.*save_adapter.*merge_and_unload"):
        save_checkpoint(tmp_path, model, tiny_tokenizer())
    assert not any(tmp_path.iterdir())
    adapter.merge_and_unload()
    save_checkpoint(tmp_path, model, tiny_tokenizer())


# ---- refusals


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
    with pytest.raises(CheckpointError, match="made for another model: it adapts"):
        load_adapter(saved, GPT2LMHeadModel(config))


def test_a_link_out_of_the_folder(saved: Path, llama: Path, tmp_path: Path) -> None:
    shutil.move(saved / ADAPTER_WEIGHTS, tmp_path / "elsewhere")
    (saved / ADAPTER_WEIGHTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="outside of the folder"):
        load_adapter(saved, load_model(llama, device="cpu"))


def test_random_damage_gives_only_our_errors(saved: Path, llama: Path) -> None:
    numbers = torch.Generator().manual_seed(0)
    model = load_model(llama, device="cpu")
    for name in ("adapter_config.json", ADAPTER_WEIGHTS):
        original = (saved / name).read_bytes()
        head = min(len(original), 2500)
        for _ in range(150):
            data = bytearray(original)
            for _ in range(int(torch.randint(1, 4, (), generator=numbers))):
                data[int(torch.randint(head, (), generator=numbers))] = int(torch.randint(256, (), generator=numbers))
            (saved / name).write_bytes(data)
            try:
                load_adapter(saved, model).remove()
            except CheckpointError:
                assert not is_adapted(model)
        (saved / name).write_bytes(original)
