"""Recipes: what is accepted, and one clear error for everything else."""

from pathlib import Path

import pytest

from inkstone.core.errors import ConfigError, InkstoneError, InputError
from inkstone.pipeline.recipe import find_recipe, load_recipe, shipped_recipes
from tests.pipeline.fakes import ChangeConfig, GatherConfig


@pytest.fixture
def recipe(workplace: Path) -> Path:
    return workplace / "toy.yaml"


def test_steps_are_ordered_by_what_they_read(recipe: Path) -> None:
    loaded = load_recipe(recipe)
    assert loaded.step_names() == ["gather", "change", "both"]
    paths = loaded.steps[2].input_paths(Path("runs/toy"))
    assert paths == {"left": Path("runs/toy/gather"), "right": Path("runs/toy/change")}


@pytest.mark.parametrize(("compare", "inputs"), [("null", {}), ("c", {"compare": Path("c")})])
def test_an_optional_input_may_be_null(workplace: Path, compare: str, inputs: dict[str, Path]) -> None:
    path = workplace / "measured.yaml"
    path.write_text(f"name: x\nstages: {{exam: {{uses: benchmark, model: a, data: b, compare: {compare}}}}}")
    (step,) = load_recipe(path).steps
    assert step.input_paths(Path("runs")) == {"model": Path("a"), "data": Path("b")} | inputs


def test_seed_is_given_to_stages_that_have_one(recipe: Path) -> None:
    gather, change, _ = load_recipe(recipe).steps
    assert isinstance(gather.config, GatherConfig)
    assert isinstance(change.config, ChangeConfig)
    assert change.config.seed == 7
    assert load_recipe(recipe, ["change.seed=1"]).steps[1].config == ChangeConfig(seed=1)
    assert load_recipe(recipe, ["seed=9"]).steps[1].config == ChangeConfig(seed=9)


def test_overrides_are_yaml(recipe: Path) -> None:
    loaded = load_recipe(
        recipe, ["gather.paths=[../data/b.txt, python:stdlib]", "change.how=lower", "change.loud=true"]
    )
    assert loaded.steps[0].config == GatherConfig(paths=["../data/b.txt", "python:stdlib"])
    assert loaded.steps[1].config == ChangeConfig(how="lower", loud=True, seed=7)
    assert load_recipe(recipe, ["both.left=elsewhere"]).steps[2].inputs["left"] == "elsewhere"


def test_reference_below_a_folder(recipe: Path) -> None:
    step = load_recipe(recipe, ['change.texts="${gather}/best"']).steps[1]
    assert step.depends == ("gather",)
    assert step.input_paths(Path("r"))["texts"] == Path("r/gather/best")


def test_variables_stand_for_text_anywhere_in_a_stage(recipe: Path) -> None:
    text = recipe.read_text().replace("stages:", "variables: {data: my/data, other: x}\nstages:", 1)
    recipe.write_text(text)
    overrides = ["gather.paths=['${data}/a.txt', '${data}/${other}']", "both.left=${data}/left"]
    loaded = load_recipe(recipe, overrides)
    assert loaded.steps[0].config == GatherConfig(paths=["my/data/a.txt", "my/data/x"])
    assert loaded.steps[2].inputs == {"left": "my/data/left", "right": "${change}"}
    assert load_recipe(recipe, [*overrides, "data=/d"]).steps[0].config == GatherConfig(paths=["/d/a.txt", "/d/x"])
    with pytest.raises(ConfigError, match=r"unknown key 'dta'(.|\n)*data, other"):
        load_recipe(recipe, ["dta=/d"])
    recipe.write_text(text.replace("other: x", "gather: x"))
    with pytest.raises(ConfigError, match="'gather' is a variable and a stage"):
        load_recipe(recipe)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("gather", "not of the form stage.key=value"),
        ("gater.paths=[]", r"no stage is called 'gater'(.|\n)*did you mean 'gather'"),
        ("change.tims=1", r"stages\.change: unknown key 'tims'(.|\n)*did you mean 'times'"),
        ("change.times=many", r"times: input should be a valid integer.*got 'many'"),
        ("change.times=[", "malformed YAML"),
        ("sed=1", "unknown key 'sed'"),
        ("gather.uses=gathr", r"no stage is called 'gathr'(.|\n)*did you mean 'gather'"),
        ("change.texts=[]", "the input 'texts' is not a path"),
        ("change.texts=", "the input 'texts' is not given"),
        ('change.texts="${gathr}"', r"\$\{gathr\} refers to no stage(.|\n)*did you mean 'gather'"),
        ('gather.paths=["${change}"]', r"stages\.gather\.paths\.0: \$\{change\} is used outside of an input"),
        ("gather.paths.deep=1", "'paths' has no keys below it"),
        ("name=../escape", "name: "),
    ],
)
def test_wrong_override(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nstages: {a: {uses: gather}", r"bad\.yaml:2: malformed YAML"),
        (
            "name: x\nstages:\n  a: {uses: gather, paths: [a]}\n  a: {uses: gather, paths: [b]}",
            r":4: .*'a' is repeated",
        ),
        ("name: x\nstages: {a: {uses: change, texts: ${b}}}", r"malformed YAML(.|\n)*in quotes"),
        ("- a\n- b", "not a mapping"),
        ("name: x\nstages: {}", "there are no stages"),
        ("name: x\nstages: {a: {paths: [b]}}", r"'uses' is not given(.|\n)*gather"),
        ("name: x\nstage: {}", "stage: unknown key"),
        ("name: x\nstages: {a/b: {uses: gather, paths: [a]}}", "not a name for a folder"),
        ("name: x\nstages: {1: {uses: gather, paths: [a]}}", "the key 1 is not text"),
        ("", "not a mapping"),
    ],
)
def test_wrong_file(workplace: Path, text: str, message: str) -> None:
    path = workplace / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_recipe(path)


def test_cycle_is_named(workplace: Path) -> None:
    path = workplace / "cycle.yaml"
    path.write_text(
        "name: x\nstages:\n"
        '  start: {uses: change, texts: "${first}"}\n'
        '  first: {uses: change, texts: "${second}"}\n'
        '  second: {uses: join, left: "${third}", right: a}\n'
        '  third: {uses: change, texts: "${first}"}\n'
    )
    with pytest.raises(ConfigError, match="the stages form a cycle: first → second → third → first"):
        load_recipe(path)


def test_unreadable_file(workplace: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_recipe(workplace / "none.yaml")
    (workplace / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InkstoneError, match="not UTF-8"):
        load_recipe(workplace / "binary.yaml")


def test_recipes_by_name(workplace: Path) -> None:
    assert find_recipe("toy.yaml") == Path("toy.yaml")
    assert find_recipe("quickstart") == shipped_recipes()["quickstart"]
    with pytest.raises(InputError, match="did you mean 'quickstart'"):
        find_recipe("quikstart")


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipes_are_valid(name: str) -> None:
    loaded = load_recipe(shipped_recipes()[name])
    assert loaded.name == name
    assert loaded.description
    variables = loaded.data.get("variables", {})
    for variable in variables:  # each is used, and can be given
        assert load_recipe(shipped_recipes()[name], [f"{variable}=elsewhere"]).steps != loaded.steps
