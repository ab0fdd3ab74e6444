"""Tiny lessons about answers: preferences, judgments, and what a teacher says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkstone.data.examples.records import Judged, Preference
from inkstone.nn.models.base import Model
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.chat import CHATML
from inkstone.train.config_align import AlignConfig
from inkstone.train.config_teach import TeachConfig
from inkstone.train.method import Lesson, Method
from inkstone.train.micro_batches import by_length
from inkstone.train.objectives import Objective
from inkstone.train.teach import teach_settings
from tests.tiny_models import tiny_model, tiny_tokenizer

Step = tuple[float, dict[str, Tensor], dict[str, float]]
"""Loss, gradient by parameter and metrics, each the mean over a step's targets."""

_ASKED = ("What is black?", "磨墨先做什么?", "Who writes?", "筆走什么?")
_GOOD = ("The ink.", "先注水,然後慢慢研磨。", "The brush begins to write.", "龍蛇")
_BAD = ("It is the stone and it is wet", "不知", "ink", "墨分五色")

PREFERENCES = [
    Preference(prompt=asked, chosen=good, rejected=bad, where=f"plain.jsonl:{number}")
    for number, (asked, good, bad) in enumerate(zip(_ASKED, _GOOD, _BAD, strict=True), start=1)
]
CHATS = [
    Preference(
        prompt=[{"role": "user", "content": each.prompt}],
        chosen=[{"role": "assistant", "content": each.chosen}],
        rejected=[{"role": "assistant", "content": each.rejected}],
        where=each.where.replace("plain", "chat"),
    )
    for each in PREFERENCES
]
JUDGED = [
    Judged(prompt=each.prompt, completion=answer, desirable=good, where=each.where)
    for each in PREFERENCES
    for answer, good in ((each.chosen, True), (each.rejected, False))
]


def chat_tokenizer() -> Tokenizer:
    """Byte-level BPE with the template of tokenizers trained here."""
    tokenizer = tiny_tokenizer()
    return Tokenizer(tokenizer.backend, tokenizer.special, CHATML)


def lesson_of(
    config: TeachConfig, out: Path, model: Model | None = None, inputs: Mapping[str, Path] | None = None
) -> Lesson:
    """A lesson about a tiny model that has not begun."""
    settings = teach_settings(config, 8, packed=config.packing)
    return Lesson(model or tiny_model(), chat_tokenizer(), config, settings, inputs or {}, out)


def align_lesson(out: Path, model: Model | None = None, **changes: Any) -> Lesson:
    """A lesson in preferences; `preference` are the settings of the loss."""
    return lesson_of(AlignConfig(**{"device": "cpu", "dtype": "float32"} | changes), out, model)


def completed(method: Method[Any], lesson: Lesson, examples: Sequence[Any], split: str = "train") -> list[Any]:
    """The encodings of examples, with what is computed once."""
    lesson.model = method.prepare(lesson, examples)
    encode = method.encoder(lesson)
    return list(method.complete(lesson, [each for example in examples for each in encode(example)], split))


def step_of(objective: Objective[Any], model: Model, examples: Sequence[Any], most_tokens: int = 1 << 20) -> Step:
    """One step as the loop computes it, without an update."""
    batches = [objective.collate(part) for part in by_length(most_tokens, packed=False)(examples)]
    num_targets = sum(map(objective.num_targets, batches))
    model.zero_grad()
    objective.prepare_step(model, batches)
    total, metrics = 0.0, dict[str, float]()
    for batch in batches:
        loss, sums = objective.loss(model, batch)
        (loss / num_targets).backward()
        total += float(loss.detach()) / num_targets
        for name, value in sums.items():
            metrics[name] = metrics.get(name, 0.0) + float(value) / num_targets
    gradient = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    return total, gradient, metrics


def assert_same_step(actual: Step, expected: Step) -> None:
    """Loss, gradient and metrics are equal, up to rounding."""
    assert abs(actual[0] - expected[0]) < 1e-5
    assert actual[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(actual[1][name], gradient, atol=1e-5, rtol=1e-4)
    assert actual[2].keys() == expected[2].keys()
    for name, value in expected[2].items():
        assert abs(actual[2][name] - value) < 1e-5, name


def layout_changes_nothing(method: Method[Any], lesson: Lesson, encoded: Sequence[Any], model: Model) -> None:
    """Packing, padding side, order and micro-batches leave loss, gradient and metrics of a step as they are."""

    def step(most_tokens: int = 1 << 20, *, reverse: bool = False, **changes: Any) -> Step:
        lesson.config = lesson.config.model_copy(update=changes)
        objective = method.objective(lesson, encoded)
        return step_of(objective, model, encoded[::-1] if reverse else encoded, most_tokens)

    expected = step(packing=False, padding_side="right")
    assert max(gradient.abs().max() for gradient in expected[1].values()) > 1e-3
    for changes in ({"packing": True}, {"packing": False, "padding_side": "left"}):
        assert_same_step(step(**changes), expected)
        for most_tokens in (1, 50):
            assert_same_step(step(most_tokens, reverse=True, **changes), expected)


def perturbed(model: Model, seed: int = 5, spread: float = 0.02) -> Model:
    """The model, moved a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0.0, spread, generator=generator))
    return model
