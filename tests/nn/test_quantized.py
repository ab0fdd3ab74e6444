from typing import cast

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from inkstone.core.errors import ConfigError
from inkstone.nn.adapter_config import LoRAConfig
from inkstone.nn.adapters import add_adapter
from inkstone.nn.layers import quantized as module
from inkstone.nn.layers.conv1d import Conv1D
from inkstone.nn.layers.lora import LinearLike
from inkstone.nn.layers.quantized import GROUP_SIZE, Precision, QuantizedLinear
from inkstone.train.switches import quantize_base
from tests.tiny_models import tiny_model

PRECISIONS: list[Precision] = ["int8", "int4"]


def dense_of(layer: QuantizedLinear) -> nn.Linear:
    """A plain layer with the same matrix."""
    linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    with torch.no_grad():
        linear.weight.copy_(layer.dequantize())
        if layer.bias is not None:
            linear.bias.copy_(layer.bias)
    return linear.requires_grad_(False)


@pytest.mark.parametrize(("precision", "levels", "group"), [("int8", 127, 200), ("int4", 7, GROUP_SIZE)])
def test_every_weight_is_off_by_half_a_level_at_most(precision: Precision, levels: int, group: int) -> None:
    weight = np.random.default_rng(0).normal(size=(48, 200)).astype(np.float32)
    weight[3] = 0
    layer = QuantizedLinear(torch.from_numpy(weight), None, precision)
    error = np.abs(layer.dequantize().numpy() - weight)
    for start in range(0, 200, group):
        part = slice(start, start + group)
        half = np.abs(weight[:, part]).max(1, keepdims=True) / levels / 2
        assert (error[:, part] <= half * 1.01 + 1e-7).all()
    assert error.max() > 0


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("columns", [1, 63, 64, 65, 200])
def test_a_matrix_of_levels_comes_back_unchanged(precision: Precision, columns: int) -> None:
    largest = {"int8": 127, "int4": 7}[precision]
    levels = torch.randint(-largest, largest + 1, (5, columns), generator=torch.Generator().manual_seed(0)).float()
    levels[:, ::GROUP_SIZE] = largest  # every group has its largest level
    assert torch.equal(QuantizedLinear(levels, None, precision).dequantize(), levels)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_are_quantized_by_themselves(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(40, 96, generator=torch.Generator().manual_seed(0))
    at_once = QuantizedLinear(weight, None, precision)
    monkeypatch.setattr(module, "_QUANTIZED_AT_ONCE", 700)  # 7 rows, 5 at last
    assert torch.equal(QuantizedLinear(weight, None, precision).dequantize(), at_once.dequantize())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_outputs_and_gradients_are_those_of_the_dequantized_layer(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DEQUANTIZED_AT_ONCE", 300)  # several blocks of rows
    torch.manual_seed(0)
    linear = nn.Linear(96, 40)
    layer = QuantizedLinear.of(cast(LinearLike, linear), precision)
    dense = dense_of(layer)
    inputs = torch.randn(2, 7, 96, requires_grad=True)
    again = inputs.detach().clone().requires_grad_()
    output, expected = layer(inputs), dense(again)
    torch.testing.assert_close(output, expected)
    (output**2).sum().backward()
    (expected**2).sum().backward()
    torch.testing.assert_close(inputs.grad, again.grad, rtol=1e-5, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_products_are_made_in_the_dtype_of_autocast() -> None:
    layer = QuantizedLinear(torch.randn(8, 64), None, "int8")
    inputs = torch.randn(3, 64, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(inputs)
        expected = F.linear(inputs, layer.dequantize())
    assert output.dtype == expected.dtype == torch.bfloat16
    assert torch.equal(output, expected)
    output.float().sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.dtype == torch.float32


def test_layers_of_gpt2_are_quantized_by_output_too() -> None:
    conv = Conv1D(96, 40).requires_grad_(False)
    layer = QuantizedLinear.of(cast(LinearLike, conv), "int8")
    torch.testing.assert_close(layer.dequantize(), conv.weight.t(), rtol=0, atol=float(conv.weight.abs().max()) / 250)
    assert layer.bias is conv.bias


@pytest.mark.parametrize(("precision", "least_saving"), [("int8", 3.6), ("int4", 7.0)])
def test_memory_is_really_smaller(precision: Precision, least_saving: float) -> None:
    layer = QuantizedLinear(torch.randn(256, 512), None, precision)
    held = sum(tensor.untyped_storage().nbytes() for tensor in layer.state_dict().values())
    assert 256 * 512 * 4 / held > least_saving


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("use_dora", [False, True])
def test_a_step_of_lora_is_that_on_the_dequantized_model(precision: Precision, use_dora: bool) -> None:
    models = [tiny_model(attention_bias=True), tiny_model(attention_bias=True)]
    for model in models:
        quantize_base(model, precision)
    for name, layer in list(models[1].named_modules()):
        if isinstance(layer, QuantizedLinear):
            models[1].set_submodule(name, dense_of(layer))
    input_ids = torch.randint(320, (2, 12), generator=torch.Generator().manual_seed(1))
    trained = []
    for model in models:
        adapter = add_adapter(model, LoRAConfig(r=4, use_dora=use_dora), torch.Generator().manual_seed(0))
        optimizer = torch.optim.SGD(adapter.parameters().values(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            logits = model(input_ids)
            F.cross_entropy(logits[:, :-1].flatten(0, 1), input_ids[:, 1:].flatten()).backward()
            optimizer.step()
        trained.append(adapter.parameters())
    assert trained[0].keys() == trained[1].keys()
    for name, value in trained[0].items():
        torch.testing.assert_close(value, trained[1][name], rtol=0, atol=1e-5)
    assert any(value.abs().max() > 1e-3 for name, value in trained[0].items() if "lora_B" in name)


def test_counts_names_and_what_stays_as_it_was() -> None:
    model, plain = tiny_model(), tiny_model()
    quantize_base(model, "int4", kept=["model.layers.1.mlp"])
    assert model.num_parameters() == plain.num_parameters()
    kinds = {name: type(layer) for name, layer in model.named_modules()}
    assert kinds["model.layers.0.mlp.up_proj"] is QuantizedLinear
    assert kinds["model.layers.1.mlp.up_proj"] is nn.Linear
    assert kinds["lm_head"] is nn.Linear
    kept = dict(model.named_parameters())
    assert {"model.embed_tokens.weight", "model.norm.weight", "model.layers.0.input_layernorm.weight"} <= kept.keys()
    assert all(torch.equal(value, plain.get_parameter(name)) for name, value in kept.items())


def test_merging_into_it_is_refused() -> None:
    model = tiny_model()
    quantize_base(model, "int8")
    adapter = add_adapter(model, LoRAConfig(r=2))
    with pytest.raises(ConfigError, match=r"QuantizedLinear.*rounding would lose it"):
        adapter.merge()
