"""Marian, BART and mBART: the contract of encoder–decoders, and the same results as `transformers`, both ways."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
)

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.checkpoint.families import family_named
from inkstone.core.errors import CheckpointError, ConfigError
from inkstone.nn.beam import beam_params, beam_search
from inkstone.nn.layers.embedding import sinusoids
from inkstone.nn.models.base import EncoderDecoder
from inkstone.nn.models.transformer import Transformer
from inkstone.nn.target_decoder import TargetDecoder
from tests.checkpoint import encoder_decoder_parity as parity
from tests.checkpoint.encoder_decoder_parity import MASK, SOURCE, TARGET
from tests.nn import contract
from tests.tiny_models import tiny_tokenizer

SHAPE = {
    **parity.SPECIAL,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 96,
    "bos_token_id": 0,
    "forced_eos_token_id": None,
}
CLASSES = {
    "marian": (MarianConfig, MarianMTModel),
    "bart": (BartConfig, BartForConditionalGeneration),
    "mbart": (MBartConfig, MBartForConditionalGeneration),
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "marian as OPUS-MT": ("marian", {"scale_embedding": True, "activation_function": "swish"}),
    "marian, unscaled, relu": ("marian", {"activation_function": "relu"}),
    "marian, two embeddings": ("marian", {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 320}),
    "bart": ("bart", {}),
    "mbart": ("mbart", {"scale_embedding": True}),
}

variants = pytest.mark.parametrize(("model_type", "changes"), VARIANTS.values(), ids=VARIANTS)


def oracle(model_type: str, changes: dict[str, Any], seed: int = 0) -> Any:
    """A random model of `transformers`, every parameter and the bias of the logits random."""
    torch.manual_seed(seed)
    config_class, model_class = CLASSES[model_type]
    model = model_class(config_class(**SHAPE | changes)).eval()
    parity.add_noise(model, 0.2)
    model.final_logits_bias.normal_(0.0, 0.5)
    return model


def from_oracle(folder: Path, theirs: Any, dtype: str = "float32") -> Transformer:
    return parity.load_what_transformers_saved(folder, theirs, Transformer, dtype)


@pytest.mark.parametrize("check", contract.ENCODER_DECODER, ids=lambda check: check.__name__)
@pytest.mark.parametrize("variant", ["marian as OPUS-MT", "marian, two embeddings", "bart", "mbart"])
def test_contract(tmp_path: Path, check: contract.Check[EncoderDecoder], variant: str) -> None:
    check(from_oracle(tmp_path, oracle(*VARIANTS[variant])))


@variants
def test_logits_and_attentions_equal_those_of_transformers(
    tmp_path: Path, model_type: str, changes: dict[str, Any]
) -> None:
    theirs = oracle(model_type, changes)
    parity.assert_same_logits_and_attentions(from_oracle(tmp_path, theirs), theirs)


@variants
def test_bfloat16_logits_equal_those_of_transformers(tmp_path: Path, model_type: str, changes: dict[str, Any]) -> None:
    theirs = oracle(model_type, changes).to(torch.bfloat16)
    parity.assert_logits_within_two_percent(from_oracle(tmp_path, theirs, "bfloat16"), theirs)


@variants
def test_transformers_loads_what_is_saved_here(tmp_path: Path, model_type: str, changes: dict[str, Any]) -> None:
    model = from_oracle(tmp_path / "theirs", oracle(model_type, changes))
    parity.assert_transformers_loads_what_is_saved(tmp_path / "ours", model, CLASSES[model_type][1])


@variants
def test_training_gradients_equal_those_of_transformers(
    tmp_path: Path, model_type: str, changes: dict[str, Any]
) -> None:
    theirs = oracle(model_type, changes)
    constant = ("final_logits_bias",)  # there; trained here as in Marian itself
    parity.assert_same_gradients(from_oracle(tmp_path, theirs), theirs, but=constant)


def test_two_vocabularies_of_different_sizes(tmp_path: Path) -> None:
    changes = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 77}
    theirs = oracle("marian", changes)
    model = from_oracle(tmp_path, theirs)
    target = TARGET % 77
    expected = theirs(SOURCE, decoder_input_ids=target).logits
    assert expected.shape[-1] == 77
    torch.testing.assert_close(model(SOURCE, target), expected, atol=1e-4, rtol=0)


def test_tables_of_sinusoids_in_older_files_are_no_weights(tmp_path: Path) -> None:
    model = from_oracle(tmp_path, oracle("marian", {}))
    tensors = load_file(tmp_path / "model.safetensors")
    for stack in ("encoder", "decoder"):
        tensors[f"model.{stack}.embed_positions.weight"] = torch.zeros(96, 32)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    again = load_model(tmp_path, device="cpu")
    with torch.inference_mode():
        assert torch.equal(again(SOURCE, TARGET), model(SOURCE, TARGET))


def test_sinusoids_are_those_of_the_paper() -> None:
    table = sinusoids(50, 8)
    for position in (0, 1, 7, 49):
        for pair in range(4):
            angle = position / 10_000 ** (2 * pair / 8)
            assert table[position, pair].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[position, 4 + pair].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_initial_weights_follow_the_papers(tmp_path: Path) -> None:
    model = from_oracle(tmp_path, oracle("marian", {"d_model": 64, "encoder_ffn_dim": 192, "vocab_size": 2000}))
    model.init_weights(torch.Generator().manual_seed(1))
    assert model.model.shared.weight.std().item() == pytest.approx(64**-0.5, rel=0.02)
    matrix = model.model.encoder.layers[0].fc1.weight
    assert matrix.abs().max().item() <= math.sqrt(6 / (64 + 192))
    assert matrix.std().item() == pytest.approx(math.sqrt(2 / (64 + 192)), rel=0.03)
    assert not model.final_logits_bias.any()
    assert (model.model.decoder.layers[2].final_layer_norm.weight == 1).all()


@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "activation_dropout"])
def test_dropout_is_for_training_only(tmp_path: Path, name: str) -> None:
    none = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), 0.0)
    model = from_oracle(tmp_path, oracle("marian", none | {name: 0.5}))
    with torch.inference_mode():
        assert torch.equal(model(SOURCE, TARGET), model(SOURCE, TARGET))
        model.train()
        assert not torch.equal(model(SOURCE, TARGET), model(SOURCE, TARGET))


@pytest.mark.parametrize("model_type", ["marian", "t5"])
def test_blocks_compile_whole_for_any_lengths(model_type: str) -> None:
    shape = SHAPE if model_type == "marian" else {"vocab_size": 320, "d_model": 32, "d_ff": 48, "num_layers": 2}
    family = family_named(model_type)
    model = family.architectures[next(iter(family.architectures))](family.from_hf(shape)).eval()
    model.init_weights(torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(SOURCE, TARGET, MASK)
        for block in model.blocks:
            block.compile(backend="eager", fullgraph=True)
        torch.testing.assert_close(model(SOURCE, TARGET, MASK), expected)


@variants
def test_configs_survive_the_way_to_hugging_face_and_back(model_type: str, changes: dict[str, Any]) -> None:
    parity.assert_config_survives_the_way_and_back(model_type, SHAPE | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 30}, "d_model 30 is not a multiple of encoder_attention_heads 4"),
        ({"decoder_start_token_id": 320}, "not in the target's vocabulary"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings False is not supported"),
        ({"activation_function": "mish"}, "activation_function"),
        ({"encoder_layers": 0}, "encoder_layers"),
        ({"normalize_before": True}, "normalize_before True is not supported"),
        ({"static_position_embeddings": False}, "static_position_embeddings False is not supported"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        family_named("marian").from_hf(SHAPE | changes)


def test_a_folder_with_another_shape_is_refused(tmp_path: Path) -> None:
    from_oracle(tmp_path, oracle("marian", {}))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"decoder_ffn_dim": 44}))
    with pytest.raises(CheckpointError, match=r"fc1.*config.json asks for"):
        load_model(tmp_path)


SETTINGS = {
    "num_beams": 6,
    "max_length": 40,
    "min_length": 4,
    "length_penalty": 0.8,
    "bad_words_ids": [[2]],
    "forced_eos_token_id": 1,
}


@pytest.mark.parametrize("where", ["generation_config.json", "config.json"])
def test_settings_of_generation_are_read_obeyed_and_written(tmp_path: Path, where: str) -> None:
    theirs = oracle("marian", {})
    theirs.generation_config.update(**SETTINGS)
    model = from_oracle(tmp_path / "theirs", theirs)
    if where == "config.json":  # as folders of older versions have it
        (tmp_path / "theirs/generation_config.json").unlink()
        config = json.loads((tmp_path / "theirs/config.json").read_text())
        (tmp_path / "theirs/config.json").write_text(json.dumps(config | SETTINGS))
        model = load_model(tmp_path / "theirs", device="cpu")
    params = beam_params(model, num_return_sequences=2)
    assert (params.max_new_tokens, params.min_new_tokens, params.num_return_sequences) == (39, 3, 2)
    decoder = TargetDecoder(model, SOURCE.tolist())
    found = beam_search(decoder, [decoder.start] * 3, params, stop_ids=[1])
    expected = theirs.generate(SOURCE, num_return_sequences=2).tolist()
    assert [[2, *each.token_ids] for row in found for each in row] == [row[: row.index(1) + 1] for row in expected]

    save_checkpoint(tmp_path / "ours", model, tiny_tokenizer())
    written = GenerationConfig.from_pretrained(tmp_path / "ours").to_dict()
    assert {key: written[key] for key in SETTINGS} == SETTINGS
    assert written["decoder_start_token_id"] == 2
    again = MarianMTModel.from_pretrained(tmp_path / "ours").generate(SOURCE, num_return_sequences=2)
    assert again.tolist() == expected


def test_a_new_encoder_decoder_does_not_sample(tmp_path: Path) -> None:
    model = Transformer(family_named("marian").from_hf(SHAPE))
    model.init_weights()
    save_checkpoint(tmp_path, model, tiny_tokenizer())
    written = GenerationConfig.from_pretrained(tmp_path)
    assert not written.do_sample
    assert written.decoder_start_token_id == 2
    assert written.eos_token_id == [1, 4]


def test_wrong_settings_of_generation_are_refused(tmp_path: Path) -> None:
    model = from_oracle(tmp_path, oracle("marian", {}))
    model.generation_config = {"num_beams": -2}
    with pytest.raises(ConfigError, match=r"generation_config.json: num_beams"):
        beam_params(model)
