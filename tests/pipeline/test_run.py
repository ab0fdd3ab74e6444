"""Running recipes: order, skipping, --only, --from; plan, runs and lineage of what was run."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.errors import CheckpointError, ConfigError, InputError
from inkstone.pipeline.lineage import trace
from inkstone.pipeline.plan import plan_recipe
from inkstone.pipeline.recipe import Recipe, load_recipe
from inkstone.pipeline.runner import run_recipe
from inkstone.pipeline.runs import list_runs, read_run

FOLDER = Path("runs/toy")


def load(*overrides: str) -> Recipe:
    return load_recipe(Path("toy.yaml"), overrides)


def ran(recipe: Recipe, only: tuple[str, ...] = (), start: str | None = None) -> list[str]:
    """Names of the steps that were not skipped."""
    return [step.name for step in run_recipe(recipe, FOLDER, only=only, start=start) if not step.result.skipped]


@pytest.mark.usefixtures("workplace")
class TestRun:
    def test_whole(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert ran(load()) == ["gather", "change", "both"]
        assert (FOLDER / "both" / "texts.txt").read_text() == "hello HELLO "
        assert ran(load()) == []
        assert capsys.readouterr().err.count("unchanged, skipped") == 3

    def test_only_what_changed_and_what_reads_it(self, workplace: Path) -> None:
        ran(load())
        assert ran(load("change.loud=true")) == ["change", "both"]
        assert (FOLDER / "both" / "texts.txt").read_text() == "hello HELLO !"
        assert (FOLDER / "both.1" / "texts.txt").read_text() == "hello HELLO "
        (workplace / "a.txt").write_text("bye ")
        assert ran(load("change.loud=true")) == ["gather", "change", "both"]

    def test_change_without_effect_stops_there(self) -> None:
        ran(load())
        assert ran(load("change.times=2")) == ["change"]

    def test_only(self) -> None:
        with pytest.raises(ConfigError, match=r"both: its input left .* is not finished"):
            ran(load(), only=("both",))
        assert ran(load(), only=("gather",)) == ["gather"]
        assert ran(load(), only=("change", "gather")) == ["change"]
        with pytest.raises(ConfigError, match="did you mean 'change'"):
            ran(load(), only=("chang",))

    def test_from(self) -> None:
        ran(load())
        shutil.rmtree(FOLDER / "gather")
        with pytest.raises(ConfigError, match=r"its input texts .* is not finished"):
            ran(load(), start="change")
        assert ran(load(), start="gather") == ["gather"]
        with pytest.raises(ConfigError, match="leave nothing"):
            ran(load(), only=("gather",), start="change")

    def test_nothing_starts_when_a_later_stage_is_wrong(self) -> None:
        with pytest.raises(ConfigError):
            load("both.left=[]")
        assert not FOLDER.exists()

    def test_failure_is_recorded(self, workplace: Path) -> None:
        (workplace / "toy.yaml").write_text("name: toy\nstages: {bad: {uses: broken, how: input}}")
        with pytest.raises(InputError, match=r"data\.jsonl:731"):
            ran(load())
        run = read_run(FOLDER)
        assert (run.state, run.error) == ("failed", "data.jsonl:731: malformed JSON")
        assert [stage.state for stage in run.stages] == ["unfinished"]


@pytest.mark.usefixtures("workplace")
class TestRuns:
    def test_states_and_results(self) -> None:
        with pytest.raises(InputError, match="no such folder"):
            list_runs(Path("runs"))
        ran(load(), only=("gather", "change"))
        (run,) = list_runs(Path("runs"))
        assert (run.name, run.state) == ("toy", "finished")
        assert [(stage.name, stage.state) for stage in run.stages] == [
            ("gather", "done"),
            ("change", "done"),
            ("both", "not started"),
        ]
        assert run.metrics == {"documents": 1, "bits_per_byte": 1.25}

    def test_killed_run_is_interrupted(self) -> None:
        ran(load(), only=("gather",))
        record = json.loads((FOLDER / "run.json").read_text())
        (FOLDER / "run.json").write_text(json.dumps({**record, "state": "running"}))
        assert read_run(FOLDER).state == "interrupted"

    def test_damaged_record(self) -> None:
        ran(load())
        (FOLDER / "run.json").write_text("{}")
        with pytest.raises(InputError, match="not a run's record"):
            list_runs(Path("runs"))


@pytest.mark.usefixtures("workplace")
class TestPlan:
    def test_costs_before_anything_runs(self) -> None:
        plan = plan_recipe(load(), FOLDER)
        assert [(step.stage, step.state) for step in plan.steps] == [
            ("gather", "to run"),
            ("change", "to run"),
            ("both", "to run"),
        ]
        change = plan.steps[1]
        assert (change.tokens, change.memory_bytes, change.seconds) == (1_000_000, 2_000_000, 90.0)
        assert change.notes == {"fast": True}
        assert (plan.memory_bytes, plan.disk_bytes, plan.seconds) == (2_000_000, 1_000, 90.0)
        assert not plan.warnings
        assert not FOLDER.exists()

    def test_unchanged_stages_cost_nothing(self) -> None:
        ran(load())
        plan = plan_recipe(load(), FOLDER)
        assert {step.state for step in plan.steps} == {"unchanged"}
        assert (plan.memory_bytes, plan.disk_bytes, plan.seconds) == (0, 0, 0.0)
        changed = plan_recipe(load("change.loud=true"), FOLDER)
        assert [step.state for step in changed.steps] == ["unchanged", "to run", "to run"]

    def test_what_an_earlier_run_left_is_no_reason_to_fail(self) -> None:
        def plan(config: object, inputs: Mapping[str, Path]) -> Mapping[str, Any]:
            raise InputError("no such folder", where=inputs["texts"])

        ran(load())
        recipe = load("gather.repeat=2")
        gather, change, both = recipe.steps
        recipe = replace(recipe, steps=(gather, replace(change, stage=replace(change.stage, plan=plan)), both))
        assert "no such folder" in plan_recipe(recipe, FOLDER).steps[1].notes["not planned"]

    def test_settings_that_cannot_work_are_an_error(self) -> None:
        def plan(config: object, inputs: Mapping[str, Path]) -> Mapping[str, Any]:
            assert (inputs["texts"] / "texts.txt").is_file()
            raise ConfigError("too deep")

        ran(load())
        recipe = load("change.loud=true")
        gather, change, both = recipe.steps
        with pytest.raises(ConfigError, match="too deep"):
            plan_recipe(
                replace(recipe, steps=(gather, replace(change, stage=replace(change.stage, plan=plan)), both)), FOLDER
            )

    def test_too_large_for_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("inkstone.pipeline.plan.total_memory_bytes", lambda: 1_000_000)
        assert plan_recipe(load(), FOLDER).warnings == ["needs 2.0 MB of memory, but there are 1.0 MB"]


@pytest.mark.usefixtures("workplace")
class TestLineage:
    def test_back_to_the_sources(self, workplace: Path) -> None:
        ran(load())
        artifact = trace(FOLDER / "both" / "texts.txt")
        assert (artifact.stage, [child.stage for child in artifact.inputs]) == ("join", ["gather", "change"])
        gather = artifact.inputs[1].inputs[0]
        assert (gather.stage, gather.input_name) == ("gather", "texts")
        assert [source.path for source in gather.sources] == [str(workplace / "a.txt")]
        assert list(artifact.problems()) == []

    @pytest.mark.parametrize("damage", ["output", "source", "source missing", "input missing", "foreign"])
    def test_damage_is_found(self, workplace: Path, damage: str) -> None:
        foreign = workplace / "foreign"
        foreign.mkdir()
        (foreign / "texts.txt").write_text("by hand")
        ran(load("both.left=foreign"))
        if damage == "output":
            (FOLDER / "gather" / "texts.txt").write_text("hallo ")
        elif damage == "source":
            (workplace / "a.txt").write_text("other")
        elif damage == "source missing":
            (workplace / "a.txt").unlink()
        elif damage == "input missing":
            shutil.rmtree(FOLDER / "change")
        else:
            (foreign / "texts.txt").write_text("changed")
        (problem,) = trace(FOLDER / "both").problems()
        expected = {
            "output": "gather: texts.txt: its contents are not those the manifest describes",
            "source": "a.txt: changed since it was read",
            "source missing": "a.txt: missing",
            "input missing": "change: missing",
            "foreign": "foreign: its contents changed since they were read",
        }
        assert problem.endswith(expected[damage])

    def test_earlier_version_that_was_kept_aside(self) -> None:
        ran(load())
        ran(load("change.loud=true"), only=("change",))
        artifact = trace(FOLDER / "both")
        assert list(artifact.problems()) == []
        assert artifact.inputs[1].path.endswith("change.1")

    def test_made_again_since(self) -> None:
        ran(load())
        ran(load("change.loud=true"), only=("change",))
        shutil.rmtree(FOLDER / "change.1")
        (problem,) = trace(FOLDER / "both").problems()
        assert "was made again since" in problem

    def test_moved_run_folder(self) -> None:
        ran(load())
        FOLDER.rename("moved")
        artifact = trace(Path("moved/both"))
        assert list(artifact.problems()) == []
        assert {child.path for child in artifact.inputs} == {
            str(Path("moved", name).resolve()) for name in ("gather", "change")
        }

    def test_no_manifest(self, workplace: Path) -> None:
        with pytest.raises(InputError, match="no manifest"):
            trace(workplace / "a.txt")
        with pytest.raises(InputError, match="no such file"):
            trace(workplace / "none")


@pytest.mark.usefixtures("workplace")
def test_unfinished_input_is_refused() -> None:
    ran(load())
    manifest = FOLDER / "gather" / "manifest.json"
    manifest.rename(FOLDER / "gather" / "stage.json")
    with pytest.raises(CheckpointError, match=r"no manifest\.json"):
        run_recipe(load(f"both.left={FOLDER / 'gather'}"), FOLDER, only=("both",))
