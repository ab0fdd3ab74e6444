from pathlib import Path
from typing import Any

import pytest
import torch

from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError
from inkstone.nn.architectures import ARCHITECTURES
from inkstone.nn.depth import parameter_depths
from inkstone.nn.models.base import Model
from inkstone.tokenizer import Tokenizer
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.config_teach import FreezeConfig
from inkstone.train.freeze import freeze
from inkstone.train.learning import build_model, equip
from inkstone.train.optim import OptimizerConfig, build_optimizers, set_learning_rate
from tests.tiny_models import tiny_model
from tests.train.helpers import tiny_loop
from tests.train.test_from_scratch import settings


def trained(model: Model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def of_architecture(arch: str, tokenizer: Tokenizer) -> Model:
    config = settings(arch)
    return build_model(config, equip(tokenizer, config))


def test_blocks_are_frozen_from_the_input_on() -> None:
    model = tiny_model(tie_word_embeddings=False)
    frozen = freeze(model, FreezeConfig(blocks=1))
    left = trained(model)
    assert all(name.startswith(("model.layers.1.", "model.norm", "lm_head")) for name in left)
    assert {"model.norm.weight", "lm_head.weight", "model.layers.1.mlp.up_proj.weight"} <= left
    assert frozen == sum(value.numel() for value in model.parameters()) - sum(
        model.get_parameter(name).numel() for name in left
    )


def test_a_tied_output_layer_is_frozen_with_the_embedding() -> None:
    model = tiny_model()
    freeze(model, FreezeConfig(names=("lm_head",)))
    assert "model.embed_tokens.weight" not in trained(model)


def test_patterns_are_searched_in_names() -> None:
    model = tiny_model()
    freeze(model, FreezeConfig(names=(r"norm", r"layers\.1\.mlp\.(up|down)")))
    left = trained(model)
    assert not any("norm" in name for name in left)
    assert "model.layers.1.mlp.gate_proj.weight" in left
    assert "model.layers.1.mlp.up_proj.weight" not in left
    assert "model.layers.0.mlp.up_proj.weight" in left


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"names": ["self_atn"]}, r"(?s)no parameter's name contains 'self_atn'.*did you mean '[^']*self_attn"),
        ({"blocks": 3}, "has 2 blocks, not 3"),
        ({"blocks": 2, "names": ["norm"]}, "nothing is left to train"),
    ],
)
def test_what_cannot_be_frozen_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        freeze(tiny_model(), FreezeConfig(**config))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"freeze": {"names": ["["]}}, "no regular expression"),
        ({"freeze": {"blocks": 1}, "lora": {}}, "with lora all weights of the model are frozen"),
        ({"quantize_base": "int8"}, "quantized weights cannot be trained.*set lora"),
        ({"mixture": {"a": -1}}, "greater than or equal to 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(FinetuneConfig, config, where="finetune")


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_frozen_weights_keep_every_bit(
    corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path, optimizer: str
) -> None:
    loop = tiny_loop(corpus_folder, tokenizer, tmp_path, optimizer={"name": optimizer})
    freeze(loop.model, FreezeConfig(blocks=1))
    frozen = {name: value.detach().clone() for name, value in loop.model.named_parameters() if not value.requires_grad}
    (tmp_path / "frozen").mkdir()
    again = type(loop)(loop.model, loop.objective, loop.examples, loop.settings, tmp_path / "frozen", None)
    again.run()
    assert len(frozen) > 5
    assert all(torch.equal(loop.model.get_parameter(name), value) for name, value in frozen.items())
    moved = loop.model.get_parameter("model.layers.1.mlp.up_proj.weight")
    assert not torch.equal(moved, tiny_loop(corpus_folder, tokenizer, tmp_path / "new").model.get_parameter(
        "model.layers.1.mlp.up_proj.weight"
    ))  # fmt: skip


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
def test_every_family_has_embeddings_blocks_and_what_follows(arch: str, tokenizer: Tokenizer) -> None:
    model = of_architecture(arch, tokenizer)
    depths = parameter_depths(model)
    num_blocks = len(list(model.blocks))
    assert depths.keys() == dict(model.named_parameters()).keys()
    assert set(depths.values()) | {num_blocks + 1} == set(range(num_blocks + 2))
    tables = [name for name, depth in depths.items() if depth == 0]
    assert any(model.get_parameter(name).shape[0] == model.config.vocab_size for name in tables)


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_layer_decay_by_hand(name: str) -> None:
    model = tiny_model(tie_word_embeddings=False)
    optimizers = build_optimizers(model, OptimizerConfig(name=name), layer_decay=0.5)  # type: ignore[arg-type]
    set_learning_rate(optimizers, 0.8)
    rates = {id(p): group["lr"] for each in optimizers for group in each.param_groups for p in group["params"]}
    expected = {
        "model.embed_tokens.weight": 0.1,
        "model.layers.0.mlp.up_proj.weight": 0.2,
        "model.layers.0.input_layernorm.weight": 0.2,
        "model.layers.1.self_attn.q_proj.weight": 0.4,
        "model.norm.weight": 0.8,
        "lm_head.weight": 0.8,
    }
    assert {each: rates[id(model.get_parameter(each))] for each in expected} == pytest.approx(expected)
    assert len(rates) == len(list(model.parameters()))


def test_muon_without_matrices_to_train() -> None:
    model = tiny_model()
    freeze(model, FreezeConfig(blocks=2))
    optimizers = build_optimizers(model, OptimizerConfig(name="muon"))
    assert [type(each).__name__ for each in optimizers] == ["AdamW"]
