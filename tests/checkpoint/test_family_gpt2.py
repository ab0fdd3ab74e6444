"""GPT-2: the contract of decoders, and the same results as `transformers` in both directions."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GPT2Config as HFConfig
from transformers import GPT2LMHeadModel as HFGpt2

from inkstone.checkpoint import load_model
from inkstone.checkpoint.families import family_named
from inkstone.core.errors import ConfigError
from inkstone.nn.models.base import Decoder
from inkstone.nn.models.gpt2 import GPT2Config, GPT2LMHeadModel, segment_positions
from tests.checkpoint import decoder_parity as parity
from tests.nn import contract

HF_SHAPE = {
    "vocab_size": 320,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 96,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
VARIANTS = {
    "plain": {},
    "wide, relu": {"n_inner": 48, "activation_function": "relu"},
    "exact gelu, untied": {"activation_function": "gelu", "tie_word_embeddings": False},
    "unscaled, silu": {"scale_attn_weights": False, "activation_function": "silu"},
    "scaled by depth": {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    "epsilon, tanh": {"layer_norm_epsilon": 1e-2, "activation_function": "tanh"},
}
IDS = torch.randint(5, 320, (3, 40), generator=torch.Generator().manual_seed(5))


def oracle(seed: int = 0, **changes: object) -> HFGpt2:
    """A random model of `transformers`, every parameter (norms and biases too) random."""
    torch.manual_seed(seed)
    model = HFGpt2(HFConfig(**HF_SHAPE, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def from_oracle(folder: Path, theirs: HFGpt2, dtype: str = "float32") -> GPT2LMHeadModel:
    return parity.load_what_transformers_saved(folder, theirs, GPT2LMHeadModel, dtype)


def tiny_gpt2(seed: int = 0, **changes: object) -> GPT2LMHeadModel:
    """Our own random model of that size, every parameter random."""
    config = family_named("gpt2").from_hf(HF_SHAPE | changes)
    model = GPT2LMHeadModel(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if name.endswith((".ln_1.weight", "ln_f.weight")) else 0.0, 0.3, generator=generator)
    return model.eval()


@pytest.mark.parametrize("variant", ["plain", "exact gelu, untied", "scaled by depth"])
@pytest.mark.parametrize("check", contract.DECODER)
def test_contract(check: contract.Check[Decoder], variant: str) -> None:
    check(tiny_gpt2(**VARIANTS[variant]))


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_models_of_transformers_load_here(tmp_path: Path, changes: dict[str, object]) -> None:
    theirs = oracle(**changes)
    parity.assert_same_logits(from_oracle(tmp_path, theirs), theirs, IDS)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_transformers_loads_what_is_saved_here(tmp_path: Path, changes: dict[str, object]) -> None:
    ours = tiny_gpt2(**changes)
    parity.assert_same_logits(ours, parity.load_there_what_is_saved_here(tmp_path, ours, HFGpt2), IDS)


def test_gradients_equal_those_of_transformers(tmp_path: Path) -> None:
    theirs = oracle()
    ours = from_oracle(tmp_path, theirs)
    for logits in (ours(IDS), theirs(IDS).logits):
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()).backward()
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert expected.keys() == dict(ours.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("variant", ["plain", "scaled by depth"])
def test_bfloat16_is_within_two_percent_of_transformers(tmp_path: Path, variant: str) -> None:
    theirs = oracle(**VARIANTS[variant]).to(torch.bfloat16)
    ours = from_oracle(tmp_path, theirs, "bfloat16")
    theirs.set_attn_implementation("eager")
    parity.assert_logits_within_two_percent(ours, theirs, IDS)


def test_same_greedy_tokens_as_transformers(tmp_path: Path) -> None:
    theirs = oracle()
    parity.assert_same_greedy_tokens(from_oracle(tmp_path, theirs), theirs, IDS[:1, :8])


def test_left_padded_batches_equal_those_of_transformers(tmp_path: Path) -> None:
    theirs = oracle()
    ours = from_oracle(tmp_path, theirs)
    mask = contract.padding_mask((40, 17, 3), 40, left=True)
    expected = theirs.generate(
        IDS, attention_mask=mask, do_sample=False, max_new_tokens=8, eos_token_id=None, pad_token_id=2
    )[:, 40:]
    assert torch.equal(greedy(ours, IDS, mask, 8), expected)


@torch.inference_mode()
def greedy(model: Decoder, input_ids: Tensor, mask: Tensor, num_tokens: int) -> Tensor:
    """(B, num_tokens), with a cache."""
    cache = model.new_cache(input_ids.shape[1] + num_tokens)
    tokens = [input_ids]
    for _ in range(num_tokens):
        logits = model(tokens[-1], cache=cache, attention_mask=mask)
        tokens.append(logits[:, -1:].argmax(-1))
        mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
    return torch.cat(tokens[1:], dim=1)


def test_attention_weights_equal_those_of_transformers(tmp_path: Path) -> None:
    theirs = oracle(scale_attn_by_inverse_layer_idx=True)
    ours = from_oracle(tmp_path, theirs)
    theirs.set_attn_implementation("eager")
    attentions: list[Tensor] = []
    with torch.inference_mode():
        ours(IDS, output_attentions=attentions)
        expected = theirs(IDS, output_attentions=True).attentions
    for actual, weights in zip(attentions, expected, strict=True):
        torch.testing.assert_close(actual, weights, atol=1e-5, rtol=0)


def test_packed_documents_count_their_own_positions() -> None:
    segments = torch.tensor([[0, 0, 0, 4, 4, 2], [1, 1, 1, 1, 1, 1]])
    assert segment_positions(segments).tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5]]
    model = tiny_gpt2()
    with torch.inference_mode():
        packed = model(IDS[:1, :12], segment_ids=torch.tensor([[7] * 5 + [3] * 7]))
        torch.testing.assert_close(packed[:, :5], model(IDS[:1, :5]), atol=1e-4, rtol=0)
        torch.testing.assert_close(packed[:, 5:], model(IDS[:1, 5:12]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("tables", [False, True], ids=["backbone", "with causal tables"])
def test_files_without_prefix_load(tmp_path: Path, tables: bool) -> None:
    theirs = oracle()
    theirs.transformer.save_pretrained(tmp_path)
    if tables:  # as in the hub's `gpt2`
        tensors = load_file(tmp_path / "model.safetensors")
        for layer in range(2):
            tensors[f"h.{layer}.attn.bias"] = torch.ones(96, 96).tril().view(1, 1, 96, 96)
            tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    parity.assert_same_logits(load_model(tmp_path, device="cpu"), theirs, IDS)


def test_prefixed_causal_tables_are_left_out(tmp_path: Path) -> None:
    theirs = oracle()
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 96, 96, dtype=torch.bool).tril()
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    parity.assert_same_logits(load_model(tmp_path, device="cpu"), theirs, IDS)


def test_initial_weights_are_those_of_the_paper() -> None:
    config = family_named("gpt2").from_hf(HF_SHAPE | {"n_embd": 128, "n_layer": 8})
    model = GPT2LMHeadModel(config)
    model.init_weights(torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.dim() == 1:
            assert (parameter == 1).all(), name
        else:
            expected = 0.02 / 4 if name.endswith("c_proj.weight") else 0.02  # 16 residual layers
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_configs_survive_the_way_to_hugging_face_and_back(changes: dict[str, object]) -> None:
    family = family_named("gpt2")
    config = family.from_hf(HF_SHAPE | changes)
    assert family.from_hf(family.to_hf(config)) == config


def test_a_config_that_says_nothing_is_the_small_gpt2() -> None:
    config = family_named("gpt2").from_hf({"model_type": "gpt2", "n_ctx": 1024})
    assert isinstance(config, GPT2Config)
    assert config.num_parameters() == 124_439_808


@pytest.mark.parametrize(
    "changes", [{"activation_function": "xielu"}, {"add_cross_attention": True}, {"n_head": 5}], ids=str
)
def test_unsupported_settings_are_refused_by_name(changes: dict[str, object]) -> None:
    (name,) = changes
    with pytest.raises(ConfigError, match={"n_head": "num_attention_heads"}.get(name, name)):
        family_named("gpt2").from_hf(HF_SHAPE | changes)
