"""The fused block against `LlamaBlock` in double precision."""

import copy
import ctypes
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inkstone.nn.adapter_config import LoRAConfig
from inkstone.nn.adapters import Adapter, add_adapter
from inkstone.nn.kernels import build, llama_block
from inkstone.nn.layers.mask import make_mask
from inkstone.nn.models.llama import LlamaBlock, LlamaConfig, LlamaForCausalLM

needs_kernel = pytest.mark.skipif(
    llama_block.unavailable() is not None, reason=f"no fused block here: {llama_block.unavailable()}"
)
SHAPES = {
    "plain": {},
    "grouped": {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
    "one key head": {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 6, "intermediate_size": 37},
    "query and key norm": {"model_type": "qwen3"},
    "wide heads": {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 40},
}


def tiny(**changes: object) -> LlamaForCausalLM:
    shape = {
        "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "intermediate_size": 48, "head_dim": 8, "max_position_embeddings": 512,
    }  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig.model_validate(shape | changes))
    model.init_weights()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def segments(batch: int, time: int) -> Tensor:
    return (torch.rand(batch, time, generator=torch.Generator().manual_seed(1)) < 0.07).long().cumsum(1)


def positions_in(segment_ids: Tensor) -> Tensor:
    return torch.stack([torch.tensor([int((row[:t] == row[t]).sum()) for t in range(len(row))]) for row in segment_ids])


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(
        found.double(), expected, atol=2e-6 * float(expected.detach().abs().max()) + 1e-9, rtol=2e-5
    )


@needs_kernel
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("batch", "time"), [(3, 17), (2, 300), (5, 1), (1, 65)])
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_those_of_the_block(shape: str, batch: int, time: int, packed: bool) -> None:
    model = tiny(**SHAPES[shape])
    block = model.model.layers[0]
    segment_ids = segments(batch, time) if packed else None
    position_ids = torch.arange(time).unsqueeze(0) if segment_ids is None else positions_in(segment_ids)
    rope = model.model.rotary(position_ids)
    hidden_states = torch.randn(batch, time, 32, requires_grad=True)
    weight = torch.randn(batch, time, 32)
    runs = llama_block.runs_of(hidden_states[:, :, 0], segment_ids)

    output = llama_block.forward(block, hidden_states, rope, runs)
    gradients = torch.autograd.grad((output * weight).sum(), [hidden_states, *block.parameters()])

    exact: LlamaBlock = copy.deepcopy(block).double()
    exact_states = hidden_states.detach().double().requires_grad_()
    mask = make_mask(time, time, causal=True, device=hidden_states.device, segment_ids=segment_ids)
    expected = exact(exact_states, tuple(table.double() for table in rope), mask, None, None)
    expected_gradients = torch.autograd.grad((expected * weight).sum(), [exact_states, *exact.parameters()])
    assert_close(output, expected)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        assert_close(found, wanted)


@needs_kernel
def test_large_scores_do_not_overflow() -> None:
    model = tiny()
    block = model.model.layers[0]
    for linear in (block.self_attn.q_proj, block.self_attn.k_proj):
        linear.weight.data *= 200
    hidden_states = torch.randn(1, 40, 32, requires_grad=True)
    rope = model.model.rotary(torch.arange(40).unsqueeze(0))
    output = llama_block.forward(block, hidden_states, rope, torch.tensor([0, 40]))
    (gradient,) = torch.autograd.grad(output.sum(), hidden_states)
    assert output.isfinite().all()
    assert gradient.isfinite().all()


@needs_kernel
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_up_to_rounding_and_repeats_itself_exactly(threads: int) -> None:
    model = tiny()
    expected = gradients_of(model)
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert model.fuse(torch.float32)
        found, again = gradients_of(model), gradients_of(model)
    finally:
        torch.set_num_threads(usual)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-4)
        assert torch.equal(found[name], again[name])


def gradients_of(model: LlamaForCausalLM) -> dict[str, Tensor]:
    input_ids = torch.arange(3 * 20).reshape(3, 20) % 50
    logits = model(input_ids, segment_ids=segments(3, 20))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), input_ids.flatten())
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@needs_kernel
def test_frozen_weights_get_no_gradient_and_the_others_theirs() -> None:
    model = tiny()
    expected = gradients_of(model)
    block = model.model.layers[1]
    frozen = [block.self_attn.k_proj.weight, block.mlp.down_proj.weight, block.input_layernorm.weight]
    for parameter in frozen:
        parameter.requires_grad_(False)
    assert model.fuse(torch.float32)
    input_ids = torch.arange(3 * 20).reshape(3, 20) % 50
    logits = model(input_ids, segment_ids=segments(3, 20))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), input_ids.flatten()).backward()
    for name, parameter in model.named_parameters():
        if any(parameter is one for one in frozen):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)


ADAPTERS = {
    "every layer": {"r": 3, "lora_alpha": 5},
    "some layers": {"r": 4, "target_modules": ("q_proj", "down_proj")},
    "other ranks": {"r": 2, "rank_pattern": {"up_proj": 7}, "alpha_pattern": {"v_proj": 3}},
}


def adapted(**config: object) -> tuple[LlamaForCausalLM, Adapter]:
    model = tiny(num_key_value_heads=2)
    adapter = add_adapter(model, LoRAConfig.model_validate(config))
    for parameter in adapter.parameters().values():
        parameter.data = 0.3 * torch.randn_like(parameter)
    return model, adapter


@needs_kernel
@pytest.mark.parametrize("config", ADAPTERS.values(), ids=ADAPTERS)
@pytest.mark.parametrize(("batch", "time"), [(3, 17), (2, 300)])
def test_adapters_have_the_outputs_and_gradients_of_the_block(config: dict[str, object], batch: int, time: int) -> None:
    model, _ = adapted(**config)
    block = model.model.layers[0]
    assert llama_block.supports(block, torch.float32)
    segment_ids = segments(batch, time)
    rope = model.model.rotary(positions_in(segment_ids))
    hidden_states = torch.randn(batch, time, 32, requires_grad=True)
    weight = torch.randn(batch, time, 32)
    trained = [parameter for parameter in block.parameters() if parameter.requires_grad]

    output = llama_block.forward(block, hidden_states, rope, llama_block.runs_of(hidden_states[:, :, 0], segment_ids))
    gradients = torch.autograd.grad((output * weight).sum(), [hidden_states, *trained])

    exact: LlamaBlock = copy.deepcopy(block).double()
    exact_states = hidden_states.detach().double().requires_grad_()
    mask = make_mask(time, time, causal=True, device=hidden_states.device, segment_ids=segment_ids)
    expected = exact(exact_states, tuple(table.double() for table in rope), mask, None, None)
    exact_trained = [parameter for parameter in exact.parameters() if parameter.requires_grad]
    expected_gradients = torch.autograd.grad((expected * weight).sum(), [exact_states, *exact_trained])
    assert_close(output, expected)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        assert_close(found, wanted)


@needs_kernel
def test_an_adapter_that_is_disabled_or_merged_counts_for_that_call_only() -> None:
    model, adapter = adapted(r=3)
    input_ids = torch.arange(2 * 20).reshape(2, 20) % 50
    with torch.no_grad():
        expected = model(input_ids)
        assert model.fuse(torch.float32)
        with adapter.disabled():
            base = model(input_ids)
            model.model.fused = False
            expected_base = model(input_ids)
            model.model.fused = True
        beside = model(input_ids)
        adapter.merge()
        merged = model(input_ids)
    torch.testing.assert_close(base, expected_base, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(beside, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(base, beside, atol=1e-2)


@pytest.mark.parametrize("config", [{"use_dora": True}, {"lora_dropout": 0.1}])
def test_adapters_that_the_kernel_does_not_compute_stay_with_pytorch(config: dict[str, object]) -> None:
    model, _ = adapted(**config)
    assert not model.fuse(torch.float32)


@needs_kernel
def test_a_fused_model_still_reads_with_a_cache() -> None:
    model = tiny()
    input_ids = torch.arange(20).reshape(1, 20)
    expected = model(input_ids)
    assert model.fuse(torch.float32)
    cache = model.new_cache(20)
    pieces = [model(input_ids[:, :12], cache=cache), model(input_ids[:, 12:], cache=cache)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(input_ids), expected, atol=1e-5, rtol=1e-5)


def test_what_the_kernel_does_not_compute_stays_with_pytorch() -> None:
    assert not tiny(attention_bias=True).fuse(torch.float32)
    assert not tiny().fuse(torch.bfloat16)
    assert not tiny().double().fuse(torch.float32)
    assert not tiny(max_position_embeddings=llama_block.LONGEST_RUN + 1).fuse(torch.float32)
    replaced = tiny()
    replaced.model.layers[1].mlp.up_proj = torch.nn.Sequential(replaced.model.layers[1].mlp.up_proj)  # type: ignore[assignment]
    assert not replaced.fuse(torch.float32)


def test_without_a_compiler_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    build._outcome.cache_clear()
    try:
        assert build.load_library("llama_block") is None
        assert "no C++ compiler" in str(llama_block.unavailable())
        assert not tiny().fuse(torch.float32)
    finally:
        build._outcome.cache_clear()


@needs_kernel
def test_source_that_does_not_compile_is_a_reason_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken.cpp").write_text("int main( {")
    monkeypatch.setattr(build, "__file__", str(tmp_path / "build.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "error" in str(build.why_not("broken"))
    assert list((tmp_path / "cache").rglob("*.so")) == []


@needs_kernel
def test_a_built_library_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "answer.cpp").write_text('extern "C" int answer() { return 42; }')
    monkeypatch.setattr(build, "__file__", str(tmp_path / "build.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    library = build.load_library("answer")
    assert isinstance(library, ctypes.CDLL)
    assert library.answer() == 42
    (built,) = (tmp_path / "cache" / "inkstone" / "kernels").iterdir()
    built_at = built.stat().st_mtime_ns
    build._outcome.cache_clear()
    assert build.why_not("answer") is None
    assert built.stat().st_mtime_ns == built_at
