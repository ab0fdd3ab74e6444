import pytest
import torch
from pydantic import TypeAdapter
from torch.nn import functional as F
from transformers import LlamaConfig as HFLlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from inkstone.nn.layers import loss as loss_module
from inkstone.nn.layers.loss import linear_cross_entropy
from inkstone.nn.layers.norm import RMSNorm
from inkstone.nn.layers.rope import RotaryEmbedding, apply_rope, positions
from inkstone.nn.layers.rope_scaling import RopeScaling


def test_rms_norm_equals_the_equation() -> None:
    norm = RMSNorm(8, eps=1e-6)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(3, 8)
    expected = x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6) * norm.weight
    torch.testing.assert_close(norm(x), expected)


def test_rope_turns_pairs_and_keeps_relative_positions() -> None:
    rope = RotaryEmbedding(4, theta=100.0)
    states = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 1, 4)
    angle = torch.tensor(3.0)  # position 3, frequency 100^0 = 1
    turned = apply_rope(states, *rope(torch.tensor([[3]])))
    torch.testing.assert_close(turned.flatten(), torch.tensor([angle.cos(), 0.0, angle.sin(), 0.0]))
    query, key = torch.randn(1, 1, 1, 4), torch.randn(1, 1, 1, 4)
    near = (apply_rope(query, *rope(torch.tensor([[7]]))) * apply_rope(key, *rope(torch.tensor([[5]])))).sum()
    far = (apply_rope(query, *rope(torch.tensor([[41]]))) * apply_rope(key, *rope(torch.tensor([[39]])))).sum()
    torch.testing.assert_close(near, far)


SCALINGS = {
    "none": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "Llama 3.1": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "Qwen2.5, 128k": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768},
    "YaRN with every key": {
        "rope_type": "yarn",
        "factor": 40.0,
        "original_max_position_embeddings": 4096,
        "beta_fast": 24.0,
        "beta_slow": 2.0,
        "mscale": 0.7,
        "mscale_all_dim": 1.3,
        "truncate": False,
    },
    "YaRN whose borders meet": {
        "rope_type": "yarn",
        "factor": 2.0,
        "original_max_position_embeddings": 6,
        "attention_factor": 1.5,
    },
    "Phi-3.5": {
        "rope_type": "longrope",
        "short_factor": [1.0 + 0.01 * pair for pair in range(64)],
        "long_factor": [1.0 + 0.5 * pair for pair in range(64)],
        "original_max_position_embeddings": 4096,
    },
}


@pytest.mark.parametrize("theta", [10_000.0, 500_000.0])
@pytest.mark.parametrize("name", SCALINGS)
def test_rope_at_real_sizes_equals_that_of_transformers(name: str, theta: float) -> None:
    parameters = SCALINGS[name]
    config = HFLlamaConfig(
        hidden_size=4096,
        num_attention_heads=32,
        max_position_embeddings=131_072,
        rope_parameters={**parameters, "rope_theta": theta},
    )
    if parameters["rope_type"] == "longrope":
        # The class asks for the longest of all sequences, and switches beyond the original context.
        config.rope_parameters["long_factor"] = parameters["short_factor"]
    scaling = None if name == "none" else TypeAdapter(RopeScaling).validate_python(parameters)
    position_ids = torch.tensor([[0, 1, 2, 1000, 4095, 70_001, 131_071]])
    cos, sin = RotaryEmbedding(128, theta, scaling, 131_072)(position_ids)
    theirs = LlamaRotaryEmbedding(config)(cos, position_ids)
    # Angles reach 131,071, where float32 is 0.008 apart: one rounding of a frequency shows in the third decimal.
    torch.testing.assert_close(cos[0], theirs[0], atol=0.02, rtol=0)
    torch.testing.assert_close(sin[0], theirs[1], atol=0.02, rtol=0)
    torch.testing.assert_close(cos[0, :, :3], theirs[0][:, :3], atol=1e-6, rtol=0)


def test_rope_keeps_float32_and_survives_the_meta_device() -> None:
    with torch.device("meta"):
        rope = RotaryEmbedding(8)
    expected = RotaryEmbedding(8)(torch.arange(5).unsqueeze(0))
    for each in (rope, rope.to(torch.bfloat16), rope.to_empty(device="cpu")):
        for ours, wanted in zip(each(torch.arange(5).unsqueeze(0)), expected, strict=True):
            assert torch.equal(ours, wanted)
    states = torch.randn(1, 2, 5, 12, dtype=torch.bfloat16)
    turned = apply_rope(states, *expected)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned[..., 8:], states[..., 8:])


def test_positions_count_real_tokens_only() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]])
    device = torch.device("cpu")
    assert positions(0, 5, mask, device).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 2, 2]]
    assert positions(3, 2, mask, device).tolist() == [[1, 2], [2, 2]]
    assert positions(3, 2, None, device).tolist() == [[3, 4]]


@pytest.mark.parametrize("chunk_logits", [1, 40, 10_000])
def test_chunked_cross_entropy_equals_the_plain_one(monkeypatch: pytest.MonkeyPatch, chunk_logits: int) -> None:
    monkeypatch.setattr(loss_module, "_WHOLE_LOGITS", 0)
    monkeypatch.setattr(loss_module, "_CHUNK_LOGITS", chunk_logits)
    hidden, weight = torch.randn(9, 6, requires_grad=True), torch.randn(20, 6, requires_grad=True)
    labels = torch.tensor([3, -100, 0, 19, 5, -100, 7, 7, 1])
    loss = linear_cross_entropy(hidden, weight, labels)
    expected = F.cross_entropy(hidden @ weight.t(), labels, ignore_index=-100, reduction="sum")
    torch.testing.assert_close(loss, expected)
    for got, wanted in zip(
        torch.autograd.grad(loss * 0.5, (hidden, weight)),
        torch.autograd.grad(expected * 0.5, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)
