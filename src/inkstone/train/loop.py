"""The one training loop. What is learned is the objective's business, how the model is wired the model's."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from inkstone.core.device import resolve_device, resolve_dtype
from inkstone.core.errors import InputError
from inkstone.core.limits import peak_flops
from inkstone.core.progress import Bar, progress, say, size
from inkstone.nn.models.base import Model
from inkstone.train.config import LoopConfig, PretrainConfig
from inkstone.train.ema import WeightAverage
from inkstone.train.guard import check_step
from inkstone.train.interrupt import Interrupts
from inkstone.train.interval import Interval
from inkstone.train.metrics import MetricsLog, combine, is_largest
from inkstone.train.micro_batches import Split, by_count
from inkstone.train.neftune import EmbeddingNoise
from inkstone.train.objectives import Batch, Objective, Read
from inkstone.train.optim import build_optimizers, clip_gradient, set_learning_rate
from inkstone.train.precision import autocast, compile_blocks, missing_compiler, uncompiled
from inkstone.train.replay import Replay
from inkstone.train.row_log import Row
from inkstone.train.schedule import learning_rate_factor
from inkstone.train.state import (
    Resumable,
    TrainState,
    checkpoint_folder,
    load_state,
    save_state,
    save_weights,
    trained_parameters,
)
from inkstone.train.trackers import open_trackers
from inkstone.train.usage import TrainingFlops, peak_memory_bytes
from inkstone.train.view import TrainingView

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)
Evaluator = Callable[[nn.Module, int], dict[str, float]]
"""Model and step → metrics, `valid_loss` among them."""


class Examples(Protocol[E_co]):
    """Endless examples in an order that depends on nothing but a seed."""

    per_epoch: int

    def batch(self, start: int, size: int) -> Sequence[E_co]:
        """Examples `start` to `start + size`, counted over all epochs."""
        ...


@runtime_checkable
class OnPolicy(Protocol):
    """Examples that the model itself makes while it is trained, and that learn how each step went."""

    def step_done(self, step: int, metrics: Mapping[str, float], log: MetricsLog) -> dict[str, float]:
        """Told the objective's metrics after each step; returns what to log beside them."""
        ...


@dataclass(frozen=True)
class LoopSettings:
    """A `LoopConfig` with everything chosen."""

    config: LoopConfig
    steps: int
    batch_size: int
    split: Split
    """How the examples of a step are divided among micro-batches."""
    learning_rate: float
    device: torch.device
    dtype: torch.dtype
    layer_decay: float = 1.0
    """Learning rate of a block as a multiple of the next one's."""

    @property
    def eval_every(self) -> int:
        """Steps between evaluations."""
        return self.config.eval_every or max(1, self.steps // 10)

    @property
    def checkpoint_every(self) -> int:
        """Steps between checkpoints."""
        return self.config.checkpoint_every or max(1, self.steps // 10)


def pretrain_settings(config: PretrainConfig) -> LoopSettings:
    """What `config` leaves open, chosen for its depth and this machine.

    Raises:
        ConfigError: a setting is impossible, here or at all.
    """
    device = resolve_device(config.device)
    return LoopSettings(
        config.model_copy(update={"compile": config.compile and config.architecture.compiles}),
        config.steps,
        config.chosen_batch_size(),
        by_count(config.chosen_micro_batch_size(device.type)),
        config.chosen_learning_rate(),
        device,
        resolve_dtype(config.dtype, device),
    )


class Loop(Generic[E]):
    """Trains a model from where its folder says it stands.

    Args:
        model: on its device, with float32 parameters.
        objective: makes batches of examples and losses of batches.
        examples: what to train on.
        settings: how.
        out: the run's folder; `checkpoints/last` and `checkpoints/best` are kept there.
        evaluate: called on a budget; None to train without validation.
        noise: on the embeddings of what is learned.
        replay: text that is learned beside.

    Raises:
        InputError: there are fewer examples than one step needs.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective[E],
        examples: Examples[E],
        settings: LoopSettings,
        out: Path,
        evaluate: Evaluator | None,
        *,
        noise: EmbeddingNoise | None = None,
        replay: Replay | None = None,
    ) -> None:
        if examples.per_epoch < settings.batch_size:
            raise InputError(
                f"there is too little data for the batch: {examples.per_epoch:,} sequences, "
                f"and a step needs {settings.batch_size:,}",
                remedy="add data, or lower batch_size or the length of the sequences",
            )
        self.model, self.objective, self.examples = model, objective, examples
        self.settings, self.out, self.evaluate = settings, out, evaluate
        self.sample: Callable[[Model], Row] | None = None
        """Called at each evaluation for something that the model writes."""
        self.noise, self.replay = noise, replay
        self.parameters = list(trained_parameters(model).values())
        self.optimizers = build_optimizers(model, settings.config.optimizer, settings.layer_decay)
        self.average = WeightAverage(model, settings.config.ema) if settings.config.ema else None
        if settings.config.gradient_checkpointing:
            model.checkpoint_blocks()
        self.state = load_state(checkpoint_folder(out, "last"), model, self.optimizers, self._parts()) or TrainState()
        self._settle_length()
        self._settle_environment()
        self._interval = Interval.of(self.state.interval)
        self._flops = TrainingFlops.of(model)

    def run(self) -> TrainState:
        """Train to the last step, or until validation stops improving.

        Raises:
            DivergenceError: the loss is not finite or rises.
            KeyboardInterrupt: interrupted; a checkpoint of the last step was written.
        """
        settings = self.settings
        steps = settings.steps
        if self.state.step:
            say(f"going on after step {self.state.step:,} of {steps:,}")
        trackers = open_trackers(settings.config.trackers, self.out, settings.config.model_dump(mode="json"))
        with (
            _threads(self.state.environment["threads"]),
            MetricsLog(self.out, self.state.step, self.objective.loss_unit, trackers) as log,
            progress(
                "train", steps, "step", self.state.step, view=TrainingView(self.state, log, settings.device)
            ) as bar,
            Interrupts() as interrupts,
        ):
            while self.state.step < steps and not self._is_settled():
                bar.update(**self.step(log))
                last = self.state.step == steps
                if self.evaluate and (last or self.state.step % settings.eval_every == 0):
                    self._evaluate(log, bar)
                if settings.config.keep_every and self.state.step % settings.config.keep_every == 0:
                    with self.averaged():
                        save_weights(checkpoint_folder(self.out, self.state.step), self.model)
                if last or self.state.step % settings.checkpoint_every == 0 or interrupts.requested:
                    self.save(log)
                if interrupts.requested:
                    raise KeyboardInterrupt(f"stopped after step {self.state.step:,}; the same command goes on")
        return self.state

    def step(self, log: MetricsLog) -> dict[str, Any]:
        """One optimizer step; returns what to show of it."""
        began = time.perf_counter()
        state, settings = self.state, self.settings
        rate = settings.learning_rate * learning_rate_factor(settings.config.schedule, state.step, settings.steps)
        start = state.step * settings.batch_size
        loss, metrics, read = self.accumulate_gradient(start)
        gradient_norm = float(clip_gradient(self.parameters, settings.config.optimizer.grad_clip))
        sequences = range(start, start + settings.batch_size)
        check_step(state, loss, gradient_norm, rate, sequences, self.model, self.objective.allowed_rise)
        set_learning_rate(self.optimizers, rate)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.tokens += read.tokens
        state.labels += read.labels
        if self.average:
            self.average.update(state.step)
        if isinstance(self.examples, OnPolicy):
            metrics |= self.examples.step_done(state.step, metrics, log)
        seconds = time.perf_counter() - began
        state.seconds += seconds
        self._interval.add(loss, gradient_norm, metrics, read.tokens, seconds)
        if state.step % settings.config.log_every == 0 or state.step in (1, settings.steps):
            self._log(log, rate)
        return {
            "loss": loss,
            "learning_rate": rate,
            "tokens_per_s": read.tokens / seconds,
            "of_peak": f"{self._share_of_peak(read.tokens / seconds):.0%}",
            "memory": size(peak_memory_bytes(settings.device)),
        }

    def accumulate_gradient(self, start: int) -> tuple[float, dict[str, float], Read]:
        """Gradient of the mean loss over a step's examples, micro-batch by micro-batch.

        Returns:
            The loss and the objective's metrics, means over the targets, and what was read. The loss of replayed
            text is a metric.
        """
        settings, replay = self.settings, self.replay
        examples = self.examples.batch(start, settings.batch_size)
        batches = [self.objective.collate(part) for part in settings.split(examples)]
        num_targets = sum(self.objective.num_targets(batch) for batch in batches)
        if num_targets == 0:
            raise InputError(
                "no token of this step carries loss", where=f"sequences from {start}", remedy="look at the data"
            )
        self.prepare_step(batches)
        weight = 1.0 if replay is None else 1 - replay.share
        total, metrics = 0.0, dict[str, float]()
        for batch in batches:
            summed, summed_metrics = self.batch_loss(batch)
            loss = summed / num_targets
            (weight * loss).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            for name, value in summed_metrics.items():
                combine(metrics, name, float(value) / (1 if is_largest(name) else num_targets))
        if replay is not None:
            replayed = replay.batches(start // settings.batch_size)
            num_targets = replay.num_targets(replayed)
            for batch in replayed:
                loss = self.loss_of(replay.objective, batch)[0] / num_targets
                (replay.share * loss).backward()  # type: ignore[no-untyped-call]
                metrics["replay_loss"] = metrics.get("replay_loss", 0.0) + float(loss.detach())
            batches += replayed
        return total, metrics, Read.of(batches)

    def prepare_step(self, batches: Sequence[Batch]) -> None:
        """Let the objective see all micro-batches of a step."""
        with autocast(self.settings.device, self.settings.dtype):
            self.objective.prepare_step(self.model, batches)

    def batch_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Loss and metrics of one micro-batch, summed over its targets."""
        with self.noise.over(batch) if self.noise else contextlib.nullcontext():
            return self.loss_of(self.objective, batch)

    def loss_of(self, objective: Objective[Any], batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed loss and metrics of a batch under an objective, on the device and in the format of the run."""
        settings = self.settings
        if settings.device.type != "cpu":
            batch = {name: value.to(settings.device, non_blocking=True) for name, value in batch.items()}
        with autocast(settings.device, settings.dtype):
            return objective.loss(self.model, batch)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within the block, the model has the weights that are evaluated and saved: the average, where there is one."""
        return self.average.in_place() if self.average else contextlib.nullcontext()

    def _evaluate(self, log: MetricsLog, bar: Bar) -> None:
        assert self.evaluate is not None
        state = self.state
        with self.averaged():
            metrics = self.evaluate(self.model, state.step)
        log.write(state.step, **metrics)
        if self.sample:
            with self.averaged(), uncompiled() if state.environment["compiled"] else contextlib.nullcontext():
                log.write_sample(state.step, **self.sample(self.model))
        bar.update(0, valid_loss=metrics["valid_loss"])
        if state.best_loss is None or metrics["valid_loss"] < state.best_loss:
            state.best_loss, state.best_step, state.evaluations_since_best = metrics["valid_loss"], state.step, 0
            with self.averaged():
                save_weights(checkpoint_folder(self.out, "best"), self.model)
        else:
            state.evaluations_since_best += 1

    def _is_settled(self) -> bool:
        patience = self.settings.config.patience
        settled = patience is not None and self.state.evaluations_since_best >= patience
        if settled:
            say(f"stopped early: no better validation loss since step {self.state.best_step:,}")
        return settled

    def save(self, log: MetricsLog) -> None:
        """Write the checkpoint `last`."""
        log.flush()
        self.state.interval = self._interval.asdict()
        save_state(checkpoint_folder(self.out, "last"), self.state, self.model, self.optimizers, self._parts())

    def _parts(self) -> dict[str, Resumable]:
        """What has a state beside model and optimizers."""
        parts = {"average": self.average, "examples": self.examples, "objective": self.objective}
        return {name: part for name, part in parts.items() if isinstance(part, Resumable)}

    def _log(self, log: MetricsLog, learning_rate: float) -> None:
        interval, self._interval = self._interval, Interval()
        log.write(
            self.state.step,
            **interval.means(),
            learning_rate=learning_rate,
            tokens=self.state.tokens,
            tokens_per_s=round(interval.tokens_per_second, 1),
            of_peak=round(self._share_of_peak(interval.tokens_per_second), 4),
            memory_bytes=peak_memory_bytes(self.settings.device),
        )

    def _share_of_peak(self, tokens_per_second: float) -> float:
        """Of the operations that this machine can do, the share that training needs at such a speed."""
        settings, state = self.settings, self.state
        length = state.tokens / (state.step * settings.batch_size)
        flops = self._flops.per_token(length, state.labels / state.tokens)
        return flops * tokens_per_second / peak_flops(settings.device, settings.dtype)

    def _settle_length(self) -> None:
        """Say it when a run goes on with other steps than it was to have."""
        state, steps = self.state, self.settings.steps
        if state.planned_steps not in (None, steps):
            say(
                f"step {state.step:,} of {state.planned_steps:,} was reached, and the run goes on to {steps:,}: "
                f"from here on the learning rate is that of a run of {steps:,} steps"
            )
            state.continued_from.append(state.step)
        state.planned_steps = steps

    def _compile(self) -> bool:
        missing = missing_compiler(self.settings.device)
        if missing:
            say(f"training runs uncompiled, somewhat slower: {missing}")
            return False
        compile_blocks(self.model)
        return True

    def _settle_environment(self) -> None:
        """Take over, from an earlier attempt, what changes the last bits of a result; note it for the next."""
        settings, kept = self.settings, self.state.environment
        fused = settings.config.fused and kept.get("fused", not kept) and self.model.fuse(settings.dtype)
        compiled = not fused and settings.config.compile and kept.get("compiled", True) and self._compile()
        now: dict[str, Any] = {
            "device": settings.device.type,
            "dtype": str(settings.dtype),
            "threads": kept.get("threads", torch.get_num_threads()),
            "fused": fused,
            "compiled": compiled,
        }
        for name, value in kept.items():
            if now[name] != value:
                say(f"the run began with {name} {value}, now it is {now[name]}: the last bits of the result may differ")
        self.state.environment = now


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """Compute with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
