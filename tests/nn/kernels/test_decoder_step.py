"""Native steps against the models they stand for, and against themselves in other company."""

import copy
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.nn.kernels import decoder_step
from inkstone.nn.kernels.decoder_step import BLOCK_SIZE, KeptFormat, NativeDecoder, WeightFormat
from inkstone.nn.layers.cache import KVCache
from inkstone.nn.layers.conv1d import Conv1D
from inkstone.nn.layers.quantized import QuantizedLinear
from inkstone.nn.models.base import Decoder
from inkstone.nn.models.llama import LlamaConfig
from tests.engine.models import FAMILIES, VOCAB, tiny
from tests.tiny_models import randomized, tiny_tokenizer

SUPPORTED = sorted(
    family
    for family in FAMILIES
    if isinstance(model := tiny(family), Decoder) and decoder_step.unsupported(model) is None
)
FORMATS: tuple[WeightFormat, ...] = ("float32", "bfloat16", "int8", "int4")

pytestmark = pytest.mark.skipif(decoder_step.unavailable() is not None, reason=str(decoder_step.unavailable()))


def ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def read(decoder: NativeDecoder, ids: Tensor, past: int, blocks: list[int]) -> Tensor:
    """Logits after every token of one sequence that goes on after `past` tokens."""
    count = len(ids)
    return decoder.step(ids, ints(0, count), ints(past), ints(0, len(blocks)), ints(*blocks), torch.arange(count))[0]


def decoder_of(family: str) -> Decoder:
    model = tiny(family)
    assert isinstance(model, Decoder)
    return model


def wide(**changes: Any) -> Decoder:
    """No multiples of what is computed at a time: 100 wide, 5 heads of 20 for 1, 90 inside, 77 tokens."""
    shape = {"vocab_size": 77, "hidden_size": 100, "num_hidden_layers": 2, "num_attention_heads": 5, "head_dim": 20}
    more = {"num_key_value_heads": 1, "intermediate_size": 90, "max_position_embeddings": 300, "rms_norm_eps": 1e-5}
    return randomized(LlamaConfig.model_validate(shape | more | changes).build(), spread=0.1).eval()


@pytest.mark.parametrize("family", SUPPORTED)
@torch.inference_mode()
def test_float32_equals_the_model_in_chunks_of_any_size(family: str) -> None:
    model = decoder_of(family)
    ids = torch.randint(4, VOCAB, (60,), generator=torch.Generator().manual_seed(1))
    decoder = NativeDecoder(model, "float32", 8, 2, kept="float32")
    blocks, parts = [5, 2, 7, 1], []
    for start, end in ((0, 1), (1, 14), (14, 37), (37, 38), (38, 60)):
        parts.append(read(decoder, ids[start:end], start, blocks[: -(-end // BLOCK_SIZE)]))
    torch.testing.assert_close(torch.cat(parts), model(ids.unsqueeze(0))[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("threads", [1, 3])
@torch.inference_mode()
def test_sizes_need_not_be_multiples_of_anything(threads: int) -> None:
    model = wide()
    ids = torch.randint(0, 77, (290,), generator=torch.Generator().manual_seed(2))
    decoder = NativeDecoder(model, "float32", 20, threads, kept="float32")
    got = read(decoder, ids, 0, list(range(1, 20)))
    torch.testing.assert_close(got, model(ids.unsqueeze(0))[0], atol=1e-4, rtol=1e-4)


def rounded(inputs: Tensor) -> Tensor:
    """Inputs as quantized weights are multiplied with: 8 bits, a scale for every 64 of a row."""
    grouped = F.pad(inputs, (0, -inputs.shape[-1] % 64)).unflatten(-1, (-1, 64))
    scales = grouped.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
    return ((grouped / scales).round() * scales).flatten(-2)[..., : inputs.shape[-1]]


def reference_of(model: Decoder, weights: WeightFormat) -> Decoder:
    """The model in float64, its matrices and what they are multiplied with as the format has them."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        if isinstance(module, Conv1D):
            module.weight.data = quantized(module.weight.data.t(), weights).t().contiguous()
        elif isinstance(module, nn.Linear):
            module.weight = nn.Parameter(quantized(module.weight.data, weights))  # untied from the embedding
        else:
            continue
        if weights in ("int8", "int4"):
            module.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0]),))
    return model.double()


def quantized(weight: Tensor, weights: WeightFormat) -> Tensor:
    if weights == "bfloat16":
        return weight.bfloat16().float()
    assert weights in ("int8", "int4")
    return QuantizedLinear(weight, None, weights).dequantize()


@pytest.mark.parametrize("weights", FORMATS[1:])
@pytest.mark.parametrize("model", [*SUPPORTED, "wide"])
@torch.inference_mode()
def test_other_formats_equal_a_float64_reference_of_the_same_weights(model: str, weights: WeightFormat) -> None:
    own = wide() if model == "wide" else decoder_of(model)
    ids = torch.randint(4, VOCAB, (50,), generator=torch.Generator().manual_seed(3))
    decoder = NativeDecoder(own, weights, 8, 2, kept="float32")
    got = read(decoder, ids, 0, [1, 2, 3, 4]).double()
    reference = reference_of(own, weights)
    hidden_states = reference.hidden_states(ids.unsqueeze(0))
    expected = reference.lm_head(hidden_states)[0]
    # A value on the edge between two levels may be rounded the other way, hence no tighter than this.
    assert (got - expected).norm() < (1e-5 if weights == "bfloat16" else 1e-2) * expected.norm()


class Rounding(KVCache):
    """Keeps keys and values as they would come back from a narrower format."""

    def __init__(self, num_layers: int, capacity: int, kept: KeptFormat) -> None:
        super().__init__(num_layers, capacity)
        self._kept = kept

    def append(self, layer_index: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return super().append(layer_index, self._rounded(keys), self._rounded(values))

    def _rounded(self, states: Tensor) -> Tensor:
        if self._kept == "float16":
            return states.half().to(states.dtype)
        scales = states.abs().amax(-1, keepdim=True) / 127
        return (states / scales).round() * scales


@pytest.mark.parametrize("kept", ["float16", "int8"])
@pytest.mark.parametrize("model", ["llama", "gpt2", "wide"])
@torch.inference_mode()
def test_kept_formats_equal_a_float64_reference_of_the_same_rounding(model: str, kept: KeptFormat) -> None:
    own = wide() if model == "wide" else decoder_of(model)
    ids = torch.randint(4, VOCAB, (60,), generator=torch.Generator().manual_seed(3))
    decoder = NativeDecoder(own, "float32", 8, 2, kept=kept)
    got = read(decoder, ids, 0, [1, 2, 3, 4]).double()
    reference = copy.deepcopy(own).double()
    cache = Rounding(own.config.num_hidden_layers, len(ids), kept)
    expected = reference.logits(reference.hidden_states(ids.unsqueeze(0), cache=cache))[0]
    # A value on the edge between two levels may be rounded the other way.
    assert (got - expected).norm() < (1e-4 if kept == "float16" else 5e-4) * expected.norm()
    exact = reference.logits(reference.hidden_states(ids.unsqueeze(0)))[0]
    assert (exact - expected).norm() > 2 * (got - expected).norm()


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize("kept", ["float32", "float16", "int8"])
@pytest.mark.parametrize("family", ["llama", "one window", "gpt2"])
def test_results_do_not_depend_on_the_company(family: str, weights: WeightFormat, kept: KeptFormat) -> None:
    """Bit for bit: alone, in chunks, among others, with one thread or three, in other blocks."""
    model = decoder_of(family)
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(4, VOCAB, (40,), generator=generator)
    one = NativeDecoder(model, weights, 30, 1, kept=kept)
    expected = read(one, ids, 0, [1, 2, 3])
    three = NativeDecoder(model, weights, 30, 3, kept=kept)
    parts = [read(three, ids[:9], 0, [9]), read(three, ids[9:39], 9, [9, 4, 6])]
    assert torch.equal(torch.cat(parts), expected[:39])
    others = [torch.randint(4, VOCAB, (size,), generator=generator) for size in (23, 1, 1, 8, 1, 1, 1, 1, 1)]
    token_ids = torch.cat([*others[:4], ids[39:], *others[4:]])
    sizes = [len(each) for each in others[:4]] + [1] + [len(each) for each in others[4:]]
    past = [0] * 4 + [39] + [0] * 5
    blocks = [[10, 11], [12], [13], [14], [9, 4, 6], [15], [16], [17], [18], [19]]
    first_row = torch.tensor([0, *torch.tensor(sizes).cumsum(0).tolist()])
    first_block = torch.tensor([0, *torch.tensor([len(each) for each in blocks]).cumsum(0).tolist()])
    tables = ints(*(block for each in blocks for block in each))
    row = int(first_row[4])
    logits, likeliest = three.step(token_ids, first_row, ints(*past), first_block, tables, ints(row))
    assert torch.equal(logits[0], expected[39])
    assert likeliest.tolist() == [int(expected[39].argmax())]


@torch.inference_mode()
def test_a_copied_block_is_the_same() -> None:
    decoder = NativeDecoder(decoder_of("llama"), "float32", 8, 2, kept="float16")
    ids = torch.arange(4, 24)
    expected = read(decoder, ids, 0, [1, 2])
    decoder.copy_block(1, 5)
    decoder.copy_block(2, 6)
    assert torch.equal(read(decoder, ids[19:], 19, [5, 6])[0], expected[19])


@pytest.mark.parametrize("family", SUPPORTED)
@torch.inference_mode()
def test_weights_that_came_from_bfloat16_lose_nothing_in_it(family: str) -> None:
    model = copy.deepcopy(decoder_of(family))
    assert not decoder_step.is_bfloat16(model)
    model.bfloat16().float()
    assert decoder_step.is_bfloat16(model)
    ids = torch.randint(4, VOCAB, (20,), generator=torch.Generator().manual_seed(1))
    formats: tuple[WeightFormat, ...] = ("float32", "bfloat16")
    logits = [read(NativeDecoder(model, each, 2, 1, kept="float32"), ids, 0, [1, 2]) for each in formats]
    torch.testing.assert_close(logits[1], logits[0], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(logits[1], model(ids.unsqueeze(0))[0].float(), atol=1e-3, rtol=1e-4)
    next(parameter for parameter in model.parameters() if parameter.dim() > 1)[-1, -1] = 1.001
    assert not decoder_step.is_bfloat16(model)


def test_weights_that_are_mapped_are_given_back_and_stay_what_they_are(tmp_path: Path) -> None:
    model = LlamaConfig(
        vocab_size=4000,
        hidden_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=64,
        intermediate_size=1400,
        max_position_embeddings=64,
    ).build()
    model.init_weights(torch.Generator().manual_seed(0))
    save_checkpoint(tmp_path, model, tiny_tokenizer())
    mapped = load_model(tmp_path, device="cpu", dtype="float32")
    assert isinstance(mapped, Decoder)
    ids = torch.arange(20) + 5
    with torch.inference_mode():
        expected = mapped(ids.unsqueeze(0))[0]
        resident = psutil.Process().memory_info().rss
        decoder = NativeDecoder(mapped, "int4", 2, 1, kept="float32")
        assert psutil.Process().memory_info().rss < resident  # 62 MB were mapped, 8 are packed
        read(decoder, ids, 0, [1, 2])
        torch.testing.assert_close(mapped(ids.unsqueeze(0))[0], expected, rtol=0, atol=0)


def test_a_logit_that_is_no_number_is_told() -> None:
    model = copy.deepcopy(decoder_of("llama"))
    model.get_parameter("model.norm.weight").data[0] = torch.nan
    decoder = NativeDecoder(model, "float32", 2, 1, kept="float32")
    _, likeliest = decoder.step(ints(5), ints(0, 1), ints(0), ints(0, 1), ints(1), ints(0))
    assert likeliest.tolist() == [-1]


def test_what_has_no_native_step_says_why() -> None:
    for family in set(FAMILIES) - set(SUPPORTED):
        model = tiny(family)
        if isinstance(model, Decoder):
            assert decoder_step.unsupported(model)
