"""How every stage that teaches by examples runs: read, check, prepare, train, save."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inkstone.checkpoint import load_checkpoint
from inkstone.core.device import resolve_device, resolve_dtype, seed_everything, tune_allocator
from inkstone.core.stage import Summary
from inkstone.data.examples.read import ExampleSet, read_examples
from inkstone.nn.rebuild import with_dropout
from inkstone.train.averaging import settle_weights
from inkstone.train.config_teach import TeachConfig
from inkstone.train.continuation import continuation
from inkstone.train.data_check import accept, check_lesson
from inkstone.train.general_text import GeneralText
from inkstone.train.loop import Loop, LoopSettings
from inkstone.train.method import Lesson, Method
from inkstone.train.metrics import LOSS_CURVE, read_metrics
from inkstone.train.micro_batches import by_length
from inkstone.train.order import shuffled
from inkstone.train.outcome import save_outcome
from inkstone.train.switches import mixture_weights, prepare_switches, replay_beside
from inkstone.train.validation import ValidationLoss


def teach(method: Method[Any], config: TeachConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Teach the model in `inputs["model"]` by the examples in `inputs["data"]`."""
    tune_allocator()
    seed_everything(config.seed)
    began = time.perf_counter()
    lesson, data = open_lesson(method, config, inputs, out)
    report = check_lesson(method, lesson, data)
    accept(report, method, lesson)
    lesson.weights = mixture_weights(config, report.sources("train"))
    per_epoch = report.encoded("train") if lesson.weights is None else range(max(1, round(sum(lesson.weights))))
    settings = lesson.settings = _settings(method, config, len(per_epoch))
    switches = prepare_switches(lesson)
    lesson.adapter = switches.adapter
    train, valid = (method.complete(lesson, report.encoded(split), split) for split in ("train", "valid"))
    objective = method.objective(lesson, train)
    draw = method.draw or shuffled
    replay = replay_beside(lesson, switches.replay, train) if switches.replay else None
    loop = Loop(lesson.model, objective, draw(lesson, train), settings, out, None, noise=switches.noise, replay=replay)
    if valid and method.evaluate:
        loop.evaluate = method.evaluate(lesson, valid, loop.examples)
    elif valid:
        loop.evaluate = ValidationLoss(valid, objective, loop.batch_loss, settings.split, loop.prepare_step)
    loop.sample = continuation(lesson.model, lesson.tokenizer, settings, report.encoded("valid"))
    general = GeneralText(loop, switches.replay) if switches.replay else None
    state = loop.run()
    valid_loss = settle_weights(loop)
    forgetting = general.compare() if general else {}
    lesson.model = method.finish(lesson.model)
    save_outcome(lesson, method, data.splits["train"])
    rows = read_metrics(out)
    return {
        "parameters": lesson.model.num_parameters(),
        "trained_parameters": sum(parameter.numel() for parameter in loop.parameters),
        **report.counts(),
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": round(state.seconds, 1),
        "minutes_this_time": round((time.perf_counter() - began) / 60, 2),
        "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9)),
        "train_loss": next((row["loss"] for row in reversed(rows) if "loss" in row), None),
        "valid_loss": valid_loss,
        **forgetting,
        **({"continued_from_step": state.continued_from} if state.continued_from else {}),
        "loss_curve": LOSS_CURVE,
    }


def open_lesson(
    method: Method[Any], config: TeachConfig, inputs: Mapping[str, Path], out: Path
) -> tuple[Lesson, ExampleSet]:
    """Load the model and read the examples.

    Raises:
        InkstoneError: one of them cannot be.
    """
    model, tokenizer = load_checkpoint(inputs["model"], config.device, "float32")
    if config.dropout is not None:
        model = with_dropout(model, config.dropout)
    data = read_examples(inputs["data"], config.examples, method.formats)
    settings = _settings(method, config, max(1, len(data.splits.get("train", ()))))
    return Lesson(model.train(), tokenizer, config, settings, inputs, out), data


def _settings(method: Method[Any], config: TeachConfig, num_examples: int) -> LoopSettings:
    return teach_settings(config, num_examples, packed=config.packing and method.packs)


def teach_settings(config: TeachConfig, num_examples: int, *, packed: bool) -> LoopSettings:
    """What `config` leaves open, chosen for so many training examples and this machine.

    Args:
        config: of the stage.
        num_examples: of the training split.
        packed: rows are packed, so that there is no padding to count.

    Raises:
        ConfigError: a setting is impossible here.
    """
    device = resolve_device(config.device)
    batch_size = min(config.batch_size, num_examples)
    return LoopSettings(
        config,
        config.steps or max(1, round(config.epochs * num_examples / batch_size)),
        batch_size,
        by_length(config.chosen_micro_batch_tokens(device.type), packed=packed),
        config.learning_rate,
        device,
        resolve_dtype(config.dtype, device),
        config.layer_decay,
    )
