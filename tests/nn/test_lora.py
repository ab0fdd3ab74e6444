"""One layer with LoRA or DoRA: values computed by hand, exact merging."""

import math

import pytest
import torch
from torch import Tensor, nn

from inkstone.core.errors import ConfigError
from inkstone.nn.layers.conv1d import Conv1D
from inkstone.nn.layers.lora import LinearLike, LoRALinear


def tensor(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)


def hand_made(base: nn.Module, *, use_dora: bool = False, scaling: float = 2.0) -> LoRALinear:
    """W = [[3, 4], [0, 2]], b = [1, −1], A = [[1, −1]], B = [[1], [2]]."""
    layer = LoRALinear(base, 1, scaling=scaling, use_dora=use_dora)  # type: ignore[arg-type]
    layer.lora_A.weight.data = tensor([1.0, -1.0])
    layer.lora_B.weight.data = tensor([1.0], [2.0])
    return layer


def linear() -> nn.Linear:
    layer = nn.Linear(2, 2)
    layer.weight.data, layer.bias.data = tensor([3.0, 4.0], [0.0, 2.0]), torch.tensor([1.0, -1.0])
    return layer


def conv1d() -> Conv1D:
    layer = Conv1D(2, 2)
    layer.weight.data, layer.bias.data = tensor([3.0, 0.0], [4.0, 2.0]), torch.tensor([1.0, -1.0])
    return layer


class EightBit(nn.Module):
    """A quantized layer: integers and a scale, no floating-point weight."""

    def __init__(self, layer: nn.Linear, *, readable: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.scale = layer.weight.detach().abs().max() / 127
        self.register_buffer("weight", torch.round(layer.weight.detach() / self.scale).to(torch.int8))
        if readable:
            self.dequantize = lambda: self.weight.float() * self.scale

    def forward(self, hidden_states: Tensor) -> Tensor:
        return hidden_states @ (self.weight.float() * self.scale).t()


@pytest.mark.parametrize("base", [linear, conv1d])
def test_lora_by_hand(base: type) -> None:
    # W x + b = [11 + 1, 4 − 1]; s · B A x = 2 · [1, 2] · (1 − 2) = [−2, −4]
    layer = hand_made(base())
    torch.testing.assert_close(layer(torch.tensor([1.0, 2.0])), torch.tensor([10.0, -1.0]))
    # W + s · B A = [[3 + 2, 4 − 2], [0 + 4, 2 − 4]]
    torch.testing.assert_close(layer.weight, tensor([5.0, 2.0], [4.0, -2.0]))


@pytest.mark.parametrize("base", [linear, conv1d])
def test_dora_by_hand(base: type) -> None:
    layer = hand_made(base(), use_dora=True)
    # m = the norms of W's rows: √(9 + 16), 2. The sum's rows have the norms √(25 + 4), √(16 + 4).
    assert layer.lora_magnitude_vector is not None
    torch.testing.assert_close(layer.lora_magnitude_vector.detach(), torch.tensor([5.0, 2.0]))
    expected = tensor([25.0, 10.0], [0.0, 0.0]) / math.sqrt(29) + tensor([0.0, 0.0], [8.0, -4.0]) / math.sqrt(20)
    torch.testing.assert_close(layer.weight, expected)
    x = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(layer(x), expected @ x + torch.tensor([1.0, -1.0]))


def test_the_norm_is_a_constant_in_doras_gradient() -> None:
    layer = hand_made(linear(), use_dora=True)
    layer(torch.tensor([1.0, 2.0])).sum().backward()
    # ∂y_i/∂m_i = ((W + s B A) x)_i / ‖·‖_i; ∂y_i/∂B_i = m_i / ‖·‖_i · s · A x, the norm held fixed.
    gains = torch.tensor([5 / math.sqrt(29), 2 / math.sqrt(20)])
    torch.testing.assert_close(layer.lora_B.weight.grad, (gains * 2 * -1).unsqueeze(1))
    assert layer.lora_magnitude_vector is not None
    expected = torch.tensor([9 / math.sqrt(29), 0.0])
    torch.testing.assert_close(layer.lora_magnitude_vector.grad, expected)


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("base", [linear, conv1d])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_rounds_once_and_unmerging_is_exact(base: type, use_dora: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    wide = nn.Linear(24, 40) if base is linear else Conv1D(24, 40)
    layer = LoRALinear(wide.to(dtype), 4, scaling=0.7, use_dora=use_dora)
    layer.lora_B.weight.data.normal_()
    before = wide.weight.detach().clone()
    x = torch.randn(5, 24).to(dtype)
    unmerged = layer(x)
    expected = (before.t() if isinstance(wide, Conv1D) else before).double()
    expected = expected + 0.7 * layer.lora_B.weight.double() @ layer.lora_A.weight.double()
    if layer.lora_magnitude_vector is not None:
        expected *= (layer.lora_magnitude_vector.double() / expected.norm(dim=1))[:, None]
    layer.merge()
    assert layer.merged
    merged = wide.weight.t() if isinstance(wide, Conv1D) else wide.weight
    one_rounding = {"atol": 1e-6, "rtol": 2**-23} if dtype == torch.float32 else {"atol": 1e-6, "rtol": 2**-8}
    torch.testing.assert_close(merged.double(), expected, **one_rounding)
    assert merged.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 6e-2
    torch.testing.assert_close(layer(x), unmerged, atol=tolerance, rtol=tolerance)
    layer.merge()
    layer.unmerge()
    assert torch.equal(wide.weight, before)
    assert torch.equal(layer(x), unmerged)


def test_dropout_is_for_training_and_for_the_update_alone() -> None:
    torch.manual_seed(0)
    layer = LoRALinear(linear(), 1, dropout=0.5)
    layer.lora_A.weight.data, layer.lora_B.weight.data = tensor([1.0, -1.0]), tensor([1.0], [1.0])
    x = torch.tensor([1.0, 4.0]).expand(400, 2)
    base = torch.tensor([20.0, 7.0])  # W x + b
    torch.testing.assert_close(layer.eval()(x), (base - 3).expand(400, 2))
    # Each of A's two inputs is dropped or doubled; W's never are.
    updates = layer.train()(x) - base
    assert torch.equal(updates[:, 0], updates[:, 1])
    assert set(updates[:, 0].tolist()) == {0.0, 2.0, -8.0, -6.0}
    with pytest.raises(ConfigError, match="cannot drop inputs out"):
        _ = layer.train().weight


def test_a_quantized_layer_can_be_adapted_but_not_merged() -> None:
    torch.manual_seed(0)
    base = EightBit(nn.Linear(6, 4))
    assert isinstance(base, LinearLike)
    x = torch.randn(3, 6)
    for use_dora in (False, True):
        layer = LoRALinear(base, 2, use_dora=use_dora)
        torch.testing.assert_close(layer(x), base(x))
        layer.lora_B.weight.data.normal_()
        torch.testing.assert_close(layer(x), x @ layer.weight.t(), atol=1e-5, rtol=1e-5)
        with pytest.raises(ConfigError, match=r"cannot be merged into EightBit.*\n.*model that was quantized"):
            layer.merge()
        assert not layer.merged
    with pytest.raises(ConfigError, match="use_dora"):
        LoRALinear(EightBit(nn.Linear(6, 4), readable=False), 2, use_dora=True)
