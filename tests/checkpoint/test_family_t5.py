"""T5, its version 1.1 and mT5: the contract of encoder–decoders, and the same results as `transformers`, both ways."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MT5Config, MT5ForConditionalGeneration, T5ForConditionalGeneration
from transformers import T5Config as HFT5Config
from transformers.models.t5.modeling_t5 import T5Attention

from inkstone.checkpoint import load_model
from inkstone.checkpoint.families import family_named
from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.nn.layers.relative_position import RelativePositionBias, position_buckets
from inkstone.nn.models.base import EncoderDecoder
from inkstone.nn.models.t5 import T5
from tests.checkpoint import encoder_decoder_parity as parity
from tests.checkpoint.encoder_decoder_parity import SOURCE, TARGET
from tests.nn import contract

SHAPE = {
    **parity.SPECIAL,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
}
CLASSES = {"t5": (HFT5Config, T5ForConditionalGeneration), "mt5": (MT5Config, MT5ForConditionalGeneration)}
V1_1 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("t5", {}),
    "t5, symmetric, more buckets": (
        "t5",
        {"num_decoder_layers": 2, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128},
    ),
    "t5 1.1, flan": ("t5", V1_1),
    "t5 1.1, tied": ("t5", V1_1 | {"own_output_layer": False}),
    "mt5": ("mt5", {"tie_word_embeddings": False}),
    "gated silu": ("t5", {"feed_forward_proj": "gated-silu"}),
}

variants = pytest.mark.parametrize(("model_type", "changes"), VARIANTS.values(), ids=VARIANTS)


def oracle(model_type: str, changes: dict[str, Any], noise: float = 0.2) -> Any:
    """A random model of `transformers`; untied ones get an output layer of their own, as the real files have it."""
    torch.manual_seed(0)
    config_class, model_class = CLASSES[model_type]
    untied = changes.get("own_output_layer", changes.get("tie_word_embeddings") is False)
    model = model_class(config_class(**SHAPE | {k: v for k, v in changes.items() if k != "own_output_layer"})).eval()
    if untied:
        model.lm_head.weight = torch.nn.Parameter(0.3 * torch.randn(320, 32))
        model.all_tied_weights_keys.pop("lm_head.weight")
    parity.add_noise(model, noise)
    return model


def from_oracle(folder: Path, theirs: Any, dtype: str = "float32") -> T5:
    return parity.load_what_transformers_saved(folder, theirs, T5, dtype)


@pytest.mark.parametrize("check", contract.ENCODER_DECODER, ids=lambda check: check.__name__)
@pytest.mark.parametrize("variant", ["t5", "t5 1.1, flan", "mt5"])
def test_contract(tmp_path: Path, check: contract.Check[EncoderDecoder], variant: str) -> None:
    check(from_oracle(tmp_path, oracle(*VARIANTS[variant])))


@variants
def test_logits_and_attentions_equal_those_of_transformers(
    tmp_path: Path, model_type: str, changes: dict[str, Any]
) -> None:
    theirs = oracle(model_type, changes)
    parity.assert_same_logits_and_attentions(from_oracle(tmp_path, theirs), theirs, rtol=1e-5)


@variants
def test_bfloat16_logits_equal_those_of_transformers(tmp_path: Path, model_type: str, changes: dict[str, Any]) -> None:
    theirs = oracle(model_type, changes, noise=0.02).to(torch.bfloat16)  # unscaled attention magnifies rounding
    parity.assert_logits_within_two_percent(from_oracle(tmp_path, theirs, "bfloat16"), theirs)


@variants
def test_transformers_loads_what_is_saved_here(tmp_path: Path, model_type: str, changes: dict[str, Any]) -> None:
    model = from_oracle(tmp_path / "theirs", oracle(model_type, changes))
    parity.assert_transformers_loads_what_is_saved(tmp_path / "ours", model, CLASSES[model_type][1], rtol=1e-5)


@pytest.mark.parametrize("variant", ["t5", "t5 1.1, flan"])
def test_training_gradients_equal_those_of_transformers(tmp_path: Path, variant: str) -> None:
    theirs = oracle(*VARIANTS[variant])
    parity.assert_same_gradients(from_oracle(tmp_path, theirs), theirs)


def test_the_file_says_whether_the_output_layer_is_tied(tmp_path: Path) -> None:
    """`transformers` 5 writes `tie_word_embeddings: true` for all T5; older files of version 1.1 say false."""
    model = from_oracle(tmp_path, oracle(*VARIANTS["t5 1.1, flan"]))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["tie_word_embeddings"]
    assert not model.config.tie_word_embeddings
    assert not model.config.scale_decoder_outputs
    del config["scale_decoder_outputs"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    older = load_model(tmp_path, device="cpu")
    assert older.config == model.config
    with torch.inference_mode():
        assert torch.equal(older(SOURCE, TARGET), model(SOURCE, TARGET))
    assert from_oracle(tmp_path / "tied", oracle(*VARIANTS["t5 1.1, tied"])).config.tie_word_embeddings


def test_the_first_t5_with_another_output_layer_is_refused(tmp_path: Path) -> None:
    from_oracle(tmp_path, oracle("t5", {}))
    tensors = load_file(tmp_path / "model.safetensors") | {"lm_head.weight": torch.zeros(320, 32)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"ties lm_head\.weight to shared\.weight"):
        load_model(tmp_path)


def test_repeated_embeddings_and_an_unused_bias_in_older_files_do_no_harm(tmp_path: Path) -> None:
    model = from_oracle(tmp_path, oracle("t5", {}))
    tensors = load_file(tmp_path / "model.safetensors")
    for alias in model.tied_weights:
        tensors[alias] = tensors["shared.weight"].clone()
    tensors["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.zeros(8, 4)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    again = load_model(tmp_path, device="cpu")
    with torch.inference_mode():
        assert torch.equal(again(SOURCE, TARGET), model(SOURCE, TARGET))


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (8, 16), (4, 100)])
def test_buckets_are_those_of_transformers(num_buckets: int, max_distance: int, bidirectional: bool) -> None:
    distance = torch.arange(-300, 301)
    ours = position_buckets(distance, num_buckets, max_distance, bidirectional=bidirectional)
    theirs = T5Attention._relative_position_bucket(distance, bidirectional, num_buckets, max_distance)
    assert torch.equal(ours, theirs)
    assert ours.min() == 0
    assert ours.max() == num_buckets - 1


def test_buckets_by_hand() -> None:
    """Eight buckets up to distance 16, looking back only: 0 to 3 exactly, then 4-5, 6-7, 8-11, 12 and more."""
    buckets = position_buckets(-torch.arange(20), 8, 16, bidirectional=False)
    assert buckets.tolist() == [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, *[7] * 8]


def test_the_bias_of_the_last_queries_is_the_end_of_the_whole_bias() -> None:
    layer = RelativePositionBias(8, 4, 16, bidirectional=False)
    assert torch.equal(layer(3, 20), layer(20, 20)[:, :, -3:])


def test_initial_weights_follow_mesh_tensorflow(tmp_path: Path) -> None:
    changes = {"d_model": 64, "d_kv": 16, "d_ff": 256, "initializer_factor": 0.5, "vocab_size": 2000}
    model = from_oracle(tmp_path, T5ForConditionalGeneration(HFT5Config(**SHAPE | changes)))
    model.init_weights(torch.Generator().manual_seed(1))
    attention = model.encoder.block[1].layer[0].SelfAttention
    dense = model.encoder.block[1].layer[1].DenseReluDense
    expected = {
        model.shared: 1.0,
        attention.q: (64 * 16) ** -0.5,
        attention.k: 64**-0.5,
        attention.o: (4 * 16) ** -0.5,
        dense.wi: 64**-0.5,
        dense.wo: 256**-0.5,
    }
    for module, std in expected.items():
        assert module.weight.std().item() == pytest.approx(0.5 * std, rel=0.03)
    assert (model.encoder.final_layer_norm.weight == 0.5).all()


@variants
def test_configs_survive_the_way_to_hugging_face_and_back(model_type: str, changes: dict[str, Any]) -> None:
    parity.assert_config_survives_the_way_and_back(model_type, SHAPE | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feed_forward_proj": "gated-mish"}, "feed_forward_proj"),
        ({"relative_attention_num_buckets": 30}, "multiple of 4"),
        ({"relative_attention_max_distance": 4}, "must exceed half"),
        ({"decoder_start_token_id": 320}, "not in the vocabulary"),
        ({"quantization_config": {"load_in_8bit": True}}, "quantization_config"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        family_named("t5").from_hf(SHAPE | changes)
