"""Time and memory of a run from what was measured of it; and settings that fit."""

import json
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.apart import ApartError
from inkstone.train.cost.fit import settings_that_fit
from inkstone.train.cost.forecast import END_SECONDS, Forecast
from inkstone.train.cost.rehearsal import Drawn, Measured, Timed, rehearse
from inkstone.train.cost.trial_teach import TeachTrial
from tests.train.cost.test_counting import forecast_of
from tests.train.taught import job_of, make_data, make_model


def measured(**values: Any) -> Measured:
    """Four tokens take two seconds forward and six backward; nothing else takes any time."""
    return Measured(micro_batches=[Timed(3, 1.5, 4.0), Timed(1, 0.5, 2.0)], write_bytes_per_second=1e15, **values)


def test_time_of_steps_and_evaluations_by_hand(tmp_path: Path) -> None:
    forecast = forecast_of("chat", tmp_path, steps=8, eval_every=4)
    amounts = forecast.trial.amounts
    reading = amounts.steps * amounts.step_tokens * 2.0 + 2 * amounts.validation_tokens * 0.5
    assert amounts.steps == 8
    assert amounts.step_tokens == pytest.approx(4 * amounts.example_tokens)
    timed = forecast.with_measured(measured(update_seconds=10.0, start_seconds=100.0))
    assert timed.seconds == pytest.approx(reading + 8 * 10.0 + 100.0 + amounts.start_seconds + END_SECONDS, rel=1e-6)


def test_what_is_computed_once_takes_its_time_once(tmp_path: Path) -> None:
    forecast = forecast_of("dpo", tmp_path)
    without = forecast.with_measured(measured()).seconds
    amounts = forecast.trial.amounts
    assert amounts.once_tokens > 0
    assert forecast.with_measured(measured(once_seconds=3.0)).seconds - without == pytest.approx(
        3 * amounts.once_tokens, rel=1e-6
    )


def test_completions_are_drawn_for_every_round_of_updates(tmp_path: Path) -> None:
    """4 problems of 2 completions each: 8 at once, which take 2 + 8 · 1 seconds; each round is learned from twice."""
    forecast = forecast_of("grpo", tmp_path, eval_every=100)
    without = forecast.with_measured(measured()).seconds
    drawn = [Drawn(2, 4.0, 0), Drawn(4, 6.0, 0)]
    rounds = forecast.trial.amounts.steps / 2
    tried = forecast.trial.amounts.validation_tokens / forecast.trial.amounts.example_tokens
    assert tried == 4
    validated = 2 + 4 * 1
    assert forecast.with_measured(measured(drawn=drawn)).seconds - without == pytest.approx(rounds * 10 + validated)


def test_a_measured_peak_is_what_the_forecast_says(tmp_path: Path) -> None:
    """Of settings that were measured whole, the memory is that of the measurement, and of what comes beside it."""
    forecast = forecast_of("chat", tmp_path, eval_every=100, keep="last")
    fixed = measured(process_bytes=100_000_000, data_bytes=1_000_000)
    peak = 400_000_000
    fixed.peak_bytes = peak
    assert forecast.with_measured(fixed).memory_bytes == pytest.approx(peak + forecast.trial.amounts.data_bytes, abs=10)


def test_the_nearest_settings_that_fit(tmp_path: Path) -> None:
    forecast = forecast_of("chat", tmp_path, batch_size=16, micro_batch_tokens=2048)
    smallest = Forecast.of(
        forecast.trial,
        forecast.config.model_copy(update={"micro_batch_tokens": forecast.trial.longest_tokens}),
    )
    assert smallest.memory_bytes < forecast.memory_bytes
    limit = (forecast.memory_bytes + smallest.memory_bytes) // 2
    found = settings_that_fit(forecast, lambda each: each, limit)
    assert all(each["memory_bytes"] <= limit for each in found)
    tokens = found[0]["settings"]["micro_batch_tokens"]
    assert list(found[0]["settings"]) == ["micro_batch_tokens"]
    doubled = forecast.config.model_copy(update={"micro_batch_tokens": 2 * tokens})
    assert Forecast.of(forecast.trial, doubled).memory_bytes > limit
    kinds = [frozenset(each["settings"]) - {"micro_batch_tokens"} for each in found]
    assert kinds[0] == frozenset()
    assert len(kinds) == len(set(kinds))
    assert settings_that_fit(forecast, lambda each: each, 1) == []


def test_a_setting_that_does_not_fit_when_it_is_measured_is_not_offered(tmp_path: Path) -> None:
    forecast = forecast_of("chat", tmp_path, batch_size=16, micro_batch_tokens=2048)

    def confirm(each: Forecast) -> Forecast:
        return each.with_measured(measured(process_bytes=1 << 40))

    assert settings_that_fit(forecast, confirm, forecast.memory_bytes - 1) == []


def test_a_rehearsal_measures_in_a_process_of_its_own(tmp_path: Path) -> None:
    job = job_of("chat", tmp_path)
    found = rehearse(job.stage, job.config, {name: Path(path) for name, path in job.inputs.items()}, 0.1)
    assert len(found.micro_batches) >= 2
    trial = forecast_of("chat", tmp_path).trial
    assert isinstance(trial, TeachTrial)
    lengths = {each.length for each in [*trial.usual, *trial.longest]}
    assert all(min(lengths) <= each.tokens <= 4 * max(lengths) for each in found.micro_batches)
    assert all(each.forward > 0 and each.backward > 0 for each in found.micro_batches)
    assert 50_000_000 < found.process_bytes < found.peak_bytes


def test_why_nothing_could_be_measured(tmp_path: Path) -> None:
    data = make_data("chat", tmp_path)
    (data / "train.jsonl").write_text(json.dumps({"messages": []}) + "\n")
    inputs = {"model": make_model("decoder", tmp_path), "data": data}
    with pytest.raises(ApartError, match="there are no training examples"):
        rehearse("finetune", {"method": "chat"}, inputs, 0.1)
