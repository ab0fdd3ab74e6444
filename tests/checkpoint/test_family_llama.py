"""Llama and its relatives: the contract of decoders, and parity with `transformers` both ways."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.core.errors import CheckpointError
from inkstone.nn.models.base import Decoder
from inkstone.nn.models.llama import LlamaForCausalLM
from tests.checkpoint import decoder_parity as parity
from tests.engine.generating import generate_batch
from tests.nn import contract
from tests.tiny_models import randomized, tiny_tokenizer

SHAPE = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "pad_token_id": 2,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.25, 1.5],
    "long_factor": [1.0, 2.0, 4.0],
    "rope_theta": 10_000.0,
    "partial_rotary_factor": 0.75,
}
WINDOW = {"use_sliding_window": True, "sliding_window": 8}
CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama tied, multi-head": ("Llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "llama all biases, wide heads": ("Llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 12}),
    "llama gelu": ("Llama", {"hidden_act": "gelu", "rms_norm_eps": 1e-2, "num_key_value_heads": 1}),
    "llama 3.1 rope": ("Llama", {"rope_parameters": {**LLAMA3, "rope_theta": 500_000.0}}),
    "llama linear rope": ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 777.0}}),
    "llama dynamic rope": ("Llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}),
    "mistral window": ("Mistral", {"sliding_window": 8}),
    "mistral without window": ("Mistral", {"sliding_window": None, "head_dim": 16}),
    "qwen2": ("Qwen2", {}),
    "qwen2 window in the last layer": ("Qwen2", {**WINDOW, "max_window_layers": 1, "tie_word_embeddings": True}),
    "qwen2 window in the first layer": (
        "Qwen2",
        {**WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "qwen2 yarn": ("Qwen2", {"rope_parameters": {**YARN, "rope_theta": 1e6}}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "qwen3 bias, window": ("Qwen3", {"head_dim": 8, "attention_bias": True, **WINDOW, "max_window_layers": 0}),
    "qwen3 yarn, odd borders": (
        "Qwen3",
        {
            "head_dim": 16,
            "rope_parameters": {**YARN, "rope_theta": 1e4, "beta_fast": 8.0, "beta_slow": 2.0, "truncate": False},
        },
    ),
    "smollm3": ("SmolLM3", {"no_rope_layers": [1, 0]}),
    "smollm3 window, biases": (
        "SmolLM3",
        {"no_rope_layers": [1, 0], **WINDOW, "attention_bias": True, "mlp_bias": True},
    ),
    "smollm3 by interval": ("SmolLM3", {"no_rope_layer_interval": 2}),
    "olmo2": ("Olmo2", {}),
    "olmo2 bias": ("Olmo2", {"attention_bias": True, "num_key_value_heads": 4}),
    "phi3": ("Phi3", {}),
    "phi3 window": ("Phi3", {"sliding_window": 8, "tie_word_embeddings": True}),
    "phi3 partly rotated": (
        "Phi3",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
    ),
    "phi3 longrope": ("Phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 96}),
}


def oracle_of(case: str, spread: float = 0.3) -> Any:
    """A random model of `transformers`, far from uniform, norms and biases random too."""
    name, changes = CASES[case]
    config = getattr(transformers, f"{name}Config")(**{**SHAPE, **changes})
    return randomized(getattr(transformers, f"{name}ForCausalLM")(config), spread=spread).eval()


@pytest.fixture
def oracle(case: str) -> Any:
    return oracle_of(case)


@pytest.fixture
def model(oracle: Any, tmp_path: Path) -> LlamaForCausalLM:
    """What we load of a folder that `transformers` saved."""
    return parity.load_what_transformers_saved(tmp_path / "theirs", oracle, LlamaForCausalLM)


def assert_tables_of_no_use_left_out(model: Decoder, oracle: Any) -> None:
    assert {name for name, _ in model.named_parameters()} == {name for name, _ in oracle.named_parameters()}


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_those_of_transformers(model: LlamaForCausalLM, oracle: Any) -> None:
    assert_tables_of_no_use_left_out(model, oracle)
    ids = contract.random_ids(model, 2, 90)
    parity.assert_same_logits(model, oracle, ids)
    parity.assert_same_logits_with_padding(model, oracle, ids, contract.padding_mask((90, 37), 90, left=True))


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_logits_equal_those_of_transformers(case: str, tmp_path: Path) -> None:
    oracle = oracle_of(case, spread=0.1).to(torch.bfloat16)
    ours = parity.load_what_transformers_saved(tmp_path, oracle, LlamaForCausalLM, "bfloat16")
    theirs = type(oracle).from_pretrained(tmp_path, dtype=torch.bfloat16)
    parity.assert_logits_within_two_percent(ours, theirs, contract.random_ids(ours, 2, 40))


@pytest.mark.parametrize("case", CASES)
def test_greedy_tokens_equal_those_of_transformers(model: LlamaForCausalLM, oracle: Any) -> None:
    prompts = [contract.random_ids(model, 1, size, seed=size)[0].tolist() for size in (5, 12, 1)]
    longest = max(map(len, prompts))
    ids = torch.tensor([[2] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = contract.padding_mask([len(prompt) for prompt in prompts], longest, left=True)
    theirs = oracle.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=64, eos_token_id=None)
    expected = theirs[:, longest:].tolist()
    assert [each[0].token_ids for each in generate_batch(model, prompts, parity.GREEDY)] == expected


@pytest.mark.parametrize("case", CASES)
def test_transformers_loads_what_is_saved_here(model: LlamaForCausalLM, oracle: Any, tmp_path: Path) -> None:
    again = parity.load_there_what_is_saved_here(tmp_path / "ours", model, type(oracle))
    ids = contract.random_ids(model, 2, 90)
    with torch.inference_mode():
        torch.testing.assert_close(again(ids).logits, oracle(ids).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_configs_survive_the_way_to_hugging_face_and_back(model: LlamaForCausalLM, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "ours", model, tiny_tokenizer())
    assert load_model(tmp_path / "ours", device="cpu").config == model.config


CONTRACT_CASES = (
    "llama all biases, wide heads",
    "llama 3.1 rope",
    "mistral window",
    "qwen2 window in the last layer",
    "qwen3",
    "smollm3",
    "olmo2",
    "phi3 longrope",
)


@pytest.mark.parametrize("case", CONTRACT_CASES)
@pytest.mark.parametrize("check", contract.DECODER)
def test_contract(check: contract.Check[Decoder], model: LlamaForCausalLM) -> None:
    check(model)


@pytest.mark.parametrize(
    ("case", "keys"),
    [
        ("llama 3.1 rope", {"rope_scaling": LLAMA3, "rope_theta": 500_000.0}),
        ("llama linear rope", {"rope_scaling": {"type": "linear", "factor": 2.5}, "rope_theta": 777.0}),
        ("qwen2 yarn", {"rope_scaling": {"type": "yarn", **YARN}, "rope_theta": 1e6}),
        (
            "phi3 longrope",
            {
                "rope_scaling": {
                    "type": "su",
                    "short_factor": LONGROPE["short_factor"],
                    "long_factor": LONGROPE["long_factor"],
                },
                "rope_theta": 10_000.0,
                "partial_rotary_factor": 0.75,
            },
        ),
    ],
)
def test_rope_is_read_as_transformers_4_wrote_it(
    case: str, keys: Mapping[str, Any], model: LlamaForCausalLM, tmp_path: Path
) -> None:
    config_file = tmp_path / "theirs" / "config.json"
    config = json.loads(config_file.read_text())
    del config["rope_parameters"]
    config_file.write_text(json.dumps({**config, **keys}))
    assert load_model(tmp_path / "theirs", device="cpu").config == model.config


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        ("llama", {"rope_scaling": {"type": "ntk-by-parts", "factor": 2}}, r"rope_type 'ntk-by-parts'[^$]*longrope"),
        ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 0.5}}, "factor"),
        ("llama", {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "by layer type"),
        ("llama", {"partial_rotary_factor": 0.5}, r"partial_rotary_factor 0\.5"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama", {"hidden_act": "mystery"}, "hidden_act"),
        ("llama", {"num_key_value_heads": 3}, "num_key_value_heads 3"),
        ("llama", {"hidden_size": "wide"}, "hidden_size"),
        ("phi3", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "longrope"),
        ("phi3", {"rope_scaling": {**LONGROPE, "short_factor": [1.0]}}, r"short_factor must have 3"),
        ("phi3", {"partial_rotary_factor": 0.4, "rope_parameters": None}, r"partial_rotary_factor 0\.4"),
        ("smollm3", {"no_rope_layers": [1]}, "no_rope_layers has 1"),
        ("qwen2", {**WINDOW, "layer_types": ["chunked_attention", "full_attention"]}, "layer_types"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    case: str, changes: Mapping[str, Any], message: str, model: LlamaForCausalLM, tmp_path: Path
) -> None:
    config_file = tmp_path / "theirs" / "config.json"
    config_file.write_text(json.dumps({**json.loads(config_file.read_text()), **changes}))
    with pytest.raises(CheckpointError, match=message) as error:
        load_model(tmp_path / "theirs", device="cpu")
    assert error.value.remedy


@pytest.mark.parametrize("case", ["phi3 longrope"])
def test_longrope_ends_at_the_original_context(model: LlamaForCausalLM) -> None:
    assert model.context == 96
    assert model.config.max_position_embeddings == 128


@pytest.mark.parametrize("case", ["llama"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_files(case: str, oracle: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    oracle.to(dtype).save_pretrained(tmp_path)
    for asked in ("float32", "bfloat16", "float16"):
        model = load_model(tmp_path, device="cpu", dtype=asked)
        assert str(model.dtype) == f"torch.{asked}"
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, oracle.get_parameter(name).to(parameter.dtype)), name
