"""What a run writes down, and how it goes on after an interruption."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from inkstone.train.metrics import LOSS_CURVE, MetricsLog, read_metrics
from inkstone.train.row_log import METRICS, RowLog, read_rows
from inkstone.train.samples import SAMPLES, read_samples, sample_page


def write_run(out: Path, first: int, last: int) -> None:
    """Rows of steps `first` to `last`, a sample and a text at every second."""
    with MetricsLog(out, first - 1) as log:
        for step in range(first, last + 1):
            log.write(step, loss=1 / step, accuracy=step / 100, is_new=True)
            if step % 2 == 0:
                log.write_sample(step, prompt="学而时习之，\n", completion=f"不亦说乎？ {step}\u2028", reward=0.5)
                log.write(step, diagnosis=f"nothing is learned, {step}")


def test_later_rows_of_an_interrupted_attempt_are_taken_back(tmp_path: Path) -> None:
    write_run(tmp_path, 1, 5)
    write_run(tmp_path, 4, 6)
    assert [row["step"] for row in read_metrics(tmp_path) if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in read_metrics(tmp_path) if "diagnosis" in row] == [2, 4, 6]
    assert [row["step"] for row in read_samples(tmp_path)] == [2, 4, 6]
    assert read_samples(tmp_path)[0] == {
        "step": 2,
        "prompt": "学而时习之，\n",
        "completion": "不亦说乎？ 2\u2028",
        "reward": 0.5,
    }
    assert (tmp_path / LOSS_CURVE).read_bytes().startswith(b"\x89PNG")


def test_what_is_latest_is_known_from_the_beginning(tmp_path: Path) -> None:
    write_run(tmp_path, 1, 4)
    with MetricsLog(tmp_path, 3) as log:
        assert (log.latest["loss"], log.latest["diagnosis"]) == (1 / 3, "nothing is learned, 2")
        assert log.latest_sample is not None
        assert log.latest_sample["step"] == 2
        log.write(4, valid_loss=0.5)
        assert (log.latest["loss"], log.latest["valid_loss"]) == (1 / 3, 0.5)


def test_a_line_cut_short_by_a_kill_is_left_out_and_replaced(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_rows(tmp_path / METRICS) == [{"step": 1, "loss": 2.0}]
    log = RowLog(tmp_path / METRICS, 1)
    log.write({"step": 2, "loss": 1.0})
    log.close()
    assert [row["loss"] for row in read_rows(tmp_path / METRICS)] == [2.0, 1.0]


def test_no_samples_no_file(tmp_path: Path) -> None:
    with MetricsLog(tmp_path) as log:
        log.write(1, loss=1.0)
        log.flush()
    assert not (tmp_path / SAMPLES).exists()
    assert read_samples(tmp_path) == []


def test_tensorboard_reads_every_number_and_text(tmp_path: Path) -> None:
    write_run(tmp_path, 1, 5)
    write_run(tmp_path, 5, 6)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "accuracy", "is_new"}
    read = [(event.step, event.value) for event in events.Scalars("loss")]
    assert read == [(step, pytest.approx(1 / step, rel=1e-6)) for step in range(1, 7)]
    # TensorBoard's text plug-in shows the tensors of its tags.
    assert {tag: events.SummaryMetadata(tag).plugin_data.plugin_name for tag in events.Tags()["tensors"]} == {
        "diagnosis": "text",
        "sample": "text",
    }
    shown = [(event.step, event.tensor_proto.string_val[0].decode()) for event in events.Tensors("sample")]
    assert [step for step, _ in shown] == [2, 4, 6]
    assert "    学而时习之，\n    \n" in shown[0][1]
    assert "    不亦说乎？ 2" in shown[0][1]
    assert [event.step for event in events.Tensors("diagnosis")] == [2, 4, 6]


def test_a_page_shows_texts_as_they_are() -> None:
    page = sample_page({"step": 3, "prompt": "# a\n  b", "completion": "*c*", "reward": 1.0})
    assert page == "prompt:\n\n    # a\n      b\n\ncompletion:\n\n    *c*\n\nreward: 1.0"
