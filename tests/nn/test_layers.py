import pytest
import torch
from torch.nn import functional as F

from inkstone.nn.layers import loss as loss_module
from inkstone.nn.layers.loss import linear_cross_entropy
from inkstone.nn.layers.norm import RMSNorm
from inkstone.nn.layers.rope import RotaryEmbedding, apply_rope


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
