"""Configurations: frozen, checked, and helpful about what is wrong."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from inkstone.core.config import Config, nearest, parse_config
from inkstone.core.errors import ConfigError, DivergenceError, InkstoneError, ResourceError


class Optimizer(Config):
    name: str = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate."""


class Training(Config):
    steps: int
    """Optimizer steps."""
    optimizer: Optimizer = Optimizer()


def test_documentation_comes_from_the_docstrings() -> None:
    assert Training.model_fields["steps"].description == "Optimizer steps."


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Training(steps=1).steps = 2  # type: ignore[misc]


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(Training, {"steps": 1, "optimzer": {}}, where="recipe.yaml: stages.pretrain")
    assert str(caught.value).startswith("recipe.yaml: stages.pretrain: optimzer: unknown key\n")
    assert "did you mean 'optimizer'?" in str(caught.value)


def test_unknown_nested_key_is_dotted() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rat: unknown key(.|\n)*'learning_rate'"):
        parse_config(Training, {"steps": 1, "optimizer": {"learning_rat": 1}}, where="x")


def test_every_cause_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(Training, {"optimizer": {"learning_rate": -1.0}}, where="x")
    assert "steps: required, but not given" in str(caught.value)
    assert "optimizer.learning_rate: input should be greater than 0, got -1.0" in str(caught.value)


@given(st.sampled_from(["learning_rate", "vocab_size", "documents"]), st.data())
def test_one_wrong_letter_is_recognized(name: str, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(name) - 1))
    known = ["learning_rate", "vocab_size", "documents", "seed"]
    assert nearest(name[:position] + "~" + name[position + 1 :], known) == name


def test_nothing_near() -> None:
    assert nearest("zzz", ["steps"]) is None


def test_errors_read_as_where_cause_remedy() -> None:
    assert str(InkstoneError("cause", where="file:3", remedy="do that")) == "file:3: cause\n  remedy: do that"
    assert str(InkstoneError("cause")) == "cause"
    assert [kind.exit_code for kind in (InkstoneError, ConfigError, DivergenceError, ResourceError)] == [2, 2, 3, 4]


class Method(Config):
    name: str = "muon"
    rate: float = 0.1
    decay: float = 0.0


class Lesson(Config):
    method: Method = Method(name="adamw", decay=0.5)


def test_a_group_given_in_part_keeps_the_rest_of_the_fields_default() -> None:
    lesson = parse_config(Lesson, {"method": {"rate": 0.2}}, where="run")
    assert lesson.method == Method(name="adamw", rate=0.2, decay=0.5)
    assert parse_config(Lesson, {"method": {"name": "sgd"}}, where="run").method.decay == 0.5
    assert parse_config(Lesson, {"method": Method(rate=1)}, where="run").method.name == "muon"
    with pytest.raises(ConfigError, match=r"method\.rat: unknown key"):
        parse_config(Lesson, {"method": {"rat": 1}}, where="run")


class Columns(Config):
    columns: Mapping[str, str | int] = Field(default_factory=dict)


class Reading(Config):
    rows: Columns = Columns()
    note: str = ""


@pytest.mark.parametrize("text", ["{source: en, target: 1}", '{"source": "en", "target": 1}'])
def test_a_mapping_may_be_given_as_text(text: str) -> None:
    wanted = {"source": "en", "target": 1}
    assert parse_config(Reading, {"rows": {"columns": text}}, where="flags").rows.columns == wanted
    assert parse_config(Columns, {"columns": text}, where="flags").columns == wanted
    assert parse_config(Reading, {"note": text}, where="flags").note == text


@pytest.mark.parametrize("text", ["source", "[source]", "{source: en", ""])
def test_text_that_is_no_mapping(text: str) -> None:
    with pytest.raises(ConfigError, match="columns: input should be a valid dictionary"):
        parse_config(Columns, {"columns": text}, where="flags")
