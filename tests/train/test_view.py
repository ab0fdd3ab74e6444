"""What a terminal shows of a training run."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console

from inkstone.core.progress import Bar
from inkstone.train import metrics
from inkstone.train.metrics import MetricsLog
from inkstone.train.state import TrainState
from inkstone.train.view import TrainingView, one_line

ROW = {
    "loss": 2.3,
    "gradient_norm": 0.53,
    "learning_rate": 0.0012,
    "tokens": 4096,
    "tokens_per_s": 12345.6,
    "of_peak": 0.34,
    "memory_bytes": 5,
}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MetricsLog]:
    monkeypatch.setattr(metrics, "plot_losses", lambda *_: None)
    with MetricsLog(tmp_path) as log:
        yield log


def shown(log: MetricsLog, width: int, state: TrainState | None = None) -> list[str]:
    """The lines of the panel half way through, without the frame."""
    bar = Bar("train", 200, "step", 0)
    bar.done, bar.fields = 100, {"loss": 2.25, "memory": "9 GB"}
    view = TrainingView(state or TrainState(), log, torch.device("cpu"))
    for loss in (7.0, 5.0, 3.0, 1.0):
        view.update({"loss": loss, "learning_rate": 0.1})
        view.update({"valid_loss": 9.0})
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(view.draw(bar))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert {cell_len(line) for line in lines} == {width}
    return [line.strip("│ ") for line in lines[1:-1]]


def test_everything_is_there(log: MetricsLog) -> None:
    log.write(100, **ROW)
    log.write(100, valid_loss=2.5, diagnosis="a text")
    state = TrainState(step=100, smoothed_loss=2.31, best_loss=2.4, best_step=1200)
    lines = shown(log, 120, state)
    assert re.fullmatch(r"━+ +100/200 steps \(50%\) · .* left", lines[0])
    assert lines[1] == "loss    2.250   2.310 smoothed   2.500 validation   2.400 best, at step 1,200"
    assert lines[2] == "██▅▁"
    assert lines[3] == "update  0.0012 learning rate   0.530 gradient norm"
    assert lines[4].startswith("speed   12,346 tokens/s   34% of the machine's matrix peak")
    assert re.fullmatch(r"memory  [\d.]+ .B now   [\d.]+ .B at most", lines[5])
    assert len(lines) == 6


def test_the_objective_shows_its_own_metrics_and_validation_beside_them(log: MetricsLog) -> None:
    log.write(99, valid_reward=0.25, valid_bleu=0.5)
    log.write(100, **ROW, reward=0.5, completion_tokens=80.25)
    text = " ".join(shown(log, 120))
    assert "metrics 0.500 reward (validation 0.250)   0.500 bleu in validation   80.25 completion tokens" in text


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_last_sample_fits_in_one_line_whatever_it_holds(log: MetricsLog, width: int) -> None:
    log.write(100, **ROW)
    log.write_sample(100, prompt="三人行，" * 40 + "必有我师焉？", completion="\x1b[31m择其善者\n而从之" * 40)
    (line,) = (line for line in shown(log, width) if line.startswith("sample"))
    assert "焉？" in line
    assert "[31m择其" in line
    assert "\x1b" not in line
    assert line.endswith("…")


def test_a_narrow_terminal_gets_more_lines_and_loses_no_number(log: MetricsLog) -> None:
    log.write(100, **ROW)
    text = " ".join(shown(log, 44))
    for number in ("0.0012 learning rate", "0.530 gradient norm", "12,346 tokens/s", "34%"):
        assert number in text


def test_nothing_known_yet_is_no_error(log: MetricsLog) -> None:
    assert shown(log, 80)[1].startswith("loss")


def test_the_curve_of_a_resumed_run_begins_where_the_run_began(tmp_path: Path, log: MetricsLog) -> None:
    log.write(10, loss=4.0)
    log.write(20, loss=2.0)
    log.flush()
    with MetricsLog(tmp_path, 20) as resumed:
        view = TrainingView(TrainState(step=20), resumed, torch.device("cpu"))
    assert view._losses.means == [4.0] * 10 + [2.0] * 10


def test_no_text_can_steer_the_terminal() -> None:
    assert one_line("a\nb\x1b[2J\x07\r c\u202e") == "a⏎b [2J   c "
