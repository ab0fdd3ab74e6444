"""The contract of every model family."""

import pytest
import torch

from inkstone.checkpoint.families import ModelFamily, family_of
from inkstone.core.registry import lookup, names
from tests.tiny_models import SHAPES, tiny_config


@pytest.mark.parametrize("name", names("models"))
def test_configs_survive_the_way_to_hugging_face_and_back(name: str) -> None:
    family = lookup("models", name)
    assert isinstance(family, ModelFamily)
    assert family.model_type == name
    configs = [config for changes in SHAPES.values() if family_of(config := tiny_config(**changes)) is family]
    assert configs
    for config in configs:
        assert family.from_hf(family.to_hf(config)) == config


@pytest.mark.parametrize("name", names("models"))
def test_models_are_decoders(name: str) -> None:
    family = lookup("models", name)
    config = next(config for changes in SHAPES.values() if family_of(config := tiny_config(**changes)) is family)
    model = family.build(config)
    input_ids = torch.arange(12).reshape(2, 6)
    logits = model(input_ids)
    assert logits.shape == (2, 6, config.vocab_size)
    assert torch.equal(model.lm_head(model.hidden_states(input_ids)), logits)
    cache = model.new_cache(6)
    model.hidden_states(input_ids[:, :4], cache=cache)
    torch.testing.assert_close(model(input_ids[:, 4:], cache=cache), logits[:, 4:], atol=1e-5, rtol=1e-5)
    assert cache.length == 6
