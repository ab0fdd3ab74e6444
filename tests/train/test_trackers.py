"""Trackers: told everything once, in order, also over interruptions; training outlives them."""

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inkstone.core import registry
from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError, ResourceError
from inkstone.train import metrics as metrics_module
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.metrics import MetricsLog
from inkstone.train.trackers import TrackedRun, open_trackers
from inkstone.train.trackers.base import RECORD, Told
from inkstone.train.trackers.mlflow import MLflowTracker, open_mlflow
from inkstone.train.trackers.wandb import WandbTracker


class FakeTracker:
    """Remembers everything, in `runs`, as a server would."""

    runs: dict[str, list[tuple[Any, ...]]]
    fails_at: int | None = None

    def __init__(self, run: TrackedRun) -> None:
        self.opened = run
        self.run_id = run.run_id or f"run-{len(self.runs)}"
        self.told = self.runs.setdefault(self.run_id, [])

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        if step == self.fails_at:
            raise OSError("the server is gone")
        self.told.append((step, dict(metrics)))

    def write_text(self, step: int, name: str, text: str) -> None:
        self.told.append((step, name, text))

    def close(self, *, finished: bool) -> None:
        self.told.append(("finished" if finished else "stopped",))


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeTracker]:
    """The tracker `fake`, with runs of its own; no curves are drawn."""
    monkeypatch.setattr(metrics_module, "plot_losses", lambda *_: None)
    monkeypatch.setattr(FakeTracker, "runs", {}, raising=False)
    monkeypatch.setattr(registry, "_registered", {"trackers": {"fake": FakeTracker}})
    return FakeTracker


def run(out: Path, start: int, end: int, interrupted: bool = False, names: tuple[str, ...] = ("fake",)) -> None:
    """Steps after `start`, up to `end`; from the checkpoint at `start`."""
    trackers = open_trackers(names, out, {"steps": 9})
    with contextlib.suppress(KeyboardInterrupt), MetricsLog(out, start, trackers=trackers) as log:
        for step in range(start + 1, end + 1):
            log.write(step, loss=1 / step)
            if step % 2 == 0:
                log.write(step, valid_loss=2 / step)
                log.write_sample(step, prompt="墨", completion=str(step))
        if interrupted:
            raise KeyboardInterrupt


def steps_of(told: list[tuple[Any, ...]], name: str) -> list[int]:
    return [each[0] for each in told if len(each) == 2 and name in each[1]]


def test_a_resumed_run_goes_on_in_the_same_one_and_tells_nothing_twice(tmp_path: Path, fake: type[FakeTracker]) -> None:
    run(tmp_path, 0, 5, interrupted=True)
    run(tmp_path, 3, 8)
    ((run_id, told),) = fake.runs.items()
    assert steps_of(told, "loss") == [1, 2, 3, 4, 5, 6, 7, 8]
    assert steps_of(told, "valid_loss") == [2, 4, 6, 8]
    assert [each[0] for each in told if len(each) == 3] == [2, 4, 6, 8]
    assert [each for each in told if len(each) == 1] == [("stopped",), ("finished",)]
    assert told[2] == (2, {"valid_loss": 1.0})
    assert "    墨" in told[3][2]
    assert json.loads((tmp_path / RECORD).read_text())["fake"]["run"] == run_id
    steps = [each[0] for each in told if len(each) > 1]
    assert steps == sorted(steps)


def test_a_row_that_was_never_told_is_told_when_the_run_goes_on(tmp_path: Path, fake: type[FakeTracker]) -> None:
    run(tmp_path, 0, 4, interrupted=True)
    known = json.loads((tmp_path / RECORD).read_text())
    known["fake"] |= {"step": 2, "names": ["step", "time", "loss"]}  # killed before it was told more
    (tmp_path / RECORD).write_text(json.dumps(known))
    ((_, told),) = fake.runs.items()
    told.clear()
    run(tmp_path, 3, 5)
    assert steps_of(told, "valid_loss") == [2, 4]
    assert steps_of(told, "loss") == [3, 4, 5]
    assert [each[0] for each in told if len(each) == 3] == [2, 4]


def test_a_tracker_that_comes_later_is_told_everything(tmp_path: Path, fake: type[FakeTracker]) -> None:
    run(tmp_path, 0, 4, names=())
    assert not (tmp_path / RECORD).exists()
    run(tmp_path, 4, 6)
    ((_, told),) = fake.runs.items()
    assert steps_of(told, "loss") == [1, 2, 3, 4, 5, 6]


def test_a_run_that_a_tracker_no_longer_knows_begins_anew_there(
    tmp_path: Path, fake: type[FakeTracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, 0, 4)
    monkeypatch.setattr(FakeTracker, "__init__", lambda self, _: vars(self).update(run_id="new", told=[]))
    trackers = open_trackers(["fake"], tmp_path, {})
    assert trackers is not None
    assert trackers._told == {"fake": Told()}
    trackers.close(finished=True)


def test_training_outlives_a_tracker(
    tmp_path: Path, fake: type[FakeTracker], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeTracker, "fails_at", 3)
    run(tmp_path, 0, 6)
    ((_, told),) = fake.runs.items()
    assert steps_of(told, "loss") == [1, 2]
    assert capsys.readouterr().err == "the tracker fake is given up, the run goes on: OSError: the server is gone\n"
    assert len(metrics_module.read_metrics(tmp_path)) == 9


def test_what_cannot_be_opened_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(self: FakeTracker, run: TrackedRun) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(FakeTracker, "__init__", refuses)
    with pytest.raises(ResourceError, match=r"tracker fake: it cannot be opened: ConnectionError: nobody answers"):
        open_trackers(["fake"], tmp_path, {})


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_names_its_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf'{name} is not installed.*\n.*pip install "inkstone\[{name}\]"'):
        open_trackers([name], tmp_path, {})


def test_the_setting_knows_the_names() -> None:
    assert parse_config(FinetuneConfig, {"trackers": ["fake", "wandb"]}, where="x").trackers == ("fake", "wandb")
    with pytest.raises(ConfigError, match=r"no tracker is called 'wandbb'; did you mean 'wandb'"):
        parse_config(FinetuneConfig, {"trackers": ["wandbb"]}, where="x")


class FakeClient:
    """As much of `mlflow.MlflowClient` as is used."""

    def __init__(self, uri: str) -> None:
        self.uri, self.calls, self.known = uri, [], {"known"}  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            if name == "update_run" and args[0] not in self.known:
                raise KeyError(args[0])
            return {
                "get_experiment_by_name": None,
                "create_experiment": "7",
                "create_run": SimpleNamespace(info=SimpleNamespace(run_id="new")),
            }.get(name)

        return call


def test_mlflow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    entities = SimpleNamespace(Metric=lambda *args: args, Param=lambda *args: args)
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=FakeClient, entities=entities))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "inks")
    tracker = open_mlflow(TrackedRun("runs/a", {"seed": 1, "lora": {"r": 8}, "long": "x" * 9000}, None))
    client = tracker._client
    assert client.uri == "sqlite:///mlflow.db"
    assert client.calls[:3] == [
        ("get_experiment_by_name", ("inks",), {}),
        ("create_experiment", ("inks",), {}),
        ("create_run", ("7",), {"run_name": "runs/a"}),
    ]
    assert client.calls[3][2]["params"] == [("seed", "1"), ("lora.r", "8"), ("long", "x" * 6000)]
    tracker.write(3, {"loss": 2.0, "reward": 0.5})
    ((name, value, _, step), second) = client.calls[-1][2]["metrics"]
    assert (name, value, step, second[0]) == ("loss", 2.0, 3, "reward")
    tracker.write_text(3, "sample", "墨")
    assert client.calls[-1] == ("log_text", ("new", "墨", "sample/0000003.md"), {})
    tracker.close(finished=False)
    assert client.calls[-1] == ("set_terminated", ("new", "KILLED"), {})
    assert MLflowTracker(client, entities, TrackedRun("runs/a", {}, "known")).run_id == "known"
    assert MLflowTracker(client, entities, TrackedRun("runs/a", {}, "gone")).run_id == "new"
    assert "MLflow does not know the run gone any more" in capsys.readouterr().err


def test_wandb_is_offline_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    opened = SimpleNamespace(
        id="abc",
        log=lambda values, step: calls.append((values, step)),
        finish=lambda exit_code: calls.append(("finish", exit_code)),
    )
    asked: list[dict[str, Any]] = []
    wandb = SimpleNamespace(Settings=dict, init=lambda **settings: asked.append(settings) or opened)
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    tracker = WandbTracker(wandb, TrackedRun("runs/a", {"seed": 1}, None))
    tracker.write(3, {"loss": 2.0})
    tracker.write_text(3, "sample", "墨")
    tracker.close(finished=True)
    assert calls == [({"loss": 2.0}, 3), ({"sample": "墨"}, 3), ("finish", 0)]
    assert tracker.run_id == "abc"
    assert asked[0] == {
        "project": "inkstone",
        "name": "runs/a",
        "id": None,
        "resume": None,
        "config": {"seed": 1},
        "mode": "offline",
        "settings": {"console": "off", "silent": True},
    }
    monkeypatch.setenv("WANDB_MODE", "online")
    WandbTracker(wandb, TrackedRun("runs/a", {}, "abc"))
    assert (asked[1]["id"], asked[1]["resume"], asked[1]["mode"]) == ("abc", "allow", "online")
