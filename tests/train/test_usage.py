import pytest
import torch

from inkstone.core.limits import peak_flops
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.nn.adapters import add_adapter
from inkstone.nn.architectures import ARCHITECTURES
from inkstone.tokenizer import Tokenizer
from inkstone.train.learning import build_model, equip
from inkstone.train.switches import quantize_base
from inkstone.train.usage import TrainingFlops, peak_memory_bytes
from tests.tiny_models import tiny_model
from tests.train.test_from_scratch import settings

LLAMA_BLOCK = 4 * 32 * 32 + 3 * 32 * 80
"""Weights of the matrices of a block of `tiny_model`."""


def test_a_llama_by_hand() -> None:
    weights = 2 * LLAMA_BLOCK + 320 * 32
    assert TrainingFlops.of(tiny_model()).per_token(0) == 6 * weights
    assert TrainingFlops.of(tiny_model(tie_word_embeddings=False)).per_token(0) == 6 * weights
    assert TrainingFlops.of(tiny_model()).per_token(64) == 6 * weights + 2 * 12 * 32 * 64


@pytest.mark.parametrize("quantized", [False, True])
def test_frozen_weights_have_no_gradient_of_their_own(quantized: bool) -> None:
    model = tiny_model()
    if quantized:
        quantize_base(model, "int4")
    adapter = add_adapter(model, LoRAConfig(r=2))
    base = 2 * LLAMA_BLOCK + 320 * 32
    assert TrainingFlops.of(model).per_token(0) == 4 * base + 6 * adapter.num_parameters()


def test_experts_count_as_often_as_they_compute(tokenizer: Tokenizer) -> None:
    model = build_model(settings("mixtral"), tokenizer)
    config = model.config.model_dump()
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    block = 2 * hidden * hidden + 2 * hidden * kv + 4 * hidden + config["num_experts_per_tok"] * 3 * hidden * inner
    assert TrainingFlops.of(model).per_token(0) == 6 * (2 * block + hidden * config["vocab_size"])


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
def test_every_family_is_near_six_for_a_weight(arch: str, tokenizer: Tokenizer) -> None:
    config = settings(arch)
    model = build_model(config, equip(tokenizer, config))
    flops, stacks = TrainingFlops.of(model), 2 if arch in ("t5", "marian") else 1
    assert 2 < stacks * flops.per_token(0, 1 / stacks) / model.num_parameters() <= 6
    assert (flops.per_token(10) > flops.per_token(0)) is (arch != "lstm")
    assert flops.output > 0


def test_the_output_layer_computes_for_tokens_that_carry_loss() -> None:
    assert TrainingFlops.of(tiny_model()).per_token(0, 0.25) == 6 * (2 * LLAMA_BLOCK + 320 * 32 / 4)


def test_measuring_draws_no_random_numbers() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    peak_flops.cache_clear()
    assert peak_flops(torch.device("cpu"), torch.float32) > 1e8
    assert torch.equal(torch.rand(3), expected)
    assert peak_memory_bytes(torch.device("cpu")) > 10**7
