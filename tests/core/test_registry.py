"""The registry, and the contract that every registered stage passes."""

from inspect import signature

import pytest

from inkstone.core import registry
from inkstone.core.config import Config
from inkstone.core.errors import ConfigError
from inkstone.core.registry import lookup, names, register
from inkstone.core.stage import Stage


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


def test_register_and_lookup() -> None:
    @register("filters", "short")
    def short() -> None: ...

    assert lookup("filters", "short") is short
    assert "short" in names("filters")
    register("filters", "short")(short)
    with pytest.raises(ConfigError, match="registered twice"):
        register("filters", "short")(lambda: None)


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no stage is called 'pretran'(.|\n)*did you mean 'pretrain'"):
        lookup("stages", "pretran")


def test_plug_in_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    point = registry.EntryPoint("lost", "no_such_module:thing", "inkstone.filters")
    monkeypatch.setattr(registry, "_entry_points", lambda kind: {"lost": point})
    with pytest.raises(ConfigError, match=r"'lost' \(no_such_module:thing\) cannot be loaded"):
        lookup("filters", "lost")


def test_built_in_stages_are_entry_points() -> None:
    assert {"collect", "prepare", "tokenizer", "pretrain", "evaluate"} <= set(names("stages"))


@pytest.mark.parametrize("name", names("stages"))
def test_contract_of_stages(name: str) -> None:
    """A name, help, inputs apart from settings, settings with documentation, and a run of three arguments."""
    stage = lookup("stages", name)
    assert isinstance(stage, Stage)
    assert stage.name == name
    assert stage.help.endswith(".")
    assert issubclass(stage.config, Config)
    assert not set(stage.inputs) & set(stage.config.model_fields)
    assert not {"out", "json", "uses"} & {*stage.inputs, *stage.config.model_fields}
    assert list(signature(stage.run).parameters) == ["config", "inputs", "out"]
    undocumented = [key for key, field in stage.config.model_fields.items() if not field.description]
    assert not undocumented
