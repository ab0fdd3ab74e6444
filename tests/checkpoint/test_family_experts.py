"""Mixtral and Qwen3-MoE: the contract of decoders, and the same results as `transformers` in both directions."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from inkstone.checkpoint import load_model
from inkstone.checkpoint.families import family_named
from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.nn.layers.experts import SparseMLP, collect_router_logits, load_balancing_loss, route
from inkstone.nn.models.base import Decoder
from inkstone.nn.models.llama import LlamaForCausalLM
from tests.checkpoint import decoder_parity as parity
from tests.nn import contract
from tests.tiny_models import randomized

SHAPE = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 96,
    "pad_token_id": 2,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
QWEN = {"head_dim": 8, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "mixtral": ("Mixtral", {"num_local_experts": 4}),
    "mixtral, 3 of 5, window, tied": (
        "Mixtral",
        {"num_local_experts": 5, "num_experts_per_tok": 3, "sliding_window": 8, "tie_word_embeddings": True},
    ),
    "mixtral, one expert a token, theta": (
        "Mixtral",
        {
            "num_local_experts": 3,
            "num_experts_per_tok": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 777.0},
        },
    ),
    "qwen3_moe": ("Qwen3Moe", QWEN),
    "qwen3_moe, normalized, bias": ("Qwen3Moe", {**QWEN, "norm_topk_prob": True, "attention_bias": True}),
    "qwen3_moe, dense first layer": ("Qwen3Moe", {**QWEN, "mlp_only_layers": [0], "tie_word_embeddings": True}),
    "qwen3_moe, experts in every other layer, window": (
        "Qwen3Moe",
        {**QWEN, "decoder_sparse_step": 2, "use_sliding_window": True, "sliding_window": 8},
    ),
}
FAMILIES = ("mixtral", "qwen3_moe, normalized, bias")


def oracle_of(case: str) -> Any:
    """A random model of `transformers` whose router has clear favorites, different ones for different tokens."""
    name, changes = CASES[case]
    config = getattr(transformers, f"{name}Config")(**{**SHAPE, **changes})
    return randomized(getattr(transformers, f"{name}ForCausalLM")(config)).eval()


@pytest.fixture
def oracle(case: str) -> Any:
    return oracle_of(case)


@pytest.fixture
def model(oracle: Any, tmp_path: Path) -> LlamaForCausalLM:
    """What we load of a folder that `transformers` saved."""
    return parity.load_what_transformers_saved(tmp_path / "theirs", oracle, LlamaForCausalLM)


def tiny_experts(case: str) -> LlamaForCausalLM:
    """A random model of ours."""
    name, changes = CASES[case]
    family = family_named({"Mixtral": "mixtral", "Qwen3Moe": "qwen3_moe"}[name])
    model = family.from_hf({**SHAPE, **changes}).build()
    return randomized(model).eval()


def mixtures(model: torch.nn.Module) -> list[SparseMLP]:
    return [module for module in model.modules() if isinstance(module, SparseMLP)]


@pytest.mark.parametrize("case", ["mixtral", "qwen3_moe, dense first layer"])
@pytest.mark.parametrize("check", contract.DECODER)
def test_contract(check: contract.Check[Decoder], case: str) -> None:
    check(tiny_experts(case))


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_those_of_transformers(model: LlamaForCausalLM, oracle: Any) -> None:
    ids = contract.random_ids(model, 2, 40)
    with collect_router_logits(model) as collected:
        parity.assert_same_logits(model, oracle, ids)
    assert len(collected) == len(mixtures(model)) > 0
    for router_logits, mixture in zip(collected, mixtures(model), strict=True):
        assert router_logits.shape == (80, len(mixture.experts))
        _, chosen = route(router_logits, mixture.num_experts_per_tok, normalize=False)
        assert len(chosen.unique()) >= 3, "tokens go to several experts"
        assert len(chosen.unique(dim=0)) >= 3, "different tokens go to different experts"


@pytest.mark.parametrize("case", CASES)
def test_transformers_loads_what_is_saved_here(case: str, tmp_path: Path) -> None:
    model = tiny_experts(case)
    kind = getattr(transformers, f"{CASES[case][0]}ForCausalLM")
    theirs = parity.load_there_what_is_saved_here(tmp_path, model, kind)
    parity.assert_same_logits(model, theirs, contract.random_ids(model, 2, 40))


@pytest.mark.parametrize("case", CASES)
def test_files_have_the_names_of_the_hub(model: LlamaForCausalLM, oracle: Any, case: str, tmp_path: Path) -> None:
    saved = load_file(tmp_path / "theirs" / "model.safetensors")
    assert saved.keys() == {name for name, _ in model.named_parameters()}
    expert = "block_sparse_moe.experts.1.w1" if case.startswith("mixtral") else "mlp.experts.1.gate_proj"
    assert f"model.layers.1.{expert}.weight" in saved


@pytest.mark.parametrize("case", CASES)
def test_packed_files_load_too(case: str, tmp_path: Path) -> None:
    oracle = oracle_of(case)
    oracle.save_pretrained(tmp_path, save_original_format=False)
    assert "model.layers.1.mlp.experts.gate_up_proj" in load_file(tmp_path / "model.safetensors")
    model = load_model(tmp_path, device="cpu")
    parity.assert_same_logits(model, oracle, contract.random_ids(model, 2, 40))
    again = load_model(tmp_path, device="cpu", dtype="bfloat16")
    for name, parameter in model.named_parameters():
        assert torch.equal(again.get_parameter(name), parameter.bfloat16())


@pytest.mark.parametrize("shape", [(5, 48, 32), (4, 47, 32), (4, 48), (1 << 40, 2, 0)], ids=str)
def test_packed_experts_that_do_not_fit_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    oracle_of("mixtral").save_pretrained(tmp_path, save_original_format=False)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.layers.0.mlp.experts.gate_up_proj"] = torch.empty(shape)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="experts"):
        load_model(tmp_path, device="cpu")


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_is_within_two_percent_of_transformers(case: str, tmp_path: Path) -> None:
    oracle = oracle_of(case)
    with torch.no_grad():
        for name, parameter in oracle.named_parameters():
            if ".layers." in name and "norm" not in name and "mlp.gate" not in name:
                parameter.mul_(0.35)  # so little noise that it changes no token's experts, which would be no rounding
    oracle.to(torch.bfloat16)
    model = parity.load_what_transformers_saved(tmp_path, oracle, LlamaForCausalLM, "bfloat16")
    parity.assert_logits_within_two_percent(model, oracle, contract.random_ids(model, 2, 24))


@pytest.mark.parametrize("case", FAMILIES)
def test_same_greedy_tokens_as_transformers(model: LlamaForCausalLM, oracle: Any) -> None:
    parity.assert_same_greedy_tokens(model, oracle, contract.random_ids(model, 1, 8))


@pytest.mark.parametrize("case", FAMILIES)
def test_left_padding_equals_that_of_transformers(model: LlamaForCausalLM, oracle: Any) -> None:
    ids, mask = contract.random_ids(model), contract.padding_mask(left=True)
    parity.assert_same_logits_with_padding(model, oracle, ids, mask)


@pytest.mark.parametrize("case", FAMILIES)
def test_gradients_of_both_losses_equal_those_of_transformers(model: LlamaForCausalLM, oracle: Any) -> None:
    ids = contract.random_ids(model, 2, 16)
    output = oracle(ids, labels=ids, output_router_logits=True)
    (output.loss).backward()
    with collect_router_logits(model) as collected:
        logits = model(ids)
    balance = load_balancing_loss(collected, model.config.num_experts_per_tok)
    torch.testing.assert_close(balance, output.aux_loss)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    (loss + model.config.router_aux_loss_coef * balance).backward()
    expected = {name: parameter.grad for name, parameter in oracle.named_parameters()}
    for index, block in enumerate(model.blocks):
        prefix = f"model.layers.{index}."
        gate, first = mixtures(block)[0].gate, mixtures(block)[0].experts[1]
        assert_close_gradient(gate.weight.grad, expected[prefix + "mlp.gate.weight"])
        gate_proj, up_proj = (first.w1, first.w3) if hasattr(first, "w1") else (first.gate_proj, first.up_proj)
        packed = torch.cat((gate_proj.weight.grad, up_proj.weight.grad))
        assert_close_gradient(packed, expected[prefix + "mlp.experts.gate_up_proj"][1])
    embedding = model.get_parameter("model.embed_tokens.weight")
    assert_close_gradient(embedding.grad, expected["model.embed_tokens.weight"])


def assert_close_gradient(actual: Tensor, expected: Tensor) -> None:
    assert expected.any()
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("head", ["SequenceClassification", "TokenClassification", "QuestionAnswering"])
@pytest.mark.parametrize("case", FAMILIES)
def test_headed_classes_load(case: str, head: str, tmp_path: Path) -> None:
    name, changes = CASES[case]
    config = getattr(transformers, f"{name}Config")(**{**SHAPE, **changes, "num_labels": 3})
    oracle = randomized(getattr(transformers, f"{name}For{head}")(config)).eval()
    oracle.save_pretrained(tmp_path)
    model = load_model(tmp_path, device="cpu")
    ids = contract.random_ids(model, 2, 12)
    with torch.inference_mode():
        output = oracle(ids)
        span = head == "QuestionAnswering"
        expected = torch.stack((output.start_logits, output.end_logits), -1) if span else output.logits
        torch.testing.assert_close(model(ids), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_configs_survive_the_way_to_hugging_face_and_back(case: str) -> None:
    config = tiny_experts(case).config
    family = family_named(config.model_type)
    assert family.from_hf(json.loads(json.dumps(family.to_hf(config)))) == config


def test_defaults_are_those_of_the_published_models() -> None:
    mixtral = family_named("mixtral").from_hf({})
    qwen = family_named("qwen3_moe").from_hf({"num_hidden_layers": 48, "head_dim": 128, "num_experts": 128})
    assert mixtral.num_parameters() == 46_702_792_704  # Mixtral-8x7B
    assert qwen.num_parameters() == 30_532_122_624  # Qwen3-30B-A3B


@pytest.mark.parametrize("case", FAMILIES)
def test_what_writes_into_the_residual_stream_starts_smaller(case: str) -> None:
    model = tiny_experts(case)
    model.init_weights(torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            expected = 0.01 if name.endswith(("o_proj.weight", "w2.weight", "down_proj.weight")) else 0.02  # 4 of them
            assert parameter.std().item() == pytest.approx(expected, rel=0.2), name


@pytest.mark.parametrize(
    ("case", "changes"),
    [("mixtral", {"num_experts_per_tok": 9}), ("qwen3_moe", {"num_experts_per_tok": 9, "num_local_experts": 4})],
    ids=["mixtral", "qwen3_moe"],
)
def test_more_experts_per_token_than_there_are_is_refused(case: str, changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="num_experts_per_tok 9 is more than"):
        family_named(case).from_hf({**SHAPE, **changes})
