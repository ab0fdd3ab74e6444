"""How every stage that teaches by examples runs: read, check, prepare, train, save."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inkstone.checkpoint import load_checkpoint, read_safetensors, save_checkpoint
from inkstone.checkpoint.adapters import save_adapter
from inkstone.core.device import resolve_device, resolve_dtype, seed_everything, tune_allocator
from inkstone.core.errors import InputError
from inkstone.core.progress import say
from inkstone.core.stage import Summary
from inkstone.data.examples.read import read_examples
from inkstone.nn.adapters import Adapter
from inkstone.train.config import most_tokens
from inkstone.train.config_teach import TeachConfig
from inkstone.train.loop import Loop, LoopSettings
from inkstone.train.method import Encoded, Lesson, Method
from inkstone.train.metrics import LOSS_CURVE, read_metrics
from inkstone.train.micro_batches import by_length
from inkstone.train.order import ShuffledExamples
from inkstone.train.state import copy_parameters
from inkstone.train.switches import prepare_switches
from inkstone.train.validation import ValidationLoss


def teach(method: Method[Any], config: TeachConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Teach the model in `inputs["model"]` by the examples in `inputs["data"]`."""
    tune_allocator()
    seed_everything(config.seed)
    began = time.perf_counter()
    model, tokenizer = load_checkpoint(inputs["model"], config.device, "float32")
    data = read_examples(inputs["data"], config.examples, method.formats)
    settings = teach_settings(config, len(data.splits["train"]))
    lesson = Lesson(model.train(), tokenizer, config, settings, inputs, out)
    lesson.model = method.prepare(lesson, data.splits["train"])
    encoded = {split: _encode(method, lesson, examples) for split, examples in data.splits.items()}
    switches = prepare_switches(lesson)
    lesson.adapter = switches.adapter
    train, valid = (method.complete(lesson, encoded.get(split, []), split) for split in ("train", "valid"))
    objective = method.objective(lesson, train)
    draw = method.draw or _shuffled
    loop = Loop(lesson.model, objective, draw(lesson, train), settings, out, None)
    if valid and method.evaluate:
        loop.evaluate = method.evaluate(lesson, valid)
    elif valid:
        loop.evaluate = ValidationLoss(valid, objective, loop.batch_loss, settings.split, loop.prepare_step)
    state = loop.run()
    if config.keep == "best" and state.best_step is not None:
        copy_parameters(read_safetensors(out / "checkpoints" / "best" / "model.safetensors"), lesson.model, out)
    lesson.model = method.finish(lesson.model)
    _save(lesson, switches.adapter, method)
    rows = read_metrics(out)
    return {
        "parameters": lesson.model.num_parameters(),
        "trained_parameters": sum(parameter.numel() for parameter in loop.parameters),
        "examples": len(train),
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": round(state.seconds, 1),
        "minutes_this_time": round((time.perf_counter() - began) / 60, 2),
        "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9)),
        "train_loss": next((row["loss"] for row in reversed(rows) if "loss" in row), None),
        "valid_loss": state.best_loss,
        "loss_curve": LOSS_CURVE,
    }


def teach_settings(config: TeachConfig, num_examples: int) -> LoopSettings:
    """What `config` leaves open, chosen for so many training examples and this machine.

    Raises:
        InputError: there are no examples.
        ConfigError: a setting is impossible here.
    """
    if num_examples == 0:
        raise InputError("there are no training examples", where="data", remedy="give some")
    device = resolve_device(config.device)
    batch_size = min(config.batch_size, num_examples)
    return LoopSettings(
        config,
        config.steps or max(1, round(config.epochs * num_examples / batch_size)),
        batch_size,
        by_length(config.micro_batch_tokens or most_tokens(device.type), packed=config.packing),
        config.learning_rate,
        device,
        resolve_dtype(config.dtype, device),
    )


def _encode(method: Method[Any], lesson: Lesson, examples: Sequence[Any]) -> list[Encoded]:
    encode = method.encoder(lesson)
    encoded, num_cut = [], 0
    for example in examples:
        for whole in encode(example):
            part = whole
            length = method.longest(whole)
            if length > lesson.max_length:
                if not lesson.config.truncate or method.cut is None:
                    raise InputError(
                        f"{length:,} tokens, and {lesson.max_length:,} are allowed",
                        where=example.where,
                        remedy="shorten it, or set truncate to cut such examples",
                    )
                part, num_cut = method.cut(whole, lesson.max_length), num_cut + 1
            encoded.append(part)
    if num_cut:
        say(f"{num_cut:,} of {len(encoded):,} examples were cut to {lesson.max_length:,} tokens")
    return encoded


def _shuffled(lesson: Lesson, encoded: Sequence[Encoded]) -> ShuffledExamples[Encoded]:
    return ShuffledExamples(encoded, lesson.config.seed, short_first=lesson.config.curriculum)


def _save(lesson: Lesson, adapter: Adapter | None, method: Method[Any]) -> None:
    if adapter is None:
        training = {"method": method.name, "learning rate": lesson.config.learning_rate, "seed": lesson.config.seed}
        save_checkpoint(lesson.out, lesson.model, lesson.tokenizer, training=training)
        return
    save_adapter(lesson.out, adapter, base=lesson.inputs["model"])
    lesson.tokenizer.save(lesson.out)
