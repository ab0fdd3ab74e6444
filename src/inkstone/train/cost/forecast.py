"""From what was counted and measured to what a run will take."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from inkstone.train.cost.counts import FLOAT_BYTES, Counts, count
from inkstone.train.cost.disk import checkpoint_bytes, last_bytes, log_bytes
from inkstone.train.cost.memory import (
    PROCESS_BYTES,
    SPREAD,
    WORKING_BYTES,
    Parts,
    fixed_parts,
    passing_parts,
    read_back,
    total,
)
from inkstone.train.cost.rehearsal import Drawn, Measured
from inkstone.train.cost.sketch import Sketch, sketch
from inkstone.train.cost.trial import Trial

_FORWARD_SHARE = 1 / 3
"""Of a micro-batch's time, where it is not measured."""
_WRITE_SPEED = 5e8
"""Bytes a second, where it is not measured."""
END_SECONDS = 1.2
"""Of the curves that are drawn at the end, most of it for loading what draws."""


@dataclass(frozen=True)
class Forecast:
    """Of a run under `config`: the trial's settings, or a variant of them."""

    trial: Trial
    config: Any
    counts: Counts
    sketch: Sketch
    measured: Measured | None = None
    """Under these settings."""
    spread: float = SPREAD
    """Bytes of the process for a byte that lives."""
    pace: float = 1.0
    """Seconds of the run for a second of the sketch."""

    @classmethod
    def of(cls, trial: Trial, config: Any, like: "Forecast | None" = None) -> "Forecast":
        """Counted and sketched; `like` is of other settings, under which was measured."""
        counts = count(trial.outline(config), config.optimizer)
        forecast = cls(trial, config, counts, sketch(trial, config))
        return forecast if like is None else replace(forecast, spread=like.spread, pace=like.pace)

    def with_measured(self, measured: Measured) -> "Forecast":
        """The same with what a rehearsal measured."""
        passing = measured.peak_bytes - total(self._fixed(measured, measured.data_bytes))
        spread = max(1.0, passing / max(1.0, self.sketch.live_bytes))
        per_token = sum(each.forward + each.backward for each in measured.micro_batches) / _tokens(measured)
        pace = per_token * self.sketch.tokens / max(1e-9, self.sketch.seconds)
        return replace(self, measured=measured, spread=spread, pace=pace)

    def _fixed(self, measured: Measured | None, data: float) -> Parts:
        on_cpu = self.trial.settings.device.type == "cpu"
        process = measured.process_bytes if measured else PROCESS_BYTES
        others = self.trial.amounts.other_models_bytes
        return fixed_parts(
            self.counts,
            self.config,
            process=process + WORKING_BYTES if on_cpu else 0,
            data=data if on_cpu else 0,
            other_models=others,
        )

    @functools.cached_property
    def parts(self) -> Parts:
        """Bytes at the peak, part by part; those that are there at all."""
        trial, amounts = self.trial, self.trial.amounts
        data = (self.measured.data_bytes if self.measured else 0) + amounts.data_bytes
        rollouts = FLOAT_BYTES * self.counts.cache_values * amounts.drawn_at_once * amounts.drawn_tokens
        validated = amounts.validation_tokens > 0
        on_cpu = trial.settings.device.type == "cpu"
        parts = {
            **self._fixed(self.measured, data),
            **passing_parts(self.counts, self.sketch, self.spread, rollouts),
            "weights read back": read_back(self.counts, self.config, validated=validated) if on_cpu else 0.0,
        }
        return {name: round(value) for name, value in parts.items() if value}

    @property
    def memory_bytes(self) -> int:
        """Peak of the process, or of the GPU's memory where it computes there."""
        return round(total(self.parts))

    @property
    def disk_bytes(self) -> int:
        """Of the run's folder."""
        trial, config = self.trial, self.config
        amounts = trial.amounts
        checkpoints = checkpoint_bytes(config, self.counts, amounts.steps, validated=amounts.validation_tokens > 0)
        saved = trial.saved_bytes(config)
        return round(checkpoints + saved + amounts.kept_bytes + log_bytes(config, amounts.steps))

    @property
    def seconds(self) -> float:
        """Of the whole stage."""
        amounts, settings = self.trial.amounts, self.trial.settings
        evaluations = -(-amounts.steps // settings.eval_every)
        saves = -(-amounts.steps // settings.checkpoint_every)
        written = saves * last_bytes(self.config, self.counts) + self.disk_bytes
        if amounts.validation_tokens:
            written += evaluations * FLOAT_BYTES * self.counts.trained
        speed = self.measured.write_bytes_per_second if self.measured else _WRITE_SPEED
        once = self.measured.once_seconds * amounts.once_tokens if self.measured else 0.0
        start = amounts.start_seconds + (self.measured.start_seconds if self.measured else 0.0)
        return (
            start
            + once
            + amounts.steps * (self.step_seconds + self._drawing(amounts.drawn) / amounts.steps_per_draw)
            + evaluations * self._evaluation_seconds
            + written / speed
            + END_SECONDS
        )

    @property
    def step_seconds(self) -> float:
        """Of learning from the examples of a step."""
        update = self.measured.update_seconds if self.measured else 0.0
        return self.trial.amounts.step_tokens * self._seconds_per_token + update

    @property
    def _seconds_per_token(self) -> float:
        if self.measured:
            return sum(each.forward + each.backward for each in self.measured.micro_batches) / _tokens(self.measured)
        return self.pace * self.sketch.seconds / self.sketch.tokens

    @property
    def _evaluation_seconds(self) -> float:
        amounts = self.trial.amounts
        if amounts.drawn:
            return self._drawing(amounts.validation_tokens / amounts.example_tokens)
        share = _FORWARD_SHARE
        if self.measured:
            forward = sum(each.forward for each in self.measured.micro_batches)
            share = forward / (forward + sum(each.backward for each in self.measured.micro_batches))
        return amounts.validation_tokens * self._seconds_per_token * share

    def _drawing(self, completions: float) -> float:
        """Seconds of drawing so many completions."""
        if not self.measured or not self.measured.drawn or not completions:
            return 0.0
        at_once = min(completions, self.trial.amounts.drawn_at_once)
        return math.ceil(completions / at_once) * _seconds_of(self.measured.drawn, at_once)

    def to_plan(self) -> Mapping[str, Any]:
        """The estimates that a stage's plan gives."""
        amounts, settings = self.trial.amounts, self.trial.settings
        return {
            "parameters": self.trial.saved(self.config).num_parameters(),
            "trained_parameters": self.counts.trained,
            "tokens": round(amounts.steps * amounts.step_tokens),
            "memory_bytes": self.memory_bytes,
            "memory": self.parts,
            "disk_bytes": self.disk_bytes,
            "seconds": self.seconds,
            "tokens_per_second": round(amounts.step_tokens / self.step_seconds),
            "learning_rate": settings.learning_rate,
            "dtype": str(settings.dtype).removeprefix("torch."),
        }


def _tokens(measured: Measured) -> int:
    return sum(each.tokens for each in measured.micro_batches)


def _seconds_of(drawn: list[Drawn], completions: float) -> float:
    """Seconds of so many completions at once, from those of few and of more: a constant and a share of each."""
    few, more = drawn[0], drawn[-1]
    if more.completions == few.completions:
        return more.seconds * max(1.0, completions / more.completions)
    each = max(0.0, (more.seconds - few.seconds) / (more.completions - few.completions))
    return max(0.0, more.seconds + each * (completions - more.completions))
