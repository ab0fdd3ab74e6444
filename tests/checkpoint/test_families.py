"""The contract of every model family."""

import pytest
import transformers

from inkstone.checkpoint.families import ModelFamily, family_named
from inkstone.core.errors import CheckpointError
from inkstone.core.registry import lookup, names
from inkstone.nn.models.base import Model
from tests.tiny_models import SHAPES, tiny_config


@pytest.mark.parametrize("name", names("models"))
def test_families_are_found_by_their_model_type(name: str) -> None:
    family = lookup("models", name)
    assert isinstance(family, ModelFamily)
    assert family.model_type == name
    assert family.architectures
    assert all(issubclass(build, Model) for build in family.architectures.values() if isinstance(build, type))


@pytest.mark.parametrize("name", [name for name in names("models") if name != "lstm"])
def test_architectures_are_classes_of_transformers(name: str) -> None:
    for architecture in lookup("models", name).architectures:
        assert getattr(transformers, architecture).config_class.model_type == name


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_configs_survive_the_way_to_hugging_face_and_back(changes: dict[str, object]) -> None:
    config = tiny_config(**changes)
    family = family_named(config.model_type)
    assert family.from_hf(family.to_hf(config)) == config


def test_unknown_families_are_refused_naming_the_known() -> None:
    with pytest.raises(CheckpointError, match=r"'lama' is not supported[^$]*'llama'"):
        family_named("lama")
